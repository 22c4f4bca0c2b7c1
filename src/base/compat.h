/*
 * compat.h: what differs between PostgreSQL 15 and 18, and nothing else.
 */
#ifndef EMK_BASE_COMPAT_H
#define EMK_BASE_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "eventmkt needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM < 160000
#define emk_wait_event_set_create(n)	CreateWaitEventSet(TopMemoryContext, (n))
#elif PG_VERSION_NUM < 170000
#define emk_wait_event_set_create(n)	CreateWaitEventSet(TopMemoryContext, (n))
#else
#define emk_wait_event_set_create(n)	CreateWaitEventSet(NULL, (n))
#endif

/* a page that is read without the server's scan: old_snapshot_threshold is gone in 17 */
#if PG_VERSION_NUM < 170000
#define emk_test_old_snapshot(snapshot, rel, page)	TestForOldSnapshot((snapshot), (rel), (page))
#else
#define emk_test_old_snapshot(snapshot, rel, page)	((void) 0)
#endif

/* the number of our PGPROC: kept in shared memory in place of a pointer */
#if PG_VERSION_NUM < 170000
#define EMK_MY_PROCNO	(MyProc->pgprocno)
#else
#define EMK_MY_PROCNO	MyProcNumber
#endif

/* the i-th (from 1) backend of the local copy of the activity table */
#if PG_VERSION_NUM < 160000
#define emk_local_beentry(i)	pgstat_fetch_stat_local_beentry(i)
#define emk_schema_usage(nsp, role)	(pg_namespace_aclcheck((nsp), (role), ACL_USAGE) == ACLCHECK_OK)
#define emk_owns_database(db, role)	pg_database_ownercheck((db), (role))
#else
#define emk_local_beentry(i)	pgstat_get_local_beentry_by_index(i)
#define emk_schema_usage(nsp, role)	(object_aclcheck(NamespaceRelationId, (nsp), (role), ACL_USAGE) == ACLCHECK_OK)
#define emk_owns_database(db, role)	object_ownercheck(DatabaseRelationId, (db), (role))
#endif

/* the owner of the tables connects as a worker without the right to log in where the server knows how */
#if PG_VERSION_NUM < 170000
#define EMK_WORKER_CONNECT_FLAGS	0
#else
#define EMK_WORKER_CONNECT_FLAGS	BGWORKER_BYPASS_ROLELOGINCHECK
#endif

/* a background worker, as opposed to somebody's session */
#if PG_VERSION_NUM < 180000
#define EMK_PROC_IS_WORKER(proc)	((proc)->isBackgroundWorker)
#else
#define EMK_PROC_IS_WORKER(proc)	(!(proc)->isRegularBackend)
#endif

/* the executor's calls that write a row and its index entries, as COPY and ON CONFLICT make them */
#if PG_VERSION_NUM < 160000
#define emk_partition_map(leaf, estate)	((leaf)->ri_RootToPartitionMap)
#define emk_insert_index_tuples(rri, slot, estate) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, false, NULL, NIL)
#define emk_insert_index_tuples_unless(rri, slot, estate, conflict) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, true, (conflict), NIL)
#define emk_update_index_tuples(rri, slot, estate, which) \
	((which) ? ExecInsertIndexTuples((rri), (slot), (estate), true, false, NULL, NIL) : NIL)
#define EmkUpdateIndexes	bool
#else
#define emk_partition_map(leaf, estate)	ExecGetRootToChildMap((leaf), (estate))
#define emk_insert_index_tuples(rri, slot, estate) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, false, NULL, NIL, false)
#define emk_insert_index_tuples_unless(rri, slot, estate, conflict) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, true, (conflict), NIL, false)
#define emk_update_index_tuples(rri, slot, estate, which) \
	((which) == TU_None ? NIL : \
	 ExecInsertIndexTuples((rri), (slot), (estate), true, false, NULL, NIL, (which) == TU_Summarizing))
#define EmkUpdateIndexes	TU_UpdateIndexes
#endif

/* a scan of an index by nkeys keys */
#if PG_VERSION_NUM < 180000
#define emk_index_beginscan(rel, index, snapshot, nkeys)	index_beginscan((rel), (index), (snapshot), (nkeys), 0)
#else
#define emk_index_beginscan(rel, index, snapshot, nkeys)	index_beginscan((rel), (index), (snapshot), NULL, (nkeys), 0)
#endif

/* the first leaf of a btree, pinned and locked for reading */
#if PG_VERSION_NUM < 170000
#define emk_bt_first_leaf(index, snapshot)	_bt_get_endpoint((index), 0, false, (snapshot))
#else
#define emk_bt_first_leaf(index, snapshot)	_bt_get_endpoint((index), 0, false)
#endif

/* a function that does not return: said before the declaration since 18 */
#if PG_VERSION_NUM < 180000
#define pg_noreturn	__attribute__((noreturn))
#endif

/* memory a GUC check hook hands to the GUC machinery */
#if PG_VERSION_NUM < 160000
#define emk_guc_malloc(n)	malloc(n)
#define emk_guc_free(p)		free(p)
#else
#define emk_guc_malloc(n)	guc_malloc(LOG, (n))
#define emk_guc_free(p)		guc_free(p)
#endif

/* a function since 16, a macro with a cast before: what is a Datum already is an error here too */
#if PG_VERSION_NUM < 160000
static inline Datum
emk_pointer_get_datum(const void *p)
{
	return (Datum) p;
}
#undef PointerGetDatum
#define PointerGetDatum(p)	emk_pointer_get_datum(p)
#endif

#endif
