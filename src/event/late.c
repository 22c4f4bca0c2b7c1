/*
 * late.c: marks for events that come after the day (UTC) they belong to. Days that are over are packed into timelines (report/upkeep.c);
 * an event that comes later leaves a mark in the same transaction, so that no packer needs a cursor to find it.
 *
 * Late is who comes an hour after the end of his day, or more. The packer seals a day two hours after its end: whoever was in time has
 * his transaction id by then, and the packer waits for him. Both compare business time.
 *
 * HOT, but for events in time it is one comparison.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "event/event.h"
#include "event/event_int.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static void
form_late(const void *rows, int i, Datum *v, bool *isnull)
{
	const EmkEvent *e = ((const EmkEvent *const *) rows)[i];

	isnull[0] = isnull[1] = false;
	v[0] = CStringGetTextDatum(e->profile_id);
	v[1] = TimestampTzGetDatum(e->occurred_at);
}

static const Oid late_types[] = {TEXTOID, TIMESTAMPTZOID};
static EmkSink late_sink = {"late_event", lengthof(late_types), late_types, form_late};
static EmkPlan late_plan = {
	"INSERT INTO eventmkt_data.late_event (profile_id, occurred_at) "
	"SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))",
	2, {TEXTARRAYOID, TIMESTAMPTZARRAYOID}
};

static inline bool
is_late(const EmkEvent *e)
{
	int64		into_day = e->occurred_at % USECS_PER_DAY;

	if (into_day < 0)
		into_day += USECS_PER_DAY;
	return e->received_at - e->occurred_at >= USECS_PER_DAY - into_day + USECS_PER_HOUR;
}

void
emk_event_mark_late(const EmkEvent *evs, int n)
{
	const EmkEvent **late = NULL;
	int			k = 0;
	int			done;

	for (int i = 0; i < n; i++)
	{
		if (!is_late(&evs[i]))
			continue;
		if (late == NULL)
		{
			if (emk_setting_get("keep_timelines") == NULL)
				return;
			late = palloc(sizeof(EmkEvent *) * n);
		}
		late[k++] = &evs[i];
	}
	if (k == 0)
		return;
	done = emk_event_write(&late_sink, late, k);
	if (done < k)
		emk_event_run_arrays(&late_plan, &late_sink, late + done, k - done);
	pfree(late);
}
