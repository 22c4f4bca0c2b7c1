/*
 * tail_scan.c: reads tables for the open tail without a statement. A question over kept timelines waits for this, and the executor would
 * take several times as long, most of it to plan.
 *
 * The partitions of the event table that may hold the tail are read page by page, in pieces that the processes of a question take one
 * after another (tail_help.c). The rows of the tail are few of their partition, so a row is looked at as far as its time and usually
 * left: only of the others it is asked whether the snapshot sees them, and only where the page does not tell that all do. Properties are
 * opened only where there are some and one of them is wanted.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "pgstat.h"
#include "report/tail.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAX_PIECE		32			/* pages */
#define MIN_PIECES		64			/* of fewer pages a piece is one, so that all have something to do until the end */
#define ROWS_AHEAD		4			/* are sent for: a row is met once, and waits for memory */
#define LINES_AHEAD		2			/* cache lines of each, as far as its time */
#define BIG_TABLE		4			/* more than this part of the shared buffers is not kept in them */

typedef struct Reading
{
	EmkTail    *tail;
	TimestampTz from;
	const text *key;
	const text *value;
	Snapshot	snapshot;
	Relation	rel;			/* that is open, or NULL */
	BufferAccessStrategy strategy;
	MemoryContext work;			/* of one row's properties */
} Reading;

/* The columns of the event table that are read are its first: see event.tables.sql. All of them are NOT NULL. */
static const struct
{
	const char *name;
	Oid			type;
}			columns[] = {{"event_id", INT8OID}, {"profile_id", TEXTOID}, {"name", TEXTOID}, {"properties", JSONBOID},
{"occurred_at", TIMESTAMPTZOID}};

typedef struct Row
{
	const char *profile_id;		/* varlenas, as they lie in the row */
	const char *name;
	const char *properties;
	TimestampTz at;
} Row;

/* The table of this name as init() makes it */
Relation
emk_tail_open(const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid("eventmkt_data", false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table eventmkt_data.%s does not exist", name),
				 errhint("Run eventmkt.init().")));
	return table_open(relid, AccessShareLock);
}

static bool
is_plain(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_tableam != GetHeapamTableAmRoutine() ||
		desc->natts < lengthof(columns))
		return false;
	for (int i = 0; i < lengthof(columns); i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		/* atthasmissing: added with a constant default, which rows of before do not hold */
		if (att->attisdropped || att->atthasmissing || !att->attnotnull || att->atttypid != columns[i].type ||
			strcmp(NameStr(att->attname), columns[i].name) != 0)
			return false;
	}
	return true;
}

/* Does a row hold all of them? One of before a column was NOT NULL need not; only an old snapshot sees it, if any does. */
static inline bool
is_whole(HeapTupleHeader row)
{
	const bits8 all = (1 << lengthof(columns)) - 1;

	return HeapTupleHeaderGetNatts(row) >= lengthof(columns) &&
		((row->t_infomask & HEAP_HASNULL) == 0 || (row->t_bits[0] & all) == all);
}

static inline const char *
next_varlena(const char **p, const HeapTupleHeader row)
{
	const char *v = *p;

	/* a length of four bytes is aligned, with zeroes before it; one of one byte is not zero and lies anywhere */
	if (*v == 0)
		v = (const char *) row + TYPEALIGN(sizeof(int32), v - (const char *) row);
	*p = v + VARSIZE_ANY(v);
	return v;
}

/* What the server's way of taking rows apart would find, for columns that are known. */
static inline void
read_row(HeapTupleHeader row, Row *r)
{
	const char *p = (const char *) row + row->t_hoff + sizeof(int64);

	r->profile_id = next_varlena(&p, row);
	r->name = next_varlena(&p, row);
	r->properties = next_varlena(&p, row);
	p = (const char *) row + MAXALIGN(p - (const char *) row);
	memcpy(&r->at, p, sizeof(r->at));
}

