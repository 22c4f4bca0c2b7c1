/*
 * segment_history.c: reads of many people at once what their segments need: traits, ids, events; and has them decided.
 *
 * People are taken CHUNK at a time, so memory stays bounded whatever a batch holds. Of a chunk the events are one statement: by
 * id, from the earliest moment that a window of one of the person's segments reaches back to, of the names that any segment of
 * the chunk speaks of. Properties come only where one is asked for.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "profile/profile.h"
#include "segment/segment_live.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define CHUNK 200				/* people */

static EmkPlan people_plan = {
	"SELECT u.n, p.traits FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) CROSS JOIN LATERAL ("
	"SELECT x.traits FROM eventmkt_data.profile x WHERE x.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") LIMIT 1) p", 1,
	{TEXTARRAYOID}
};
static EmkPlan seen_plan = {
	"SELECT u.n FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) WHERE EXISTS (SELECT FROM eventmkt_data.event e "
	"WHERE e.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\"))", 1, {TEXTARRAYOID}
};
static EmkPlan events_plan = {
	"SELECT u.n, e.occurred_at, e.name, CASE WHEN $6 THEN e.properties END, e.app, u.own "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($7)) "
	"AS u (id, n, since, own) CROSS JOIN LATERAL (SELECT x.occurred_at, x.name, x.properties, x.depth OPERATOR(pg_catalog.=) 0 AS app "
	"FROM eventmkt_data.event x WHERE x.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") "
	"AND x.occurred_at OPERATOR(pg_catalog.>=) u.since AND x.conflict_of IS NULL "
	"AND ($5 OR x.name OPERATOR(pg_catalog.=) ANY ($4)) OFFSET 0) e", 7,
	{TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, BOOLOID, BOOLOID, BOOLARRAYOID}
};

/* People of a chunk, and what their segments need together */
typedef struct Chunk
{
	EmkPerson  *people;
	int			n;
	TimestampTz *since;			/* a person; DT_NOEND: no events */
	bool	   *ask_seen;
	EmkNames	names;
	bool		all_names;
	bool		properties;
} Chunk;

static void
need_names(Chunk *c, const EmkLive *s)
{
	c->all_names |= s->all_names;
	c->properties |= s->properties;
	for (int i = 0; i < s->nnames; i++)
	{
		bool		known = false;

		for (int k = 0; k < c->names.n && !known; k++)
			known = strcmp(c->names.v[k], s->names[i]) == 0;
		if (known)
			continue;
		c->names.v = c->names.v == NULL ? palloc(sizeof(char *) * 64) :
			c->names.n % 64 == 0 ? repalloc(c->names.v, sizeof(char *) * (c->names.n + 64)) : c->names.v;
		c->names.v[c->names.n++] = s->names[i];
	}
}

static Jsonb *
jsonb_column(uint64 row, int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(d);
}

