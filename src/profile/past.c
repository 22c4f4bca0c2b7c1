/*
 * past.c: the traits that many profiles had at any time, read with a few queries for a backtest. An id that was merged away since has
 * its past too: its row as the merge found it, and its own changes before that. A merge that was undone is as if it had not been.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "profile/profile.h"
#include "profile/profile_int.h"
#include "utils/builtins.h"

/* One change, newest first: what the trait was before it */
typedef struct Change
{
	TimestampTz at;
	char	   *trait;
	Jsonb	   *before;			/* NULL: the trait did not exist */
} Change;

typedef struct Past
{
	const char *id;
	TimestampTz since;			/* before that nothing was known; DT_NOEND: there never was a row */
	Change	   *changes;
	int			nchanges;
	int			room;
	Jsonb	  **undone;			/* undone[k]: the traits before the k newest changes; NULL: not asked for yet */
} Past;

struct EmkPast
{
	MemoryContext context;
	Past	   *v;				/* by id */
	int			n;
	Jsonb	   *nothing;
};

static EmkPlan rows_plan = {
	"SELECT u.n::pg_catalog.int4, p.created_at, p.traits FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) "
	"JOIN eventmkt_data.profile p ON p.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\")", 1, {TEXTARRAYOID}
};
static EmkPlan merged_plan = {
	"SELECT u.n::pg_catalog.int4, m.made_at, m.traits FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) "
	"JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") CROSS JOIN LATERAL ("
	"SELECT (m.detail OPERATOR(pg_catalog.->>) 'created_at')::pg_catalog.int8 AS made_at, "
	"m.detail OPERATOR(pg_catalog.->) 'traits' AS traits FROM eventmkt_data.merge_log m "
	"WHERE m.into_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT b.alias FROM eventmkt_data.alias b "
	"WHERE b.profile_id OPERATOR(pg_catalog.=) a.profile_id) OPERATOR(pg_catalog.||) a.profile_id) "
	"AND m.from_id OPERATOR(pg_catalog.=) a.alias AND m.refused IS NULL AND m.undone_at IS NULL "
	"ORDER BY m.merged_at DESC LIMIT 1) m", 1, {TEXTARRAYOID}
};
static EmkPlan changes_plan = {
	"SELECT u.n::pg_catalog.int4, c.changed_at, c.trait, c.old_value FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) "
	"JOIN eventmkt_data.trait_change c ON c.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") "
	"ORDER BY u.n, c.changed_at DESC", 1, {TEXTARRAYOID}
};

static int
compare_past(const void *a, const void *b)
{
	return strcmp(((const Past *) a)->id, ((const Past *) b)->id);
}

static Jsonb *
jsonb_at(uint64 row, int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(d);
}

static void
read_rows(EmkPast *p, EmkPlan *plan, Datum *ids, bool merged)
{
	uint64		n = emk_spi_run(plan, ids, NULL, true, 0);
	MemoryContext old = MemoryContextSwitchTo(p->context);

	for (uint64 row = 0; row < n; row++)
	{
		Past	   *past = &p->v[emk_spi_int4(row, 1, 0) - 1];
		bool		isnull;

		if (merged && past->since != DT_NOEND)
			continue;			/* it is a profile again */
		past->since = DatumGetTimestampTz(emk_spi_datum(row, 2, &isnull));
		past->undone = palloc(sizeof(Jsonb *));
		past->undone[0] = jsonb_at(row, 3);
		if (past->undone[0] == NULL)
			past->undone[0] = p->nothing;
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

static void
read_changes(EmkPast *p, Datum *ids)
{
	uint64		n = emk_spi_run(&changes_plan, ids, NULL, true, 0);
	MemoryContext old = MemoryContextSwitchTo(p->context);

	for (uint64 row = 0; row < n; row++)
	{
		Past	   *past = &p->v[emk_spi_int4(row, 1, 0) - 1];
		Change	   *c;
		bool		isnull;

		if (past->nchanges == past->room)
		{
			past->room = Max(8, past->room * 2);
			past->changes = past->changes == NULL ? palloc(sizeof(Change) * past->room) :
				repalloc(past->changes, sizeof(Change) * past->room);
		}
		c = &past->changes[past->nchanges++];
		c->at = DatumGetTimestampTz(emk_spi_datum(row, 2, &isnull));
		c->trait = emk_spi_text(row, 3);
		c->before = jsonb_at(row, 4);
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

EmkPast *
emk_profile_past(char **ids, int n, bool merges)
{
	EmkPast    *p = palloc0(sizeof(EmkPast));
	Datum	   *d = palloc(sizeof(Datum) * Max(n, 1));
	Datum		arg;

	p->context = CurrentMemoryContext;
	p->n = n;
	p->v = palloc0(sizeof(Past) * Max(n, 1));
	p->nothing = emk_json_parse("{}");
	for (int i = 0; i < n; i++)
	{
		p->v[i].id = ids[i];
		p->v[i].since = DT_NOEND;
	}
	qsort(p->v, n, sizeof(Past), compare_past);
	for (int i = 0; i < n; i++)
		d[i] = CStringGetTextDatum(p->v[i].id);
	arg = emk_spi_array(d, NULL, n, TEXTOID);
	SPI_connect();
	read_rows(p, &rows_plan, &arg, false);
	if (merges)
		read_rows(p, &merged_plan, &arg, true);
	read_changes(p, &arg);
	SPI_finish();
	return p;
}

/* The traits `after` a change as they were before it */
static Jsonb *
undo(Jsonb *after, const Change *c)
{
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvNull};
	EmkTraitChange *ignored;
	int			n;

	key.val.string.val = c->trait;
	key.val.string.len = strlen(c->trait);
	if (c->before != NULL &&
		(!JB_ROOT_IS_SCALAR(c->before) || !JsonbExtractScalar(&c->before->root, &value)))
	{
		value.type = jbvBinary;
		value.val.binary.data = &c->before->root;
		value.val.binary.len = VARSIZE(c->before) - VARHDRSZ;
	}
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, &value);
	return emk_profile_combine(after, JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)), false, &ignored, &n);
}

bool
emk_profile_past_knows(EmkPast *p, const char *id, TimestampTz at)
{
	Past		wanted = {.id = id};
	Past	   *past = bsearch(&wanted, p->v, p->n, sizeof(Past), compare_past);

	return past != NULL && past->since <= at;
}

Jsonb *
emk_profile_past_at(EmkPast *p, const char *id, TimestampTz at)
{
	Past		wanted = {.id = id};
	Past	   *past = bsearch(&wanted, p->v, p->n, sizeof(Past), compare_past);
	MemoryContext old;
	int			k;

	if (past == NULL || past->since > at)
		return p->nothing;
	for (k = 0; k < past->nchanges && past->changes[k].at > at; k++)
		;
	if (k == 0)
		return past->undone[0];
	old = MemoryContextSwitchTo(p->context);
	if (past->room != -1)
	{
		Jsonb	   *latest = past->undone[0];

		past->undone = palloc0(sizeof(Jsonb *) * (past->nchanges + 1));
		past->undone[0] = latest;
		past->room = -1;		/* all changes are read, and undone[] has room for each */
	}
	for (int i = 1; i <= k; i++)
		if (past->undone[i] == NULL)
			past->undone[i] = undo(past->undone[i - 1], &past->changes[i - 1]);
	MemoryContextSwitchTo(old);
	return past->undone[k];
}
