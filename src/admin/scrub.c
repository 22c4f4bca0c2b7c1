/*
 * scrub.c: eventmkt.scrub_erased(): what an erased person leaves in the files goes: bytes in the free space of pages, ids that part the
 * pages of an index, values in the planner's statistics.
 *
 * Words
 *   scrub     a row of eventmkt_data.scrub: a table that may hold such bytes; it goes when the table holds none any more
 *   horizon   the next transaction id when the erasure had ended: all rows of the erased were done with by older ones
 *   begun_at  when no snapshot was left that is older than the horizon: what VACUUM or ANALYZE do from then on is done with them
 *   todo      what only an operator or autovacuum can do, as statements: VACUUM, REINDEX, ANALYZE; afterwards it is looked at again
 *
 * Rules
 * 1. A table is clean when one look over all its pages, begun after begun_at, met no row that died before the horizon (VACUUM removes
 *    them) and no id of an erased person in a B-tree, and cleared each hole it met. Nothing brings such bytes back: only rows that
 *    live are moved, and an erased id is refused.
 * 2. Statistics hold values of any column: they are clean when the table was analysed after begun_at, or has none. ANALYZE keeps the old
 *    ones of a table without rows, so they are dropped here. pg_statistic itself comes last, with a horizon of its own.
 * 3. Two may look at the same table: both clear, and a result is only written for the horizon it was looked at with. Rows of the list
 *    are locked for a moment, so the end of an erasure, which writes them, waits for nobody.
 * 4. The worker looks for STEP at a time, so messages leave in between; where it is lies in memory, a new worker begins the table again.
 * 5. A table that cannot be read is set aside with a todo, so that the others get their turn; the end of erasures never waits for it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "admin/admin_int.h"
#include "admin/scrub.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define STEP			(USECS_PER_SEC / 100)
#define STEP_PAGES		64		/* cleared in a step: each may cost a page of WAL */
#define MAX_RELS		64		/* of one table: itself, its TOAST table, its indexes */
#define MAX_BOUNDS		16		/* indexes that are named in a todo */

#define STATISTICS		"pg_catalog.pg_statistic"
#define LATEST(a, b)	"GREATEST(pg_catalog." a "(c.oid), pg_catalog." b "(c.oid))"
#define ANALYZED		LATEST("pg_stat_get_last_analyze_time", "pg_stat_get_last_autoanalyze_time")
#define VACUUMED		LATEST("pg_stat_get_last_vacuum_time", "pg_stat_get_last_autovacuum_time")

