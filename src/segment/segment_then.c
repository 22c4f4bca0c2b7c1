/*
 * segment_then.c: was this profile in that segment at some time? For backtests.
 *
 * The evaluator of live membership (segment_eval.c) is given what there was then: the ids and traits that the profile had, and events
 * of those ids until then. The definition is today's, and an event counts from the moment at which it happened, also one that was
 * told late. A query of somebody's own, and what is made of one, is asked as it is known today.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "segment/segment_live.h"
#include "utils/builtins.h"

static EmkPlan events_plan = {
	"SELECT e.occurred_at, e.name, CASE WHEN $6 THEN e.properties END, e.app, u.n OPERATOR(pg_catalog.=) 1 "
	"FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) CROSS JOIN LATERAL (SELECT x.occurred_at, x.name, x.properties, "
	"x.depth OPERATOR(pg_catalog.=) 0 AS app FROM eventmkt_data.event x WHERE x.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") "
	"AND x.occurred_at OPERATOR(pg_catalog.>=) $2 AND x.occurred_at OPERATOR(pg_catalog.<=) $3 AND x.conflict_of IS NULL "
	"AND ($5 OR x.name OPERATOR(pg_catalog.=) ANY ($4)) OFFSET 0) e ORDER BY e.occurred_at", 6,
	{TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTARRAYOID, BOOLOID, BOOLOID}
};
static EmkPlan seen_plan = {
	"SELECT 1 WHERE EXISTS (SELECT FROM eventmkt_data.event x WHERE x.profile_id OPERATOR(pg_catalog.=) $1 "
	"AND x.occurred_at OPERATOR(pg_catalog.<=) $2)", 2, {TEXTOID, TIMESTAMPTZOID}
};

static bool
has_query(const EmkLive *s)
{
	if (s->spec.kind == EMK_SEGMENT_QUERY)
		return true;
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < s->nkids[k]; i++)
			if (has_query(s->kids[k][i]))
				return true;
	return false;
}

static void
read_events(const EmkLive *s, const EmkSegmentThen *then, EmkPerson *who)
{
	Datum	   *ids = palloc(sizeof(Datum) * then->nids);
	Datum	   *names = palloc(sizeof(Datum) * Max(s->nnames, 1));
	Datum		args[6];
	bool		isnull;

	for (int i = 0; i < then->nids; i++)
		ids[i] = CStringGetTextDatum(then->ids[i]);
	for (int i = 0; i < s->nnames; i++)
		names[i] = CStringGetTextDatum(s->names[i]);
	args[0] = emk_spi_array(ids, NULL, then->nids, TEXTOID);
	args[1] = TimestampTzGetDatum(emk_live_since(s, then->at));
	args[2] = TimestampTzGetDatum(then->at);
	args[3] = emk_spi_array(names, NULL, s->nnames, TEXTOID);
	args[4] = BoolGetDatum(s->all_names);
	args[5] = BoolGetDatum(s->properties);
	who->n = (int) emk_spi_run(&events_plan, args, NULL, true, 0);
	who->past = palloc_extended(sizeof(EmkPast) * Max(who->n, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < who->n; i++)
	{
		EmkPast    *e = &who->past[i];
		Datum		properties = emk_spi_datum(i, 3, &isnull);

		e->properties = isnull ? NULL : DatumGetJsonbPCopy(properties);
		e->at = DatumGetTimestampTz(emk_spi_datum(i, 1, &isnull));
		e->name = emk_spi_text(i, 2);
		e->app = emk_spi_bool(i, 4, false);
		e->own = emk_spi_bool(i, 5, false);
	}
	SPI_freetuptable(SPI_tuptable);
}

bool
emk_segment_had(int32 segment_id, const EmkSegmentThen *then, char **facts)
{
	EmkLive    *s = emk_live_want(segment_id);
	EmkPerson	who = {.id = then->ids[0], .has_row = then->known, .traits = then->traits};
	StringInfoData buf;

	if (s == NULL || has_query(s))
		return emk_segment_has(segment_id, then->ids[0], then->at, facts);
	if (s->history)
		read_events(s, then, &who);
	if (s->unknown_any && !who.has_row)
	{
		Datum		args[2] = {CStringGetTextDatum(who.id), TimestampTzGetDatum(then->at)};

		who.seen = emk_spi_run(&seen_plan, args, NULL, true, 1) > 0;
		SPI_freetuptable(SPI_tuptable);
	}
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	emk_json_append_string(&buf, "segment", s->spec.name);
	appendStringInfoChar(&buf, '}');
	*facts = buf.data;
	return emk_live_decide(s, &who, then->at).in;
}
