/*
 * append.c: HOT. How rows get into event, work and decision, the append-only tables of this layer.
 *
 * Runs once per event in the app's transaction. It may not: wait for anybody, touch a row that another caller writes, make a
 * partition, or fail for a reason the app did not cause. Guarded by `make bench` (track against a bare INSERT).
 *
 * An INSERT through SPI spends most of its time on starting and ending an executor for one row. So rows are written the way
 * COPY writes them: routed to partitions, inserted (many at once), indexed, with the executor's own calls. That holds for a
 * plain table, as init() makes it. Where somebody has hung triggers, rules or policies on the table, changed its columns, or
 * put a foreign table into it, emk_event_write() stops before the first such row and the caller runs its statement for the rest.
 *
 * A message key is written as INSERT … ON CONFLICT DO NOTHING writes one (a speculative insertion: others who meet it wait for
 * its outcome only, never for our transaction), but without asking the index first: nearly all ids are new. Where the key is
 * taken the row is taken back and the statement decides, with its waiting and its rules of visibility.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "event/event.h"
#include "event/event_int.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#define APPEND_CHUNK 250			/* rows of one multi-insert: a few pages, and slots that stay in the CPU's cache */

/* An insertion under way */
typedef struct Writing
{
	const EmkSink *sink;
	Relation	rel;
	EState	   *estate;			/* owns all memory of the insertion */
	ResultRelInfo *root;
	ModifyTableState *mt;
	PartitionTupleRouting *routing; /* NULL: the table has no partitions */
} Writing;

static Oid	sequence_oid = InvalidOid;
static EmkSink *sinks = NULL;	/* those whose oid is known */

static void form_event(const void *rows, int i, Datum *v, bool *isnull);

static const Oid event_types[] = {INT8OID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, INT2OID,
INT8OID};
static EmkSink event_sink = {"event", lengthof(event_types), event_types, form_event};

static void form_key(const void *rows, int i, Datum *v, bool *isnull);

static const Oid key_types[] = {TEXTOID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID};
static EmkSink key_sink = {"message_key", lengthof(key_types), key_types, form_key};

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
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == sequence_oid)
		sequence_oid = InvalidOid;
	for (EmkSink *s = sinks; s != NULL; s = s->next)
		if (relid == InvalidOid || relid == s->relid)
			s->relid = InvalidOid;
}

void
emk_event_init_append(void)
{
	emk_base_on_relcache(forget);
}

/* A new event id: 10 bits of node, 10 of the timeline, 43 of the node's own sequence. ERROR EM001 before init(). */
int64
emk_event_next_id(void)
{
	int64		node = emk_setting_node();	/* first: it may read, and hear that the sequence is another */

	if (!OidIsValid(sequence_oid))
		sequence_oid = emk_setting_table("event_id_seq");
	return (node << 53) | emk_setting_next_id(sequence_oid);
}

Relation
emk_event_open_sink(EmkSink *sink)
{
	if (!OidIsValid(sink->relid))
	{
		sink->relid = emk_setting_table(sink->relname);
		if (!sink->listed)
		{
			sink->next = sinks;
			sinks = sink;
			sink->listed = true;
		}
	}
	return table_open(sink->relid, RowExclusiveLock);
}

/* Nothing in the way of plain writing: neither code of others nor columns that are not ours. */
bool
emk_event_is_plain(Relation rel, const EmkSink *sink)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (rel->trigdesc != NULL || rel->rd_rules != NULL || rel->rd_rel->relrowsecurity || desc->natts != sink->natts ||
		(rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) ||
		(desc->constr != NULL && desc->constr->has_generated_stored && !sink->generated))
		return false;
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->atttypid != sink->types[i] || TupleDescAttr(desc, i)->attisdropped)
			return false;
	return true;
}

static bool
begin_write(Writing *w, EmkSink *sink)
{
	MemoryContext old;

	memset(w, 0, sizeof(*w));
	w->sink = sink;
	w->rel = emk_event_open_sink(sink);
	if (!emk_event_is_plain(w->rel, sink))
	{
		table_close(w->rel, NoLock);
		return false;
	}
	PreventCommandIfReadOnly("INSERT");
	PreventCommandIfParallelMode("INSERT");
	w->estate = CreateExecutorState();
	w->estate->es_output_cid = GetCurrentCommandId(true);
	old = MemoryContextSwitchTo(w->estate->es_query_cxt);
	w->root = makeNode(ResultRelInfo);
	InitResultRelInfo(w->root, w->rel, 0, NULL, 0);
	if (w->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		w->mt = makeNode(ModifyTableState);
		w->mt->ps.state = w->estate;
		w->mt->operation = CMD_INSERT;
		w->mt->mt_nrels = 1;
		w->mt->resultRelInfo = w->mt->rootResultRelInfo = w->root;
		w->routing = ExecSetupPartitionTupleRouting(w->estate, w->rel);
	}
	else
		ExecOpenIndices(w->root, false);
	MemoryContextSwitchTo(old);
	return true;
}

