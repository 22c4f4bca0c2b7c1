/*
 * rewrite.c: HOT. Changes rows where they lie, for callers who know where that is because they wrote them last.
 *
 * A statement that updates a batch by key joins it with unnested arrays, looks every row up in an index, and starts and ends an
 * executor of a dozen nodes: most of what settling a delivery cost. Here a row is fetched by its place, judged and changed by the
 * caller, and written with the calls that UPDATE itself uses, index entries included. The rules of append.c hold: a plain
 * table only, and the caller has a statement for what could not be done.
 *
 * Safety: the row is read by the latest snapshot, so the place of a version that somebody replaced shows nothing, or another row,
 * which edit() refuses by its key. A version replaced after the snapshot was taken is found by the update itself, which waits
 * for the other transaction and then leaves the row to the statement. A table that was rewritten or cut shorter may end before
 * the place: such a page is not asked for, and our lock on the table keeps it from becoming shorter meanwhile.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "event/event_int.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Rewriting
{
	Relation	rel;
	BlockNumber nblocks;		/* pages of the table that surely exist */
	EState	   *estate;			/* owns all memory of the change */
	ResultRelInfo *target;
	TupleTableSlot *old;
	TupleTableSlot *new;
} Rewriting;

/* One row; false when it is not what the caller expects, or not here any more. */
static bool
rewrite_one(Rewriting *w, ItemPointer tid, EmkEdit edit, void *rows, int i)
{
	int			natts = RelationGetDescr(w->rel)->natts;
	Snapshot	snapshot = GetActiveSnapshot();
	TM_FailureData failure;
	LockTupleMode mode;
	EmkUpdateIndexes indexes;

	if (!ItemPointerIsValid(tid) || ItemPointerGetBlockNumber(tid) >= w->nblocks ||
		!table_tuple_fetch_row_version(w->rel, tid, snapshot, w->old))
		return false;
	slot_getallattrs(w->old);
	ExecClearTuple(w->new);
	memcpy(w->new->tts_values, w->old->tts_values, sizeof(Datum) * natts);
	memcpy(w->new->tts_isnull, w->old->tts_isnull, sizeof(bool) * natts);
	if (!edit(rows, i, w->new->tts_values, w->new->tts_isnull))
		return false;
	ExecStoreVirtualTuple(w->new);
	ExecConstraints(w->target, w->new, w->estate);
	if (table_tuple_update(w->rel, tid, w->new, w->estate->es_output_cid, snapshot, InvalidSnapshot, true, &failure, &mode,
						   &indexes) != TM_Ok)
		return false;
	list_free(emk_update_index_tuples(w->target, w->new, w->estate, indexes));
	*tid = w->new->tts_tid;
	return true;
}

int
emk_event_rewrite(EmkSink *sink, ItemPointer *tids, int n, EmkEdit edit, void *rows, bool *done)
{
	Rewriting	w;
	MemoryContext before;
	int			changed = 0;

	memset(done, 0, sizeof(bool) * n);
	if (n == 0)
		return 0;
	w.rel = emk_event_open_sink(sink);
	if (!emk_event_is_plain(w.rel, sink) || w.rel->rd_rel->relkind != RELKIND_RELATION)
	{
		table_close(w.rel, NoLock);
		return 0;
	}
	w.nblocks = RelationGetNumberOfBlocks(w.rel);
	w.estate = CreateExecutorState();
	w.estate->es_output_cid = GetCurrentCommandId(true);
	PushActiveSnapshot(GetLatestSnapshot());
	before = MemoryContextSwitchTo(w.estate->es_query_cxt);
	w.target = makeNode(ResultRelInfo);
	InitResultRelInfo(w.target, w.rel, 0, NULL, 0);
	ExecOpenIndices(w.target, false);
	w.old = table_slot_create(w.rel, &w.estate->es_tupleTable);
	w.new = ExecInitExtraTupleSlot(w.estate, RelationGetDescr(w.rel), &TTSOpsVirtual);
	for (int i = 0; i < n; i++)
	{
		MemoryContextSwitchTo(GetPerTupleMemoryContext(w.estate));
		done[i] = rewrite_one(&w, tids[i], edit, rows, i);
		changed += done[i];
		ExecClearTuple(w.old);
		ExecClearTuple(w.new);
		ResetPerTupleExprContext(w.estate);
	}
	MemoryContextSwitchTo(before);
	PopActiveSnapshot();
	ExecCloseIndices(w.target);
	ExecResetTupleTable(w.estate->es_tupleTable, false);
	FreeExecutorState(w.estate);
	table_close(w.rel, NoLock);
	if (changed > 0)
		CommandCounterIncrement();
	return changed;
}