static void
read_people(Chunk *c, Jsonb *nothing)
{
	Datum	   *ids = palloc(sizeof(Datum) * c->n);
	Datum		arg;

	for (int i = 0; i < c->n; i++)
	{
		ids[i] = CStringGetTextDatum(c->people[i].id);
		c->people[i].traits = nothing;
	}
	arg = emk_spi_array(ids, NULL, c->n, TEXTOID);
	emk_spi_run(&people_plan, &arg, NULL, false, 0);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		EmkPerson  *p = &c->people[emk_spi_int8(r, 1, 1) - 1];

		p->has_row = true;
		p->traits = jsonb_column(r, 2);
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
read_seen(Chunk *c)
{
	Datum	   *ids = palloc(sizeof(Datum) * c->n);
	int		   *which = palloc(sizeof(int) * c->n);
	int			k = 0;
	Datum		arg;

	for (int i = 0; i < c->n; i++)
		if (c->ask_seen[i] && !c->people[i].has_row && !c->people[i].gone)
		{
			ids[k] = CStringGetTextDatum(c->people[i].id);
			which[k++] = i;
		}
	if (k == 0)
		return;
	arg = emk_spi_array(ids, NULL, k, TEXTOID);
	emk_spi_run(&seen_plan, &arg, NULL, false, 0);
	for (uint64 r = 0; r < SPI_processed; r++)
		c->people[which[emk_spi_int8(r, 1, 1) - 1]].seen = true;
	SPI_freetuptable(SPI_tuptable);
}

static int
compare_past(const void *a, const void *b)
{
	const EmkPast *x = a;
	const EmkPast *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

/* Hands the rows out to their people. */
static void
take_events(Chunk *c)
{
	uint64		rows = SPI_processed;
	bool		isnull;

	for (uint64 r = 0; r < rows; r++)
		c->people[emk_spi_int4(r, 1, 0)].n++;
	for (int i = 0; i < c->n; i++)
	{
		c->people[i].past = c->people[i].n > 0 ? palloc_extended(sizeof(EmkPast) * c->people[i].n, MCXT_ALLOC_HUGE) : NULL;
		c->people[i].n = 0;
	}
	for (uint64 r = 0; r < rows; r++)
	{
		EmkPerson  *p = &c->people[emk_spi_int4(r, 1, 0)];
		EmkPast    *e = &p->past[p->n++];

		e->at = DatumGetTimestampTz(emk_spi_datum(r, 2, &isnull));
		e->name = emk_spi_text(r, 3);
		e->properties = jsonb_column(r, 4);
		e->app = emk_spi_bool(r, 5, false);
		e->own = emk_spi_bool(r, 6, false);
	}
	for (int i = 0; i < c->n; i++)
		if (c->people[i].n > 1)
			qsort(c->people[i].past, c->people[i].n, sizeof(EmkPast), compare_past);
}

static void
read_events(Chunk *c)
{
	char	  **canonical = palloc(sizeof(char *) * c->n);
	int		   *which = palloc(sizeof(int) * c->n);
	EmkIds	   *ids = palloc(sizeof(EmkIds) * c->n);
	Datum	   *v[4];
	Datum	   *names = palloc(sizeof(Datum) * Max(c->names.n, 1));
	Datum		args[7];
	int			people = 0;
	int			n = 0;

	for (int i = 0; i < c->n; i++)
		if (c->since[i] != DT_NOEND && !c->people[i].gone)
		{
			canonical[people] = (char *) c->people[i].id;
			which[people++] = i;
		}
	if (people == 0)
		return;
	emk_profile_ids(canonical, people, ids);
	for (int i = 0; i < people; i++)
		n += ids[i].n;
	for (int k = 0; k < 4; k++)
		v[k] = palloc(sizeof(Datum) * n);
	n = 0;
	for (int i = 0; i < people; i++)
		for (int k = 0; k < ids[i].n; k++, n++)
		{
			v[0][n] = CStringGetTextDatum(ids[i].ids[k]);
			v[1][n] = Int32GetDatum(which[i]);
			v[2][n] = TimestampTzGetDatum(c->since[which[i]]);
			v[3][n] = BoolGetDatum(k == 0);
		}
	for (int i = 0; i < c->names.n; i++)
		names[i] = CStringGetTextDatum(c->names.v[i]);
	args[0] = emk_spi_array(v[0], NULL, n, TEXTOID);
	args[1] = emk_spi_array(v[1], NULL, n, INT4OID);
	args[2] = emk_spi_array(v[2], NULL, n, TIMESTAMPTZOID);
	args[3] = emk_spi_array(names, NULL, c->names.n, TEXTOID);
	args[4] = BoolGetDatum(c->all_names);
	args[5] = BoolGetDatum(c->properties);
	args[6] = emk_spi_array(v[3], NULL, n, BOOLOID);
	emk_spi_run(&events_plan, args, NULL, false, 0);
	take_events(c);
	SPI_freetuptable(SPI_tuptable);
}

static void
answer_chunk(EmkPair *pairs, int n, TimestampTz now, Jsonb *nothing)
{
	Chunk		c = {palloc0(sizeof(EmkPerson) * n), 0, palloc(sizeof(TimestampTz) * n), palloc0(n)};
	int		   *person = palloc(sizeof(int) * n);

	for (int i = 0; i < n; i++)
	{
		if (i == 0 || strcmp(pairs[i].profile_id, pairs[i - 1].profile_id) != 0)
		{
			c.people[c.n].id = pairs[i].profile_id;
			c.since[c.n++] = DT_NOEND;
		}
		person[i] = c.n - 1;
		c.people[c.n - 1].gone |= pairs[i].gone;
		if (!pairs[i].asked)
			continue;
		if (pairs[i].s->history)
			c.since[c.n - 1] = Min(c.since[c.n - 1], emk_live_since(pairs[i].s, now));
		c.ask_seen[c.n - 1] |= pairs[i].s->unknown_any;
		need_names(&c, pairs[i].s);
	}
	read_people(&c, nothing);
	read_seen(&c);
	read_events(&c);
	for (int i = 0; i < n; i++)
		if (pairs[i].asked)
		{
			pairs[i].answer = emk_live_decide(pairs[i].s, &c.people[person[i]], now);
			if (!pairs[i].answer.in)
				emk_live_find_bars(pairs[i].s, &c.people[person[i]], now, &pairs[i].bars);
		}
}

void
emk_live_answer(EmkPair *pairs, int n, TimestampTz now)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventmkt people", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int			begin = 0;

	while (begin < n)
	{
		int			end = begin;
		int			people = 0;

		for (; end < n; end++)
			if ((end == begin || strcmp(pairs[end].profile_id, pairs[end - 1].profile_id) != 0) && people++ == CHUNK)
				break;
		CHECK_FOR_INTERRUPTS();
		answer_chunk(pairs + begin, end - begin, now, emk_json_parse("{}"));
		MemoryContextReset(context);
		begin = end;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
