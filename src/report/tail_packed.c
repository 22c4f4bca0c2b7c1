/*
 * tail_packed.c: which profiles of the open tail have no packed row, read from the index of packed rows without a statement: the whole
 * index beside many profiles, leaf by leaf, or a search for each of few.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "base/compat.h"
#include "catalog/pg_collation.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "report/tail.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define PLACES_A_BREATH	4096
#define LEAVES_A_SEARCH	2		/* of an index are walked in the time of one search */

typedef struct Place
{
	uint64		prefix;			/* of the id, so that most are told apart without looking at it */
	const char *id;
	uint32		len;
	uint32		profile;
} Place;

static inline uint64
prefix_of(const char *id, uint32 len)
{
	uint64		w = 0;

	memcpy(&w, id, Min(len, sizeof(w)));
	return pg_ntoh64(w);
}

static inline int
compare_places(const Place *a, const Place *b)
{
	int			c;

	if (a->prefix != b->prefix)
		return a->prefix < b->prefix ? -1 : 1;
	if (Max(a->len, b->len) <= sizeof(a->prefix))	/* there is no more of them */
		return (a->len > b->len) - (a->len < b->len);
	c = memcmp(a->id, b->id, Min(a->len, b->len));
	return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

#define ST_SORT sort_places
#define ST_ELEMENT_TYPE Place
#define ST_COMPARE(a, b) compare_places(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

typedef struct Packed
{
	Relation	rel;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	Buffer		map;
	const Place *places;		/* in the order of ids */
	uint32		nplaces;
	bool	   *seen;			/* which of them have a row */
} Packed;

/* Does the snapshot see the row of an index entry? Of pages that all see, the entry is proof enough while its page is pinned. */
static bool
is_on_seen_page(Packed *p, ItemPointer tid)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);

	if (!VM_ALL_VISIBLE(p->rel, block, &p->map))
		return false;
	PredicateLockPage(p->rel, block, GetActiveSnapshot());
	return true;
}

static bool
is_seen(Packed *p, ItemPointer tid)
{
	if (is_on_seen_page(p, tid))
		return true;
	if (!index_fetch_heap(p->scan, p->slot))
		return false;
	ExecClearTuple(p->slot);
	return true;
}

/* A search for each of few profiles; they are sorted, so each finds its pages at hand. */
static void
search_each(Packed *p)
{
	uint32		longest = 0;
	text	   *id;

	for (uint32 i = 0; i < p->nplaces; i++)
		longest = Max(longest, p->places[i].len);
	id = palloc(VARHDRSZ + longest);
	for (uint32 i = 0; i < p->nplaces; i++)
	{
		ScanKeyData key;
		ItemPointer tid;

		if (i % PLACES_A_BREATH == 0)
			CHECK_FOR_INTERRUPTS();
		SET_VARSIZE(id, VARHDRSZ + p->places[i].len);
		memcpy(VARDATA(id), p->places[i].id, p->places[i].len);
		ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid, p->index->rd_indcollation[0], F_TEXTEQ,
							   PointerGetDatum(id));
		index_rescan(p->scan, &key, 1, NULL, 0);
		while (!p->seen[i] && (tid = index_getnext_tid(p->scan, ForwardScanDirection)) != NULL)
			p->seen[i] = is_seen(p, tid);
	}
}

/* ---- the whole index beside many profiles, leaf by leaf ---- */

typedef struct Found
{
	uint32		place;
	ItemPointerData tid;
} Found;

/* Is the entry at `offset` before (<0) the place, equal, or behind it? */
static int
compare_entry(Packed *p, Page page, OffsetNumber offset, const Place *place)
{
	IndexTuple	tuple = (IndexTuple) PageGetItem(page, PageGetItemId(page, offset));
	bool		isnull;
	Datum		d = index_getattr(tuple, 1, RelationGetDescr(p->index), &isnull);
	text	   *id = DatumGetTextPP(d); /* a long one is compressed in the index */
	Place		entry = {.id = VARDATA_ANY(id), .len = VARSIZE_ANY_EXHDR(id)};
	int			c;

	entry.prefix = prefix_of(entry.id, entry.len);
	c = compare_places(&entry, place);
	if ((Pointer) id != DatumGetPointer(d))
		pfree(id);
	return c;
}

/* The first entry from `low` on that is not before the place; `high` + 1 when there is none. Mostly it is near. */
static OffsetNumber
find_entry(Packed *p, Page page, OffsetNumber low, OffsetNumber high, const Place *place)
{
	OffsetNumber step = 8;
	OffsetNumber end = high + 1;

	while (low + step <= high)
	{
		if (compare_entry(p, page, low + step, place) >= 0)
		{
			end = low + step;
			break;
		}
		low += step + 1;
		step *= 2;
	}
	while (low < end)
	{
		OffsetNumber mid = low + (end - low) / 2;

		if (compare_entry(p, page, mid, place) < 0)
			low = mid + 1;
		else
			end = mid;
	}
	return low;
}