static void
add_row(Reading *s, const Row *r)
{
	text	   *id = DatumGetTextPP(PointerGetDatum(r->profile_id));
	text	   *name = DatumGetTextPP(PointerGetDatum(r->name));
	const char *key = NULL;
	int			keylen = 0;
	int64		value;
	bool		has_value = false;
	MemoryContext before = NULL;

	/* {} is a count of nothing, and most events have no more */
	if ((s->key || s->value) && (VARATT_IS_EXTERNAL(r->properties) || VARSIZE_ANY_EXHDR(r->properties) > sizeof(uint32)))
	{
		struct varlena *properties;

		before = MemoryContextSwitchTo(s->work);
		properties = PG_DETOAST_DATUM(PointerGetDatum(r->properties));
		if (s->key && !emk_report_property_key(properties, VARDATA_ANY(s->key), VARSIZE_ANY_EXHDR(s->key), &key, &keylen))
			key = NULL;
		if (s->value)
			has_value = emk_report_property_value(properties, VARDATA_ANY(s->value), VARSIZE_ANY_EXHDR(s->value), &value);
		MemoryContextSwitchTo(before);
	}
	emk_tail_add(s->tail, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id), VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), r->at,
				 has_value ? &value : NULL, key, keylen);
	if (before)
		MemoryContextReset(s->work);
}

