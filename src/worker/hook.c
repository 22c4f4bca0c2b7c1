/*
 * hook.c: DROP DATABASE, ALTER DATABASE ... RENAME or SET TABLESPACE and CREATE DATABASE ... TEMPLATE need a database without
 * sessions, so its workers are stopped before the command and come back after it. DROP EXTENSION needs none, but without
 * workers it waits for no lock of theirs, and they meet no half of an extension. Only where the library is preloaded. Only
 * for who may run the command: anybody else gets his error from the command itself and disturbs nobody.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
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
static int	my_block = -1;		/* of the command that runs in this backend */
static Oid	my_block_db;

static bool
drops_extension(Node *parsetree)
{
	ListCell   *lc;

	if (!IsA(parsetree, DropStmt) || ((DropStmt *) parsetree)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, ((DropStmt *) parsetree)->objects)
		if (strcmp(strVal(lfirst(lc)), "eventmkt") == 0)
			return true;
	return false;
}

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

/* Blocks new workers of the database and ends those that run; waits for their end. Gently: what is open may be answered. */
static void
clear_database(Oid db, bool gently)
{
	EmkShared  *s = emk_worker_shared;
	EmkDatabase *d;
	int64		deadline = emk_clock_monotonic() + WAIT_TIME;
	bool		gone;

	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EMK_BLOCKS && my_block < 0; i++)
		if (!OidIsValid(s->blocks[i].db) || s->blocks[i].until < emk_clock_monotonic())
			my_block = i;
	if (my_block >= 0)
	{
		s->blocks[my_block].db = db;
		s->blocks[my_block].until = emk_clock_monotonic() + BLOCK_TIME;
	}
	LWLockRelease(s->lock);
	for (;;)
	{
		LWLockAcquire(s->lock, LW_EXCLUSIVE);
		d = emk_worker_entry(db, false);
		gone = d == NULL || emk_worker_all_free(d);
		if (!gone && gently)
			emk_worker_retire(d);
		else if (!gone)
			emk_worker_signal(d, SIGTERM);
		LWLockRelease(s->lock);
		if (gone || emk_clock_monotonic() > deadline)
			return;
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

/* The block of a command that went well is lifted when its transaction ends: only then can others see what it did. */
static void
at_xact_end(XactEvent event, void *arg)
{
	if (my_block >= 0 && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT))
	{
		int			block = my_block;

		my_block = -1;
		lift_block(block, my_block_db);
	}
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_utility ? prev_utility : standard_ProcessUtility;
	const char *name = emk_worker_shared == NULL || context != PROCESS_UTILITY_TOPLEVEL ? NULL :
		wanted_database(pstmt->utilityStmt);
	Oid			db = name ? get_database_oid(name, true) : InvalidOid;

	if (OidIsValid(db) && (db == MyDatabaseId || !emk_owns_database(db, GetUserId())))
		db = InvalidOid;
	else if (emk_worker_shared != NULL && drops_extension(pstmt->utilityStmt) && superuser())
		db = MyDatabaseId;
	if (OidIsValid(db) && my_block < 0)
	{
		my_block_db = db;
		clear_database(db, !IsA(pstmt->utilityStmt, DropdbStmt) && !IsA(pstmt->utilityStmt, DropStmt));
	}
	next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

void
emk_worker_init_hook(void)
{
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(at_xact_end, NULL);
}