static EmkPlan want_plan = {
	"INSERT INTO eventmkt_data.scrub (relation, horizon) SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), $1 "
	"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
	"WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m}'::pg_catalog.\"char\"[]) AND (n.nspname OPERATOR(pg_catalog.=) ANY "
	"('{eventmkt_data,eventmkt_bi}') AND c.relowner OPERATOR(pg_catalog.=) n.nspowner OR c.oid OPERATOR(pg_catalog.=) "
	"'" STATISTICS "'::pg_catalog.regclass) ON CONFLICT (relation) DO UPDATE SET horizon = EXCLUDED.horizon, begun_at = NULL, "
	"checked_at = NULL, dead_rows = 0, index_ids = 0, todo = NULL", 1, {INT8OID}
};
/* all of them, or ($1) those at which something may have changed since; pg_statistic after all others */
static EmkPlan list_plan = {
	"SELECT s.relation, c.oid, s.horizon, s.begun_at, " ANALYZED " FROM eventmkt_data.scrub s LEFT JOIN pg_catalog.pg_class c "
	"ON c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(s.relation)::pg_catalog.oid WHERE (NOT $1 OR s.checked_at IS NULL "
	"OR s.checked_at OPERATOR(pg_catalog.<) ($2 OPERATOR(pg_catalog.-) CASE WHEN s.todo IS NULL THEN '10 seconds'::pg_catalog.interval "
	"ELSE '6 hours' END) "
	"OR s.checked_at OPERATOR(pg_catalog.<) GREATEST(" ANALYZED ", " VACUUMED ")) AND (s.relation OPERATOR(pg_catalog.<>) '" STATISTICS "' "
	"OR NOT EXISTS (SELECT FROM eventmkt_data.scrub o WHERE o.relation OPERATOR(pg_catalog.<>) s.relation)) "
	"ORDER BY s.checked_at NULLS FIRST, s.relation COLLATE \"C\"", 2, {BOOLOID, TIMESTAMPTZOID}
};
static EmkPlan clean_plan = {
	"DELETE FROM eventmkt_data.scrub s WHERE s.relation OPERATOR(pg_catalog.=) $1 AND s.horizon OPERATOR(pg_catalog.=) $2",
	2, {TEXTOID, INT8OID}
};
static EmkPlan result_plan = {
	"UPDATE eventmkt_data.scrub s SET begun_at = $3, checked_at = $4, dead_rows = $5, index_ids = $6, "
	"cleared = s.cleared OPERATOR(pg_catalog.+) $7, todo = $8 "
	"WHERE s.relation OPERATOR(pg_catalog.=) $1 AND s.horizon OPERATOR(pg_catalog.=) $2",
	8, {TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, TEXTARRAYOID}
};
static EmkPlan again_plan = {
	"UPDATE eventmkt_data.scrub s SET horizon = $2, begun_at = $3 WHERE s.relation OPERATOR(pg_catalog.=) $1",
	3, {TEXTOID, INT8OID, TIMESTAMPTZOID}
};
static EmkPlan left_plan = {
	"SELECT pg_catalog.count(*) FROM eventmkt_data.scrub", 0, {0}
};
static EmkPlan statistics_plan = {
	"SELECT FROM pg_catalog.pg_stats s JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) $1 "
	"JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
	"WHERE s.schemaname OPERATOR(pg_catalog.=) n.nspname AND s.tablename OPERATOR(pg_catalog.=) c.relname LIMIT 1", 1, {OIDOID}
};

/* A table that is being looked at */
typedef struct Scrub
{
	char		relation[2 * NAMEDATALEN * 2];
	Oid			relid;			/* invalid: it was dropped */
	int64		horizon;
	TimestampTz begun_at;
	TimestampTz analyzed_at;	/* 0: never, or nobody knows */
	int			nrels;
	Oid			rels[MAX_RELS];
	int			part;			/* of rels */
	Oid			filenode;		/* of that part when it was begun: another one is begun anew */
	BlockNumber block;
	XLogRecPtr	since;			/* where the WAL ended when that part was begun */
	bool		missed;			/* somebody had a part locked */
	EmkScrubbed met;
	int64		live;			/* rows of the table itself */
	int			nbounds;
	Oid			bounds[MAX_BOUNDS];
} Scrub;

static Scrub current;			/* the worker's */
static bool trying = false;		/* its step has not ended: seen by the next one, an error ended it */
static MemoryContext scratch = NULL;

void
emk_admin_want_scrub(void)
{
	Datum		arg = Int64GetDatum((int64) U64FromFullTransactionId(ReadNextFullTransactionId()));

	/* tables of an older version have no such list */
	if (OidIsValid(get_relname_relid("scrub", get_namespace_oid("eventmkt_data", true))))
		emk_spi_run(&want_plan, &arg, NULL, false, 0);
}

/* The rows of the list, palloc'd; returns how many. */
static int
read_list(Scrub **out, bool due_only)
{
	Datum		args[2] = {BoolGetDatum(due_only), TimestampTzGetDatum(emk_clock_real())};
	int			n = (int) emk_spi_run(&list_plan, args, NULL, false, due_only ? 1 : 0);
	Scrub	   *s = palloc0(sizeof(Scrub) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		d;

		strlcpy(s[i].relation, emk_spi_text(i, 1), sizeof(s[i].relation));
		d = emk_spi_datum(i, 2, &isnull);
		s[i].relid = isnull ? InvalidOid : DatumGetObjectId(d);
		s[i].horizon = emk_spi_int8(i, 3, 0);
		d = emk_spi_datum(i, 4, &isnull);
		s[i].begun_at = isnull ? 0 : DatumGetTimestampTz(d);
		d = emk_spi_datum(i, 5, &isnull);
		s[i].analyzed_at = isnull ? 0 : DatumGetTimestampTz(d);
	}
	*out = s;
	return n;
}

