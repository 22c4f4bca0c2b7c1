/*
 * scrub_page.c: clears the free space of one page, and says what of the dead it still holds.
 *
 * PostgreSQL leaves the bytes of a removed row where they were, between the line pointers and the rows that stay (the hole), until
 * something else is written there. The hole means nothing to anybody, so it may be cleared under the lock of the page alone, while others
 * hold pins.
 *
 * Rules
 * 1. Only heaps and B-trees: elsewhere (BRIN's map) data lies where the hole of others is. Never the first page of a B-tree.
 * 2. It goes through generic WAL records, whose replay clears the hole too, so standbys follow. A page with a clean hole is not written.
 * 3. The ids in an index are compared from a copy of the page: nobody waits meanwhile.
 * 4. A page of a B-tree that is split may give what it has to a block that was looked at before, so from a page that was written since the
 *    look began one goes on to the right as long as that leads to lower blocks.
 * 5. Up to seven bytes between two rows, which pad the first, can be older than it. They stay.
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/transam.h"
#include "admin/scrub.h"
#include "base/base.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "profile/profile.h"
#include "utils/builtins.h"

static bool
has_hole(Page page)
{
	PageHeader	p = (PageHeader) page;

	return !PageIsNew(page) && p->pd_lower >= SizeOfPageHeaderData && p->pd_lower < p->pd_upper && p->pd_upper <= p->pd_special &&
		p->pd_special <= BLCKSZ;
}

/* Bytes of the hole, 0 when it is clean */
static int
dirty_bytes(Page page)
{
	PageHeader	p = (PageHeader) page;

	if (!has_hole(page))
		return 0;
	for (const char *c = page + p->pd_lower; c < page + p->pd_upper; c++)
		if (*c != 0)
			return p->pd_upper - p->pd_lower;
	return 0;
}

/* The buffer is pinned and not locked. */
static void
clear_hole(Relation rel, Buffer buffer, EmkScrubbed *out)
{
	Page		page = BufferGetPage(buffer);
	int			bytes;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	bytes = dirty_bytes(page);
	if (bytes > 0 && RelationNeedsWAL(rel))
	{
		GenericXLogState *state = GenericXLogStart(rel);

		GenericXLogRegisterBuffer(state, buffer, 0);
		GenericXLogFinish(state);
	}
	else if (bytes > 0)
	{
		PageHeader	p = (PageHeader) page;

		memset(page + p->pd_lower, 0, p->pd_upper - p->pd_lower);
		MarkBufferDirty(buffer);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (bytes > 0)
	{
		out->pages++;
		out->bytes += bytes;
	}
}

void
emk_admin_scrub_heap(Relation rel, BlockNumber block, BufferAccessStrategy strategy, TransactionId horizon, EmkScrubbed *out)
{
	Buffer		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	Page		page = BufferGetPage(buffer);
	bool		dirty;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	for (OffsetNumber i = FirstOffsetNumber; !PageIsNew(page) && i <= PageGetMaxOffsetNumber(page); i = OffsetNumberNext(i))
	{
		ItemId		item = PageGetItemId(page, i);
		HeapTupleData tuple;
		TransactionId dead_after = InvalidTransactionId;
		HTSV_Result state;

		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = RelationGetRelid(rel);
		ItemPointerSet(&tuple.t_self, block, i);
		state = HeapTupleSatisfiesVacuumHorizon(&tuple, buffer, &dead_after);
		if (state == HEAPTUPLE_DEAD)	/* who wrote it rolled back */
			dead_after = HeapTupleHeaderGetRawXmin(tuple.t_data);
		if (state != HEAPTUPLE_DEAD && state != HEAPTUPLE_RECENTLY_DEAD)
			out->live++;
		else if (TransactionIdIsValid(horizon) && TransactionIdPrecedes(dead_after, horizon))
			out->dead++;
	}
	dirty = dirty_bytes(page) > 0;
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (dirty)
		clear_hole(rel, buffer, out);
	ReleaseBuffer(buffer);
}

/* Columns that hold the id of a person, by name */
static bool
is_id(Form_pg_attribute a)
{
	static const char *const names[] = {"profile_id", "user_id", "alias", "from_id", "into_id"};

	for (int i = 0; i < lengthof(names); i++)
		if (a->atttypid == TEXTOID && strcmp(NameStr(a->attname), names[i]) == 0)
			return true;
	return false;
}

/* Whether one of the ids in an entry is that of an erased person; *last: the id before, which was none, or NULL */
static bool
names_erased(Relation index, IndexTuple tuple, char **last)
{
	TupleDesc	desc = RelationGetDescr(index);
	int			natts = BTreeTupleGetNAtts(tuple, index);

	for (int i = 0; i < Min(natts, desc->natts); i++)
	{
		bool		isnull;
		Datum		d;
		char	   *id;

		if (!is_id(TupleDescAttr(desc, i)))
			continue;
		d = index_getattr(tuple, i + 1, desc, &isnull);
		if (isnull)
			continue;
		id = TextDatumGetCString(d);
		if (*last != NULL && strcmp(*last, id) == 0)
			continue;
		if (emk_profile_is_erased(id))
			return true;
		*last = id;
	}
	return false;
}

/* A page; returns the one to its right when it got that one since the look began, P_NONE when not. */
static BlockNumber
scrub_index_page(Relation rel, BlockNumber block, BufferAccessStrategy strategy, XLogRecPtr since, EmkScrubbed *out)
{
	Buffer		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	PGAlignedBlock copy;
	Page		page = copy.data;
	BTPageOpaque opaque;
	BlockNumber split_to;
	char	   *last = NULL;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(page, BufferGetPage(buffer), BLCKSZ);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (dirty_bytes(page) > 0)
		clear_hole(rel, buffer, out);
	ReleaseBuffer(buffer);
	if (PageIsNew(page))
		return P_NONE;
	opaque = BTPageGetOpaque(page);
	/* a split writes both pages, so one that was not written since has the neighbour it had */
	split_to = RelationNeedsWAL(rel) && PageGetLSN(page) < since ? P_NONE : opaque->btpo_next;
	if (P_IGNORE(opaque))
		return split_to;
	for (OffsetNumber i = P_HIKEY; i <= PageGetMaxOffsetNumber(page); i = OffsetNumberNext(i))
	{
		if (!names_erased(rel, (IndexTuple) PageGetItem(page, PageGetItemId(page, i)), &last))
			continue;
		if (P_ISLEAF(opaque) && i >= P_FIRSTDATAKEY(opaque))
			out->entries++;
		else
			out->bounds++;
	}
	return split_to;
}

void
emk_admin_scrub_index(Relation rel, BlockNumber block, BufferAccessStrategy strategy, XLogRecPtr since, EmkScrubbed *out)
{
	BlockNumber next = block;

	if (block == BTREE_METAPAGE)
		return;
	/* `met` ends a circle in a damaged index */
	for (BlockNumber met = 0; met <= block; met++)
	{
		CHECK_FOR_INTERRUPTS();
		next = scrub_index_page(rel, next, strategy, since, out);
		if (next == P_NONE || next >= block)
			return;
	}
}
