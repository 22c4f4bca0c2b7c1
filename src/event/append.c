/*
 * append.c: HOT. The event table's only writer.
 *
 * Runs once per event in the app's transaction. It may not: wait for anybody, touch a row that another caller writes, make a
 * partition, or fail for a reason the app did not cause. Guarded by `make bench` (track against a bare INSERT).
 *
 * One event goes through a saved INSERT; many go through one INSERT … SELECT FROM unnest() a chunk, which costs a
 * fraction of that a row.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "event/event.h"
#include "event/event_int.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#define APPEND_CHUNK 1000

static Oid	sequence_oid = InvalidOid;

static EmkPlan append_plan = {
	"INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, message_id, "
	"anonymous_id, depth, conflict_of) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
	10, {INT8OID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, INT2OID, INT8OID}
};
static EmkPlan append_many_plan = {
	"INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, message_id, "
	"anonymous_id, depth, conflict_of) "
	"SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
	"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), "
	"pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10))",
	10, {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, INT2ARRAYOID, INT8ARRAYOID}
};

static void
forget_sequence(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == sequence_oid)
		sequence_oid = InvalidOid;
}

void
emk_event_init_append(void)
{
	CacheRegisterRelcacheCallback(forget_sequence, (Datum) 0);
}

/* A new event id: 10 bits of node, 53 of the node's own sequence. ERROR EM001 before init(). */
int64
emk_event_next_id(void)
{
	if (!OidIsValid(sequence_oid))
		sequence_oid = emk_setting_table("event_id_seq");
	return ((int64) emk_setting_node() << 53) | nextval_internal(sequence_oid, false);
}

static Datum
text_or_null(const char *s, char *null)
{
	*null = s ? ' ' : 'n';
	return s ? CStringGetTextDatum(s) : (Datum) 0;
}

void
emk_event_append(const EmkEvent *ev)
{
	Datum		v[10];
	char		nulls[10];

	memset(nulls, ' ', sizeof(nulls));
	v[0] = Int64GetDatum(ev->event_id);
	v[1] = CStringGetTextDatum(ev->profile_id);
	v[2] = CStringGetTextDatum(ev->name);
	v[3] = JsonbPGetDatum(ev->properties);
	v[4] = TimestampTzGetDatum(ev->occurred_at);
	v[5] = TimestampTzGetDatum(ev->received_at);
	v[6] = text_or_null(ev->message_id, &nulls[6]);
	v[7] = text_or_null(ev->anonymous_id, &nulls[7]);
	v[8] = Int16GetDatum(ev->depth);
	v[9] = Int64GetDatum(ev->conflict_of);
	nulls[9] = ev->conflict_of ? ' ' : 'n';
	emk_spi_run(&append_plan, v, nulls, false, 0);
}

static void
append_chunk(const EmkEvent *evs, int n)
{
	static const Oid elem[10] = {INT8OID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID,
	INT2OID, INT8OID};
	Datum	   *v[10];
	bool	   *isnull[10];
	Datum		args[10];

	for (int c = 0; c < 10; c++)
	{
		v[c] = palloc(sizeof(Datum) * n);
		isnull[c] = palloc0(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		const EmkEvent *e = &evs[i];

		v[0][i] = Int64GetDatum(e->event_id);
		v[1][i] = CStringGetTextDatum(e->profile_id);
		v[2][i] = CStringGetTextDatum(e->name);
		v[3][i] = JsonbPGetDatum(e->properties);
		v[4][i] = TimestampTzGetDatum(e->occurred_at);
		v[5][i] = TimestampTzGetDatum(e->received_at);
		isnull[6][i] = e->message_id == NULL;
		v[6][i] = e->message_id ? CStringGetTextDatum(e->message_id) : (Datum) 0;
		isnull[7][i] = e->anonymous_id == NULL;
		v[7][i] = e->anonymous_id ? CStringGetTextDatum(e->anonymous_id) : (Datum) 0;
		v[8][i] = Int16GetDatum(e->depth);
		isnull[9][i] = e->conflict_of == 0;
		v[9][i] = Int64GetDatum(e->conflict_of);
	}
	for (int c = 0; c < 10; c++)
		args[c] = emk_spi_array(v[c], isnull[c], n, elem[c]);
	emk_spi_run(&append_many_plan, args, NULL, false, 0);
}

void
emk_event_append_many(const EmkEvent *evs, int n)
{
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "eventmkt append", ALLOCSET_DEFAULT_SIZES);

	for (int at = 0; at < n; at += APPEND_CHUNK)
	{
		MemoryContext old = MemoryContextSwitchTo(chunk);

		append_chunk(evs + at, Min(APPEND_CHUNK, n - at));
		MemoryContextSwitchTo(old);
		MemoryContextReset(chunk);
	}
	MemoryContextDelete(chunk);
}