/* A part, locked so that others may write; NULL: it was dropped, or somebody has it (*missed) */
static Relation
open_part(Oid relid, bool *missed)
{
	Relation	rel;

	if (!ConditionalLockRelationOid(relid, RowExclusiveLock))
	{
		*missed = true;
		return NULL;
	}
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		UnlockRelationOid(relid, RowExclusiveLock);
	return rel;
}

/* The oldest transaction whose rows somebody may still see there; of a table without rows there are statistics alone */
static TransactionId
oldest_seen(Relation rel)
{
	TransactionId oldest;
	Relation	kept;

	if (RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		return GetOldestNonRemovableTransactionId(rel);
	kept = RelationIdGetRelation(StatisticRelationId);	/* without a lock: its kind is all that is asked */
	oldest = GetOldestNonRemovableTransactionId(kept);
	RelationClose(kept);
	return oldest;
}

/* Finds the parts of a table. False: it cannot be looked at yet, an old snapshot is left or somebody has it. */
static bool
begin(Scrub *s)
{
	bool		missed = false;
	Relation	rel = OidIsValid(s->relid) ? open_part(s->relid, &missed) : NULL;
	List	   *indexes;
	ListCell   *c;

	s->nrels = s->part = 0;
	s->filenode = InvalidOid;
	if (rel == NULL)
		return !missed;
	/* in 2^31 transactions VACUUM has removed or frozen everything of then: ids are compared as the server does */
	if (TransactionIdPrecedes(oldest_seen(rel), (TransactionId) s->horizon))
	{
		relation_close(rel, RowExclusiveLock);
		return false;
	}
	if (s->begun_at == 0)
		s->begun_at = emk_clock_real();
	if (RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
	{
		s->rels[s->nrels++] = s->relid;
		if (OidIsValid(rel->rd_rel->reltoastrelid))
			s->rels[s->nrels++] = rel->rd_rel->reltoastrelid;
	}
	indexes = RelationGetIndexList(rel);
	foreach(c, indexes)
		if (s->nrels > 0 && s->nrels < MAX_RELS)
			s->rels[s->nrels++] = lfirst_oid(c);
	list_free(indexes);
	relation_close(rel, RowExclusiveLock);
	return true;
}

/* Goes on where it was, until `until` (monotonic; 0: to the end). True: at the end. */
static bool
look(Scrub *s, int64 until)
{
	int64		wal_from = s->met.pages;
	bool		old = (int64) U64FromFullTransactionId(ReadNextFullTransactionId()) - s->horizon > PG_INT32_MAX;
	TransactionId horizon = old ? InvalidTransactionId : (TransactionId) s->horizon;
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	MemoryContext caller;

	if (scratch == NULL)
		scratch = AllocSetContextCreate(TopMemoryContext, "eventmkt scrub", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(scratch);
	for (; s->part < s->nrels; s->part++, s->filenode = InvalidOid)
	{
		Relation	rel = open_part(s->rels[s->part], &s->missed);
		int64		bounds = s->met.bounds;
		BlockNumber blocks;
		bool		index;

		if (rel == NULL)
			continue;
		index = rel->rd_rel->relkind == RELKIND_INDEX;
		if (s->filenode != rel->rd_rel->relfilenode)
		{
			s->block = 0;
			s->since = GetXLogInsertRecPtr();
		}
		s->filenode = rel->rd_rel->relfilenode;
		blocks = index ? (rel->rd_rel->relam == BTREE_AM_OID ? RelationGetNumberOfBlocks(rel) : 0) :
			rel->rd_rel->relam == HEAP_TABLE_AM_OID ? RelationGetNumberOfBlocks(rel) : 0;
		for (; s->block < blocks; s->block++)
		{
			CHECK_FOR_INTERRUPTS();
			/* a page of an index costs up to a millisecond or two: hundreds of ids are looked up */
			if (until > 0 && (index || s->block % 8 == 0) && (emk_clock_monotonic() >= until || s->met.pages - wal_from >= STEP_PAGES))
				break;
			if (index)
				emk_admin_scrub_index(rel, s->block, strategy, s->since, &s->met);
			else
				emk_admin_scrub_heap(rel, s->block, strategy, horizon, &s->met);
			EMK_PAUSE_POINT("page_scrubbed");
			MemoryContextReset(scratch);
		}
		if (index && s->met.bounds > bounds && s->nbounds < MAX_BOUNDS && (s->nbounds == 0 ||
																	   s->bounds[s->nbounds - 1] != s->rels[s->part]))
			s->bounds[s->nbounds++] = s->rels[s->part];
		if (s->part == 0)
			s->live = s->met.live;
		relation_close(rel, RowExclusiveLock);
		if (s->block < blocks)
		{
			MemoryContextSwitchTo(caller);
			return false;
		}
	}
	MemoryContextSwitchTo(caller);
	FreeAccessStrategy(strategy);
	return true;
}

/* Whether the statistics of a table may hold what was erased */
static bool
statistics_are_old(Scrub *s)
{
	Datum		arg = ObjectIdGetDatum(s->relid);

	if (s->analyzed_at >= s->begun_at || emk_spi_run(&statistics_plan, &arg, NULL, true, 1) == 0)
		return false;
	if (s->nrels == 0 || s->live > 0 || !ConditionalLockRelationOid(s->relid, ShareUpdateExclusiveLock))
		return true;
	RemoveStatistics(s->relid, 0);
	return false;
}

/* What is left to do for others, as statements; none: it is clean */
static int
list_todo(Scrub *s, Datum *todo)
{
	bool		vacuum = s->met.dead > 0 || s->met.entries > 0;
	bool		catalog = strcmp(s->relation, STATISTICS) == 0;
	bool		analyze = !catalog && statistics_are_old(s);
	int			n = 0;

	if (vacuum || analyze)
		todo[n++] = CStringGetTextDatum(psprintf("%s %s", !vacuum ? "ANALYZE" : catalog ? "VACUUM" : analyze ?
												 "VACUUM (INDEX_CLEANUP ON, ANALYZE)" : "VACUUM (INDEX_CLEANUP ON)", s->relation));
	for (int i = 0; i < s->nbounds; i++)
	{
		char	   *name = get_rel_name(s->bounds[i]);
		char	   *schema = get_namespace_name(get_rel_namespace(s->bounds[i]));

		if (name != NULL && schema != NULL)
			todo[n++] = CStringGetTextDatum(psprintf("REINDEX INDEX CONCURRENTLY %s", quote_qualified_identifier(schema, name)));
	}
	return n;
}

/* The table was looked at, or was dropped. */
static void
conclude(Scrub *s)
{
	Datum		todo[MAX_BOUNDS + 1];
	int			n = OidIsValid(s->relid) ? list_todo(s, todo) : 0;
	Datum		args[8] = {CStringGetTextDatum(s->relation), Int64GetDatum(s->horizon), TimestampTzGetDatum(s->begun_at),
	TimestampTzGetDatum(emk_clock_real()), Int64GetDatum(s->met.dead), Int64GetDatum(s->met.entries + s->met.bounds),
	Int64GetDatum(s->met.bytes)};

	if (n == 0 && !s->missed)
	{
		emk_spi_run(&clean_plan, args, NULL, false, 0);
		return;
	}
	args[7] = emk_spi_array(todo, NULL, n, TEXTOID);
	/* one that somebody had locked has nothing to do yet, and is looked at again */
	emk_spi_run(&result_plan, args, s->missed ? "       n" : NULL, false, 0);
}

/* pg_statistic, the last one left, for the first time: what ANALYZE replaced in it is younger than the horizon of the others */
static bool
move_horizon(Scrub *s)
{
	int64		next = (int64) U64FromFullTransactionId(ReadNextFullTransactionId());
	Datum		args[3] = {CStringGetTextDatum(s->relation), Int64GetDatum(next), TimestampTzGetDatum(emk_clock_real())};

	if (strcmp(s->relation, STATISTICS) != 0 || s->begun_at != 0)
		return false;
	emk_spi_run(&again_plan, args, NULL, false, 0);
	return true;
}

/* The last step failed: the table waits for an operator, who is told by the statement what is wrong, or for its next turn. */
static void
set_aside(Scrub *s)
{
	Oid			part = s->part < s->nrels ? s->rels[s->part] : s->relid;
	char	   *name = get_rel_relkind(part) == RELKIND_INDEX ? get_rel_name(part) : NULL;
	char	   *schema = name != NULL ? get_namespace_name(get_rel_namespace(part)) : NULL;
	char	   *index = schema != NULL ? quote_qualified_identifier(schema, name) : NULL;
	Datum		todo = CStringGetTextDatum(index != NULL ? psprintf("REINDEX INDEX CONCURRENTLY %s", index) :
										   psprintf("VACUUM (DISABLE_PAGE_SKIPPING) %s", s->relation));
	Datum		args[8] = {CStringGetTextDatum(s->relation), Int64GetDatum(s->horizon), TimestampTzGetDatum(s->begun_at),
	TimestampTzGetDatum(emk_clock_real()), Int64GetDatum(s->met.dead), Int64GetDatum(s->met.entries + s->met.bounds),
	Int64GetDatum(s->met.bytes), emk_spi_array(&todo, NULL, 1, TEXTOID)};

	emk_spi_run(&result_plan, args, s->begun_at == 0 ? "  n     " : NULL, false, 0);
}

bool
emk_admin_scrub_step(void)
{
	Scrub	   *next;

	if (trying)
	{
		trying = false;
		set_aside(&current);
		current.relid = InvalidOid;
		return true;
	}

	if (!OidIsValid(get_relname_relid("scrub", get_namespace_oid("eventmkt_data", true))) || read_list(&next, true) == 0)
	{
		current.relid = InvalidOid;
		return false;
	}
	if (move_horizon(next))
		return false;
	if (!OidIsValid(current.relid) || current.relid != next->relid || current.horizon != next->horizon)
	{
		current = *next;
		trying = true;
		if (!begin(&current))
		{
			trying = false;
			current.relid = InvalidOid;
			return false;
		}
	}
	else
		current.analyzed_at = next->analyzed_at;
	trying = true;
	if (look(&current, emk_clock_monotonic() + STEP))
	{
		conclude(&current);
		current.relid = InvalidOid;
		trying = false;
		return !current.missed;
	}
	trying = false;
	return true;
}

PG_FUNCTION_INFO_V1(emk_admin_scrub_erased);
/* eventmkt.scrub_erased(): how many tables are left */
Datum
emk_admin_scrub_erased(PG_FUNCTION_ARGS)
{
	EmkOwner	owner;
	Scrub	   *s;
	int			n;
	int64		left;

	PreventCommandDuringRecovery("eventmkt.scrub_erased()");
	PreventCommandIfReadOnly("eventmkt.scrub_erased()");
	emk_owner_enter(&owner);
	SPI_connect();
	n = read_list(&s, false);
	for (int i = 0; i < n; i++)
	{
		if (strcmp(s[i].relation, STATISTICS) == 0 && s[i].begun_at == 0)
			s[i].horizon = 0;	/* below */
		else if (begin(&s[i]))
			(void) look(&s[i], 0);
		else
			s[i].missed = true;
	}
	for (int i = 0; i < n; i++)
		if (s[i].horizon != 0 && (s[i].begun_at != 0 || !OidIsValid(s[i].relid)))
			conclude(&s[i]);
	/* the others may be done with by now */
	n = read_list(&s, false);
	if (n == 1)
		(void) move_horizon(s);
	emk_spi_run(&left_plan, NULL, NULL, false, 1);
	left = emk_spi_int8(0, 1, 0);
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_INT64(left);
}
