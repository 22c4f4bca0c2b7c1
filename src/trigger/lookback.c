/*
 * lookback.c: questions to the history of one profile, in event order.
 *
 * A count of n within w is reached at event e when exactly n − 1 matching events lie before it (in event order) and not more
 * than w earlier: the count was below n just before e and is n at e. It is a function of the history alone, so it re-arms by
 * itself when the count falls below n, and a late event moves the edge instead of making another.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "profile/profile.h"
#include "trigger/trigger_int.h"
#include "utils/builtins.h"

#define MAX_WINDOW_EVENTS 100000

static EmkPlan history_plan = {
	"SELECT e.event_id, e.name, e.properties, e.occurred_at, e.message_id, e.received_at, e.depth "
	"FROM eventmkt_data.event e WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) "
	"AND ($2 OPERATOR(pg_catalog.=) '*' AND e.depth OPERATOR(pg_catalog.=) 0 OR e.name OPERATOR(pg_catalog.=) $2) "
	"AND e.occurred_at OPERATOR(pg_catalog.>=) $3 AND e.occurred_at OPERATOR(pg_catalog.<=) $4 "
	"AND e.conflict_of IS NULL "
	"ORDER BY e.occurred_at, COALESCE(e.message_id, '') COLLATE \"C\", e.properties, e.event_id LIMIT 100001",
	4, {TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static Datum
ids_of(const char *profile_id)
{
	char	   *canonical = (char *) profile_id;
	EmkIds		ids;
	Datum	   *d;

	emk_profile_ids(&canonical, 1, &ids);
	d = palloc(sizeof(Datum) * ids.n);
	for (int i = 0; i < ids.n; i++)
		d[i] = CStringGetTextDatum(ids.ids[i]);
	return emk_spi_array(d, NULL, ids.n, TEXTOID);
}

/* The matching starting events of a rule and key in [from, to], in event order. */
static int
matching(const EmkRule *rule, const char *profile_id, const char *key, Jsonb *traits, TimestampTz from, TimestampTz to,
		 EmkItem **out)
{
	Datum		args[4] = {ids_of(profile_id), CStringGetTextDatum(rule->on_event), TimestampTzGetDatum(from),
	TimestampTzGetDatum(to)};
	uint64		n = emk_spi_run(&history_plan, args, NULL, false, 0);
	SPITupleTable *rows = SPI_tuptable;
	int			k = 0;

	*out = palloc(sizeof(EmkItem) * Max(n, 1));
	for (uint64 i = 0; i < n && i < MAX_WINDOW_EVENTS; i++)
	{
		EmkItem    *it = &(*out)[k];
		bool		isnull;
		Datum		d;
		char	   *its_key;

		SPI_tuptable = rows;
		memset(it, 0, sizeof(*it));
		it->kind = 'e';
		it->event_id = emk_spi_int8(i, 1, 0);
		it->raw_id = it->profile_id = profile_id;
		it->name = emk_spi_text(i, 2);
		it->properties = DatumGetJsonbPCopy(emk_spi_datum(i, 3, &isnull));
		it->occurred_at = DatumGetTimestampTz(emk_spi_datum(i, 4, &isnull));
		it->message_id = emk_spi_text(i, 5);
		it->received_at = DatumGetTimestampTz(emk_spi_datum(i, 6, &isnull));
		d = emk_spi_datum(i, 7, &isnull);
		it->depth = isnull ? 0 : DatumGetInt16(d);
		it->traits = traits;
		its_key = emk_rule_key(rule, it->properties);
		if (its_key != NULL && strcmp(its_key, key) == 0 &&
			emk_rule_test(rule->where_event, rule->cold_event, it->properties, &(char *) {NULL}))
			k++;
	}
	SPI_freetuptable(rows);
	return k;
}

int
emk_trigger_edges(const EmkRule *rule, const EmkItem *item, const char *key, EmkItem **out)
{
	TimestampTz from = rule->within ? emk_clock_subtract(item->occurred_at, rule->within) : DT_NOBEGIN;
	TimestampTz to = rule->within ? emk_clock_add(item->occurred_at, rule->within) : DT_NOEND;
	EmkItem    *all;
	int			n = matching(rule, item->profile_id, key, item->traits, from, to, &all);
	int			first = 0;		/* the oldest event in the window that ends at all[i] */
	int			k = 0;

	*out = palloc(sizeof(EmkItem) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (rule->within)
			while (all[first].occurred_at < emk_clock_subtract(all[i].occurred_at, rule->within))
				first++;
		if (i - first == rule->at_least - 1 && all[i].occurred_at >= item->occurred_at)
			(*out)[k++] = all[i];
	}
	return k;
}

/*
 * A start that the same cancelling event would reach through the look-back is no new beginning, nor is one before the run's
 * own; with at_least only an event at which the count is reached is a start.
 */
bool
emk_trigger_next_start(const EmkRule *rule, const EmkRun *run, TimestampTz after, EmkItem *out)
{
	TimestampTz from = Max(emk_clock_add(after, &rule->look_back), run->started_at) + 1;
	EmkItem    *all;
	int			n = matching(rule, run->profile_id, run->key, emk_profile_traits(run->profile_id), from, run->last_at, &all);

	for (int i = 0; i < n; i++)
	{
		EmkItem    *edges;

		if (rule->at_least > 1 &&
			(emk_trigger_edges(rule, &all[i], run->key, &edges) == 0 || edges[0].event_id != all[i].event_id))
			continue;
		*out = all[i];
		return true;
	}
	return false;
}
