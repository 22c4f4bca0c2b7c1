/*
 * ask.c: the gates of a batch, in the order of S1. The answers come from the committed events, traits and deliveries of the
 * moment: what was committed before this statement counts, whenever it happened.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "gate/gate.h"
#include "gate/gate_int.h"
#include "profile/profile.h"
#include "segment/segment.h"
#include "trigger/trigger.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static EmkPlan reentry_plan = {
	"SELECT u.ord, d.status OPERATOR(pg_catalog.=) 'delivered', d.settled_at, d.id::pg_catalog.text, d.next_attempt_at "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"pg_catalog.unnest($5)) AS u (ord, profile_id, rule_id, key, own) CROSS JOIN LATERAL "
	"(SELECT d.status, d.settled_at, d.id, d.next_attempt_at FROM eventmkt_data.delivery d "
	"WHERE d.profile_id OPERATOR(pg_catalog.=) u.profile_id AND d.rule_id OPERATOR(pg_catalog.=) u.rule_id "
	"AND d.key OPERATOR(pg_catalog.=) u.key AND (u.own IS NULL OR d.id OPERATOR(pg_catalog.<>) u.own) "
	"AND (u.own IS NULL OR d.status OPERATOR(pg_catalog.=) 'delivered' OR d.id OPERATOR(pg_catalog.<) u.own) "
	"AND d.status OPERATOR(pg_catalog.=) ANY ('{queued,in_flight,retrying,delivered}')) d",
	5, {INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, UUIDARRAYOID}
};

bool
emk_gate_needed(const EmkRule *rule)
{
	return rule->nunless > 0 || rule->lapse || rule->where_profile != NULL || rule->where_segment != 0 ||
		rule->reentry != NULL;
}

/* Canonical ids, all ids, traits */
static EmkIds *
look_up(EmkGateRun *runs, int n)
{
	const char **raw = palloc(sizeof(char *) * n);
	const char **canonical = palloc(sizeof(char *) * n);
	Jsonb	  **traits = palloc(sizeof(Jsonb *) * n);
	EmkIds	   *ids = palloc(sizeof(EmkIds) * n);

	for (int i = 0; i < n; i++)
		raw[i] = runs[i].profile_id;
	emk_profile_resolve_many(raw, canonical, n);
	emk_profile_ids((char **) canonical, n, ids);
	emk_profile_traits_many((char **) canonical, n, traits);
	for (int i = 0; i < n; i++)
	{
		runs[i].canonical = canonical[i];
		runs[i].traits = traits[i];
		runs[i].verdict = EMK_PASS;
		runs[i].reason = NULL;
		runs[i].facts = NULL;
	}
	return ids;
}

void
emk_gate_judge_audience(EmkGateRun *r)
{
	char	   *error;

	if (r->rule->where_profile == NULL ||
		emk_rule_test(r->rule->where_profile, r->rule->cold_profile, r->traits, &error))
		return;
	r->verdict = EMK_SUPPRESS;
	if (error != NULL && !r->replayed)
		emk_trigger_condition_failed(r->rule, error);
	r->reason = error != NULL ? "condition_error" : "audience";
	r->facts = emk_rule_audience_facts(r->traits, error);
}

void
emk_gate_judge_segment(EmkGateRun *r, bool in, char *facts)
{
	if (in)
		return;
	r->verdict = EMK_SUPPRESS;
	r->reason = "audience";
	r->facts = facts;
}

/* Is the profile in the segment of the rule? */
static void
ask_segment(EmkGateRun *r, TimestampTz now)
{
	char	   *facts = NULL;
	bool		in = r->rule->where_segment == 0 || emk_segment_has(r->rule->where_segment, r->canonical, now, &facts);

	emk_gate_judge_segment(r, in, facts);
}

/* An earlier delivery of this rule to this profile and key: still open → hold; delivered lately → suppress. */
void
emk_gate_judge_reentry(EmkGateRun *r, bool delivered, TimestampTz settled, const char *id, TimestampTz next, TimestampTz now)
{
	TimestampTz until;

	if (r->verdict == EMK_SUPPRESS)
		return;
	if (!delivered)
	{
		if (TIMESTAMP_NOT_FINITE(next))
			next = now + USECS_PER_MINUTE;	/* behind others of the person at an ordered endpoint: nobody knows how long */
		r->verdict = EMK_HOLD;
		r->reason = "earlier_send_open";
		r->facts = psprintf("{\"delivery\": \"%s\"}", id);
		r->hold_until = Max(next, now) + 5 * USECS_PER_SEC;
		return;
	}
	until = emk_clock_add(settled, r->rule->reentry);
	if (until <= now)
		return;
	r->verdict = EMK_SUPPRESS;
	r->reason = "reentry";
	r->facts = id == NULL ? psprintf("{\"until\": \"%s\"}", timestamptz_to_str(until)) :
		psprintf("{\"delivery\": \"%s\", \"until\": \"%s\"}", id, timestamptz_to_str(until));
}

static void
ask_reentry(EmkGateRun *runs, int n, const EmkIds *ids, TimestampTz now)
{
	Datum	   *v[5];
	bool	   *no_own;
	Datum		args[5];
	int			room = 0;
	int			k = 0;

	for (int i = 0; i < n; i++)
		room += runs[i].rule->reentry != NULL && runs[i].verdict == EMK_PASS ? ids[i].n : 0;
	if (room == 0)
		return;
	for (int c = 0; c < 5; c++)
		v[c] = palloc(sizeof(Datum) * room);
	no_own = palloc(sizeof(bool) * room);
	for (int i = 0; i < n; i++)
		for (int j = 0; runs[i].rule->reentry != NULL && runs[i].verdict == EMK_PASS && j < ids[i].n; j++)
		{
			v[0][k] = Int32GetDatum(i);
			v[1][k] = CStringGetTextDatum(ids[i].ids[j]);
			v[2][k] = Int32GetDatum(runs[i].rule->rule_id);
			v[3][k] = CStringGetTextDatum(runs[i].key);
			no_own[k] = runs[i].delivery_id == NULL;
			v[4][k++] = UUIDPGetDatum(runs[i].delivery_id);
		}
	args[0] = emk_spi_array(v[0], NULL, k, INT4OID);
	args[1] = emk_spi_array(v[1], NULL, k, TEXTOID);
	args[2] = emk_spi_array(v[2], NULL, k, INT4OID);
	args[3] = emk_spi_array(v[3], NULL, k, TEXTOID);
	args[4] = emk_spi_array(v[4], no_own, k, UUIDOID);
	emk_spi_run(&reentry_plan, args, NULL, false, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;
		TimestampTz settled = DatumGetTimestampTz(emk_spi_datum(row, 3, &isnull));
		TimestampTz next = DatumGetTimestampTz(emk_spi_datum(row, 5, &isnull));

		emk_gate_judge_reentry(&runs[emk_spi_int4(row, 1, 0)], emk_spi_bool(row, 2, false), settled, emk_spi_text(row, 4), next, now);
	}
}

void
emk_gate_ask(EmkGateRun *runs, int n, TimestampTz now)
{
	EmkIds	   *ids;

	if (n == 0)
		return;
	ids = look_up(runs, n);
	emk_gate_ask_history(runs, n, ids, now);
	for (int i = 0; i < n; i++)
		if (runs[i].verdict == EMK_PASS)
			emk_gate_judge_audience(&runs[i]);
	for (int i = 0; i < n; i++)
		if (runs[i].verdict == EMK_PASS)
			ask_segment(&runs[i], now);
	ask_reentry(runs, n, ids, now);
}