static void
end_write(Writing *w)
{
	if (w->routing != NULL)
		ExecCleanupTupleRouting(w->mt, w->routing);
	else
		ExecCloseIndices(w->root);
	ExecResetTupleTable(w->estate->es_tupleTable, false);
	FreeExecutorState(w->estate);
	table_close(w->rel, NoLock);
}

/* Puts a row into a slot and returns where it belongs. */
static ResultRelInfo *
route(Writing *w, const void *rows, int i, TupleTableSlot *slot)
{
	ExecClearTuple(slot);
	w->sink->form(rows, i, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	return w->routing == NULL ? w->root : ExecFindPartition(w->mt, w->root, w->routing, slot, w->estate);
}

/* A partition that takes plain rows in the layout of its parent */
static bool
is_plain_leaf(const Writing *w, ResultRelInfo *leaf)
{
	return leaf == w->root || (emk_partition_map(leaf, w->estate) == NULL && emk_event_is_plain(leaf->ri_RelationDesc, w->sink));
}

static void
write_indexes(Writing *w, ResultRelInfo *leaf, TupleTableSlot *slot)
{
	if (leaf->ri_NumIndices > 0)
		list_free(emk_insert_index_tuples(leaf, slot, w->estate));
}

static int
write_one(Writing *w, const void *rows)
{
	TupleTableSlot *slot = ExecInitExtraTupleSlot(w->estate, RelationGetDescr(w->rel), &TTSOpsVirtual);
	ResultRelInfo *leaf = route(w, rows, 0, slot);

	if (!is_plain_leaf(w, leaf))
		return 0;
	ExecConstraints(leaf, slot, w->estate);
	table_tuple_insert(leaf->ri_RelationDesc, slot, w->estate->es_output_cid, 0, NULL);
	write_indexes(w, leaf, slot);
	if (w->sink->placed != NULL)
		w->sink->placed(rows, 0, &slot->tts_tid);
	return 1;
}

/* Writes those of the routed slots, rows `first` and on, that belong to `leaf`. */
static void
write_leaf(Writing *w, ResultRelInfo *leaf, TupleTableSlot **slots, ResultRelInfo **leaves, const void *rows, int first, int n)
{
	TupleTableSlot *mine[APPEND_CHUNK];
	MemoryContext old;
	int			k = 0;

	for (int i = 0; i < n; i++)
		if (leaves[i] == leaf)
		{
			ExecConstraints(leaf, slots[i], w->estate);
			mine[k++] = slots[i];
		}
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(w->estate));
	table_multi_insert(leaf->ri_RelationDesc, mine, k, w->estate->es_output_cid, 0, NULL);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < k; i++)
		write_indexes(w, leaf, mine[i]);
	for (int i = 0; w->sink->placed != NULL && i < n; i++)
		if (leaves[i] == leaf)
			w->sink->placed(rows, first + i, &slots[i]->tts_tid);
	ResetPerTupleExprContext(w->estate);
}

/* Returns how many rows it wrote: all, or those before the chunk in which one belongs into a table that is not plain. */
static int
write_many(Writing *w, const void *rows, int n)
{
	TupleTableSlot *slots[APPEND_CHUNK];
	ResultRelInfo *leaves[APPEND_CHUNK];
	MemoryContext chunk = AllocSetContextCreate(w->estate->es_query_cxt, "eventmkt append", ALLOCSET_DEFAULT_SIZES);
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(w->rel));	/* one that slots need not pin */
	bool		plain = true;
	int			done = 0;

	for (int i = 0; i < Min(n, APPEND_CHUNK); i++)
		slots[i] = ExecInitExtraTupleSlot(w->estate, desc, &TTSOpsVirtual);
	while (done < n && plain)
	{
		MemoryContext old = MemoryContextSwitchTo(chunk);
		List	   *distinct = NIL;
		ListCell   *lc;
		int			k = Min(APPEND_CHUNK, n - done);

		for (int i = 0; i < k; i++)
		{
			leaves[i] = route(w, rows, done + i, slots[i]);
			if (i == 0 || leaves[i] != leaves[i - 1])
				distinct = list_append_unique_ptr(distinct, leaves[i]);
		}
		foreach(lc, distinct)
			plain = plain && is_plain_leaf(w, lfirst(lc));
		foreach(lc, plain ? distinct : NIL)
			write_leaf(w, lfirst(lc), slots, leaves, rows, done, k);
		MemoryContextSwitchTo(old);
		MemoryContextReset(chunk);
		done += plain ? k : 0;
	}
	return done;
}