/* Which rows of a leaf are of places; *next: the first place that a later leaf may have an entry of. */
static uint32
match_leaf(Packed *p, Page page, Found *found, uint32 *next)
{
	BTPageOpaque opaque = BTPageGetOpaque(page);
	OffsetNumber high = PageGetMaxOffsetNumber(page);
	OffsetNumber at = P_FIRSTDATAKEY(opaque);
	uint32		n = 0;

#ifdef __GNUC__
	/* many of its entries are looked at, and each would be waited for */
	for (int line = 0; line < BLCKSZ; line += 64)
		__builtin_prefetch((const char *) page + line);
#endif
	for (; *next < p->nplaces; (*next)++)
	{
		at = find_entry(p, page, at, high, &p->places[*next]);
		/* of one id there may be several entries, some of rows that are gone, and they may go on in the next leaf */
		for (; at <= high && compare_entry(p, page, at, &p->places[*next]) == 0; at++)
		{
			IndexTuple	tuple = (IndexTuple) PageGetItem(page, PageGetItemId(page, at));
			int			rows = BTreeTupleIsPosting(tuple) ? BTreeTupleGetNPosting(tuple) : 1;

			for (int i = 0; i < rows; i++)
				found[n++] = (Found) {.place = *next,
					.tid = BTreeTupleIsPosting(tuple) ? *BTreeTupleGetPostingN(tuple, i) : tuple->t_tid};
		}
		if (at > high)
			break;
	}
	return n;
}

/*
 * Of most entries nothing is looked at: the places of a leaf are searched in it. It is read under its lock, and stays pinned until it is
 * known which of the rows found all see, as in any scan of an index alone; the others are looked at then. The way to the right is taken as
 * it was while the lock was held: what a split moves there later was met here.
 */
static void
walk_leaves(Packed *p)
{
	Found	   *found = palloc(MaxTIDsPerBTreePage * sizeof(Found));
	IndexFetchTableData *rows = table_index_fetch_begin(p->rel);
	Buffer		leaf = emk_bt_first_leaf(p->index, GetActiveSnapshot());
	uint32		next = 0;

	PredicateLockRelation(p->index, GetActiveSnapshot());
	while (BufferIsValid(leaf))
	{
		Page		page = BufferGetPage(leaf);
		BTPageOpaque opaque = BTPageGetOpaque(page);
		BlockNumber right = P_RIGHTMOST(opaque) ? InvalidBlockNumber : opaque->btpo_next;
		uint32		n;

		emk_test_old_snapshot(GetActiveSnapshot(), p->index, page);
		n = P_IGNORE(opaque) ? 0 : match_leaf(p, page, found, &next);
		LockBuffer(leaf, BUFFER_LOCK_UNLOCK);
		for (uint32 i = 0; i < n; i++)
		{
			bool	   *seen = &p->seen[found[i].place];

			if (*seen)
				continue;
			*seen = is_on_seen_page(p, &found[i].tid);
			if (!*seen)
			{
				bool		more = false;

				*seen = table_index_fetch_tuple(rows, &found[i].tid, GetActiveSnapshot(), p->slot, &more, NULL);
			}
		}
		ReleaseBuffer(leaf);
		CHECK_FOR_INTERRUPTS();
		leaf = right == InvalidBlockNumber || next >= p->nplaces ? InvalidBuffer : _bt_getbuf(p->index, right, BT_READ);
	}
	ExecClearTuple(p->slot);
	table_index_fetch_end(rows);
	pfree(found);
}

static Relation
open_key(Relation rel)
{
	list_free(RelationGetIndexList(rel));
	if (!OidIsValid(rel->rd_pkindex))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table eventmkt_data.%s has no primary key", RelationGetRelationName(rel)),
				 errhint("Add it again: profile_id is the key.")));
	return index_open(rel->rd_pkindex, AccessShareLock);
}

uint32 *
emk_tail_unpacked(const EmkTailMap *m, uint32 *n)
{
	const EmkTailPerson *persons = emk_tail_persons(m);
	Place	   *places = palloc_extended(Max(m->npersons, 1) * sizeof(Place), MCXT_ALLOC_HUGE);
	uint32	   *missing = palloc_extended(Max(m->npersons, 1) * sizeof(uint32), MCXT_ALLOC_HUGE);
	Packed		p = {.rel = emk_tail_open("profile_timeline"), .map = InvalidBuffer, .places = places};

	for (uint32 i = 0; i < m->npersons; i++)
		if (persons[i].n > 0 && persons[i].flags == 0)
		{
			const char *id = emk_tail_id(m, &persons[i]);

			places[p.nplaces++] = (Place) {.prefix = prefix_of(id, persons[i].len), .id = id, .len = persons[i].len, .profile = i};
		}
	sort_places(places, p.nplaces);
	p.seen = palloc0(Max(p.nplaces, 1));
	p.index = open_key(p.rel);
	p.slot = table_slot_create(p.rel, NULL);
	if (p.nplaces > RelationGetNumberOfBlocks(p.index) / LEAVES_A_SEARCH && p.index->rd_indcollation[0] == C_COLLATION_OID)
		walk_leaves(&p);
	else
	{
		p.scan = emk_index_beginscan(p.rel, p.index, GetActiveSnapshot(), 1);
		p.scan->xs_want_itup = true;	/* keeps the leaf pinned, which is_on_seen_page() asks for */
		search_each(&p);
		index_endscan(p.scan);
	}
	if (BufferIsValid(p.map))
		ReleaseBuffer(p.map);
	ExecDropSingleTupleTableSlot(p.slot);
	index_close(p.index, NoLock);
	table_close(p.rel, NoLock);
	*n = 0;
	for (uint32 i = 0; i < p.nplaces; i++)
		if (!p.seen[i])
			missing[(*n)++] = places[i].profile;
	pfree(places);
	pfree(p.seen);
	return missing;
}