/* The page's rows of the tail that the snapshot sees; they stay where they are while the page is pinned. */
static int
look_at_page(const Reading *s, Buffer buffer, BlockNumber block, Row *rows)
{
	Page		page = BufferGetPage(buffer);
	bool		all_seen;
	OffsetNumber last;
	int			n = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	emk_test_old_snapshot(s->snapshot, s->rel, page);
	last = PageGetMaxOffsetNumber(page);
	all_seen = PageIsAllVisible(page) && !s->snapshot->takenDuringRecovery;
	for (OffsetNumber i = FirstOffsetNumber; i <= last; i++)
	{
		ItemId		item = PageGetItemId(page, i);
		HeapTupleData tuple;
		bool		seen = all_seen;
		bool		whole;

#ifdef __GNUC__
		if (i + ROWS_AHEAD <= last)
			for (int line = 0; line < LINES_AHEAD; line++)
				__builtin_prefetch((char *) page + ItemIdGetOffset(PageGetItemId(page, i + ROWS_AHEAD)) + line * 64);
#endif
		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		whole = is_whole(tuple.t_data);
		if (whole)
		{
			read_row(tuple.t_data, &rows[n]);
			if (rows[n].at < s->from || TIMESTAMP_NOT_FINITE(rows[n].at))
				continue;
		}
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = RelationGetRelid(s->rel);
		ItemPointerSet(&tuple.t_self, block, i);
		if (!seen)
			seen = HeapTupleSatisfiesVisibility(&tuple, s->snapshot, buffer);
		HeapCheckForSerializableConflictOut(seen, s->rel, &tuple, buffer, s->snapshot);
		if (seen && !whole)
			emk_tail_give_up(s->tail);
		n += seen && whole;
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return n;
}

static void
read_pages(Reading *s, BlockNumber first, BlockNumber end)
{
	Row			rows[MaxHeapTuplesPerPage + 1];

	for (BlockNumber block = first; block < end && !s->tail->too_big; block++)
	{
		Buffer		buffer;
		int			n;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(s->rel, MAIN_FORKNUM, block, RBM_NORMAL, s->strategy);
		n = look_at_page(s, buffer, block, rows);
		for (int i = 0; i < n; i++)
			if (VARATT_IS_SHORT(rows[i].profile_id))
				emk_tail_expect(s->tail, VARDATA_SHORT(rows[i].profile_id), VARSIZE_SHORT(rows[i].profile_id) - VARHDRSZ_SHORT);
		for (int i = 0; i < n; i++)
			add_row(s, &rows[i]);
		ReleaseBuffer(buffer);
	}
}

static void
end_table(Reading *s)
{
	if (s->rel)
		table_close(s->rel, NoLock);
	if (s->strategy)
		FreeAccessStrategy(s->strategy);
	s->rel = NULL;
	s->strategy = NULL;
}

static void
begin_table(Reading *s, const EmkTailTable *table)
{
	if (s->rel && RelationGetRelid(s->rel) == table->relid)
		return;
	end_table(s);
	s->rel = table_open(table->relid, AccessShareLock);
	if (table->nblocks > (BlockNumber) NBuffers / BIG_TABLE)
		s->strategy = GetAccessStrategy(BAS_BULKREAD);
	pgstat_count_heap_scan(s->rel);
}

void
emk_tail_read(EmkTail *t, EmkTailPages *pages, const text *key, const text *value)
{
	Reading		s = {.tail = t, .from = pages->from, .key = key, .value = value, .snapshot = GetActiveSnapshot()};

	s.work = AllocSetContextCreate(CurrentMemoryContext, "eventmkt tail properties", ALLOCSET_SMALL_SIZES);
	while (!t->too_big)
	{
		uint32		piece = pg_atomic_fetch_add_u32(&pages->next, 1);
		const EmkTailTable *table = pages->tables;
		BlockNumber first;

		if (piece >= pages->npieces)
			break;
		while (piece >= (table + 1)->first_piece)
			table++;
		first = (piece - table->first_piece) * pages->piece;
		begin_table(&s, table);
		read_pages(&s, first, Min(first + pages->piece, table->nblocks));
	}
	if (t->too_big)				/* the others need not go on */
		pg_atomic_write_u32(&pages->next, pages->npieces);
	end_table(&s);
	MemoryContextDelete(s.work);
}

/* ---- which pages ---- */

/* Does a partition end before `from`? Upper bounds are exclusive. Whatever is not plainly so is read. */
static bool
is_past(Relation rel, PartitionDesc desc, int partition, TimestampTz from)
{
	PartitionKey key = RelationGetPartitionKey(rel);
	PartitionBoundInfo bounds = desc->boundinfo;

	if (key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1 || key->parttypid[0] != TIMESTAMPTZOID ||
		key->partattrs[0] != get_attnum(RelationGetRelid(rel), "occurred_at"))
		return false;
	for (int i = 0; i < bounds->ndatums; i++)
		if (bounds->indexes[i] == partition)
			return bounds->kind[i][0] == PARTITION_RANGE_DATUM_VALUE &&
				DatumGetTimestampTz(bounds->datums[i][0]) <= from;
	return false;
}

/* Adds a table with the pages it has now: what comes later is of others, and the snapshot does not see it. */
static bool
add_table(EmkTailPages *p, Relation rel)
{
	EmkTailTable *table = &p->tables[p->ntables];

	if (!is_plain(rel))
		return false;
	PredicateLockRelation(rel, GetActiveSnapshot());
	p->ntables++;
	table->relid = RelationGetRelid(rel);
	table->nblocks = RelationGetNumberOfBlocks(rel);
	p->nblocks += table->nblocks;
	return true;
}

static void
cut_pieces(EmkTailPages *p)
{
	p->piece = (uint32) Max(Min(p->nblocks / MIN_PIECES, MAX_PIECE), 1);
	for (uint32 i = 0; i < p->ntables; i++)
	{
		p->tables[i].first_piece = p->npieces;
		p->npieces += (p->tables[i].nblocks + p->piece - 1) / p->piece;
	}
	p->tables[p->ntables].first_piece = PG_UINT32_MAX;
}

Size
emk_tail_pages_size(uint32 ntables)
{
	return offsetof(EmkTailPages, tables) + (ntables + 1) * sizeof(EmkTailTable);
}

EmkTailPages *
emk_tail_pages(TimestampTz from)
{
	Relation	rel = emk_tail_open("event");
	PartitionDesc desc = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? RelationGetPartitionDesc(rel, true) : NULL;
	EmkTailPages *p = palloc0(emk_tail_pages_size(desc ? desc->nparts : 1));
	bool		plain = true;

	p->from = from;
	pg_atomic_init_u32(&p->next, 0);
	for (int i = 0; desc && i < desc->nparts && plain; i++)
		if (!is_past(rel, desc, i, from))
		{
			Relation	part = table_open(desc->oids[i], AccessShareLock);

			plain = add_table(p, part);
			table_close(part, NoLock);
		}
	if (!desc)
		plain = add_table(p, rel);
	table_close(rel, NoLock);
	cut_pieces(p);
	return plain ? p : NULL;
}

/* ---- small tables ---- */

bool
emk_tail_first_row(const char *name, int ncolumns, const char *const *names, Datum *values, bool *isnull)
{
	Relation	rel = emk_tail_open(name);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		found = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	for (int i = 0; found && i < ncolumns; i++)
	{
		AttrNumber	att = get_attnum(RelationGetRelid(rel), names[i]);
		Form_pg_attribute form;

		if (att == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column %s of table eventmkt_data.%s does not exist", names[i], name),
					 errhint("Run eventmkt.init().")));
		form = TupleDescAttr(RelationGetDescr(rel), att - 1);
		values[i] = slot_getattr(slot, att, &isnull[i]);
		if (!isnull[i])
			values[i] = form->attlen == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(values[i])) :
				datumCopy(values[i], form->attbyval, form->attlen);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	table_close(rel, NoLock);
	return found;
}
