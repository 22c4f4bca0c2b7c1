/*
 * hook.c: DROP DATABASE, ALTER DATABASE ... RENAME or SET TABLESPACE and CREATE DATABASE ... TEMPLATE need a database without
 * sessions, so its workers are stopped before the command and come back after it. Only where the library is preloaded. Only
 * for who may run the command: anybody else gets his error from the command itself and disturbs nobody.
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/wait_event.h"
#include "worker/life.h"

#define BLOCK_TIME	(15 * USECS_PER_SEC)	/* an upper bound: lifted as soon as the command ended */
#define WAIT_TIME	(5 * USECS_PER_SEC)

static ProcessUtility_hook_type prev_utility = NULL;

/* The name of the database that the command wants for itself, or NULL */
static const char *
wanted_database(Node *parsetree)
{
	ListCell   *lc;

	switch (nodeTag(parsetree))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) parsetree)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) parsetree)->renameType == OBJECT_DATABASE ? ((RenameStmt *) parsetree)->subname : NULL;
		case T_AlterDatabaseStmt:
			foreach(lc, ((AlterDatabaseStmt *) parsetree)->options)
				if (strcmp(((DefElem *) lfirst(lc))->defname, "tablespace") == 0)
					return ((AlterDatabaseStmt *) parsetree)->dbname;
			return NULL;
		case T_CreatedbStmt:
			foreach(lc, ((CreatedbStmt *) parsetree)->options)
				if (strcmp(((DefElem *) lfirst(lc))->defname, "template") == 0 && ((DefElem *) lfirst(lc))->arg != NULL)
					return defGetString((DefElem *) lfirst(lc));
			return NULL;
		default:
			return NULL;
	}
}

/* Blocks new workers of the database and ends those that run; returns the number of the block, -1 for none needed. */
static int
clear_database(Oid db)
{
	EmkShared  *s = emk_worker_shared;
	EmkDatabase *d;
	int			block = -1;
	int64		deadline = emk_clock_monotonic() + WAIT_TIME;
	bool		gone;

	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EMK_BLOCKS && block < 0; i++)
		if (!OidIsValid(s->blocks[i].db) || s->blocks[i].until < emk_clock_monotonic())
			block = i;
	if (block >= 0)
	{
		s->blocks[block].db = db;
		s->blocks[block].until = emk_clock_monotonic() + BLOCK_TIME;
	}
	LWLockRelease(s->lock);
	for (;;)
	{
		LWLockAcquire(s->lock, LW_EXCLUSIVE);
		d = emk_worker_entry(db, false);
		gone = d == NULL || emk_worker_all_free(d);
		if (!gone)
			emk_worker_signal(d, SIGTERM);
		LWLockRelease(s->lock);
		if (gone || emk_clock_monotonic() > deadline)
			return block;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 20, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
lift_block(int block, Oid db)
{
	EmkShared  *s = emk_worker_shared;

	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	if (s->blocks[block].db == db)
		s->blocks[block].db = InvalidOid;
	LWLockRelease(s->lock);
	pg_atomic_write_u32(&s->rescan, 1);
	emk_worker_tell_launcher();
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_utility ? prev_utility : standard_ProcessUtility;
	const char *name = emk_worker_shared == NULL || context != PROCESS_UTILITY_TOPLEVEL ? NULL :
		wanted_database(pstmt->utilityStmt);
	Oid			db = name ? get_database_oid(name, true) : InvalidOid;
	int			block = -1;

	if (OidIsValid(db) && db != MyDatabaseId && emk_owns_database(db, GetUserId()))
		block = clear_database(db);
	if (block < 0)
	{
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}
	PG_TRY();
	{
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		lift_block(block, db);
	}
	PG_END_TRY();
}

void
emk_worker_init_hook(void)
{
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