int
emk_event_write(EmkSink *sink, const void *rows, int n)
{
	Writing		w;
	MemoryContext old;
	int			written;

	if (n == 0 || !begin_write(&w, sink))
		return 0;
	old = MemoryContextSwitchTo(w.estate->es_query_cxt);
	written = n == 1 ? write_one(&w, rows) : write_many(&w, rows, n);
	MemoryContextSwitchTo(old);
	end_write(&w);
	if (written > 0)
		CommandCounterIncrement();
	return written;
}

static void
form_key(const void *rows, int i, Datum *v, bool *isnull)
{
	const EmkMessageKey *k = (const EmkMessageKey *) rows + i;

	memset(isnull, 0, sizeof(bool) * lengthof(key_types));
	v[0] = CStringGetTextDatum(k->user_id);
	v[1] = CStringGetTextDatum(k->message_id);
	v[2] = Int64GetDatum(k->event_id);
	v[3] = Int64GetDatum(k->digest);
	v[4] = TimestampTzGetDatum(k->seen_at);
}

bool
emk_event_write_key(const EmkMessageKey *key)
{
	Writing		w;
	MemoryContext old;
	TupleTableSlot *slot;
	uint32		token;
	bool		taken = false;

	if (!begin_write(&w, &key_sink))
		return false;
	if (w.routing != NULL || w.root->ri_NumIndices == 0)
	{
		end_write(&w);
		return false;
	}
	old = MemoryContextSwitchTo(w.estate->es_query_cxt);
	slot = ExecInitExtraTupleSlot(w.estate, RelationGetDescr(w.rel), &TTSOpsVirtual);
	(void) route(&w, key, 0, slot);
	ExecConstraints(w.root, slot, w.estate);
	token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	table_tuple_insert_speculative(w.rel, slot, w.estate->es_output_cid, 0, NULL, token);
	list_free(emk_insert_index_tuples_unless(w.root, slot, w.estate, &taken));
	table_tuple_complete_speculative(w.rel, slot, token, !taken);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	MemoryContextSwitchTo(old);
	end_write(&w);
	CommandCounterIncrement();
	return !taken;
}

static void
form_event(const void *rows, int i, Datum *v, bool *isnull)
{
	const EmkEvent *e = (const EmkEvent *) rows + i;

	memset(isnull, 0, sizeof(bool) * lengthof(event_types));
	v[0] = Int64GetDatum(e->event_id);
	v[1] = CStringGetTextDatum(e->profile_id);
	v[2] = CStringGetTextDatum(e->name);
	v[3] = JsonbPGetDatum(e->properties);
	v[4] = TimestampTzGetDatum(e->occurred_at);
	v[5] = TimestampTzGetDatum(e->received_at);
	isnull[6] = e->message_id == NULL;
	v[6] = e->message_id ? CStringGetTextDatum(e->message_id) : (Datum) 0;
	isnull[7] = e->anonymous_id == NULL;
	v[7] = e->anonymous_id ? CStringGetTextDatum(e->anonymous_id) : (Datum) 0;
	v[8] = Int16GetDatum(e->depth);
	isnull[9] = e->conflict_of == 0;
	v[9] = Int64GetDatum(e->conflict_of);
}

void
emk_event_run_arrays(EmkPlan *plan, const EmkSink *sink, const void *rows, int n)
{
	Datum		row[EMK_PLAN_MAX_ARGS];
	bool		row_null[EMK_PLAN_MAX_ARGS];
	Datum	   *v[EMK_PLAN_MAX_ARGS];
	bool	   *isnull[EMK_PLAN_MAX_ARGS];
	Datum		args[EMK_PLAN_MAX_ARGS];

	SPI_connect();
	for (int c = 0; c < sink->natts; c++)
	{
		v[c] = palloc(sizeof(Datum) * n);
		isnull[c] = palloc(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		sink->form(rows, i, row, row_null);
		for (int c = 0; c < sink->natts; c++)
		{
			v[c][i] = row[c];
			isnull[c][i] = row_null[c];
		}
	}
	for (int c = 0; c < sink->natts; c++)
		args[c] = emk_spi_array(v[c], isnull[c], n, sink->types[c]);
	emk_spi_run(plan, args, NULL, false, 0);
	SPI_finish();
}

void
emk_event_append(const EmkEvent *ev)
{
	emk_event_append_many(ev, 1);
}

void
emk_event_append_many(const EmkEvent *evs, int n)
{
	for (int at = emk_event_write(&event_sink, evs, n); at < n; at += APPEND_CHUNK)
		emk_event_run_arrays(&append_many_plan, &event_sink, evs + at, Min(APPEND_CHUNK, n - at));
	emk_event_mark_late(evs, n);
}
