/*
 * base.h: the base layer, seen by every other: errors, limits, clocks, settings, owner switch, wake, saved plans, JSON.
 * A file of another layer includes this one header.
 */
#ifndef EMK_BASE_H
#define EMK_BASE_H

#include "base/clock.h"
#include "base/compat.h"
#include "base/errors.h"
#include "base/guard.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/owner.h"
#include "base/pause.h"
#include "base/setting.h"
#include "base/spi.h"
#include "base/version.h"
#include "base/wake.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/* Called once by _PG_init. */
extern void emk_base_init(void);

/* ERROR 22004 that names the argument when one of a function's is NULL; `names` has them in order. */
extern void emk_base_refuse_null(FunctionCallInfo fcinfo, const char *const *names);

/*
 * From now on fn((Datum) 0, relid) is called when a table has changed (InvalidOid: any may have). A server has ten places for such
 * functions in a process, which all libraries share: this layer takes one for all of ours.
 */
extern void emk_base_on_relcache(RelcacheCallbackFunction fn);

/*
 * Leaves the memory of a cache that is to be filled anew behind, and sets *context to NULL: what was handed out of it stays valid to the
 * end of the transaction, when it is freed. NULL in *context is allowed.
 */
extern void emk_base_leave_behind(MemoryContext *context);

/*
 * What a trigger function was called with. ERROR 39P01 unless it is a trigger of eventmkt_data.<relname>, for each row or each statement:
 * only there are the columns what the function takes them for. `events`: those it serves, EMK_ON_….
 */
struct TriggerData;
extern struct TriggerData *emk_base_trigger(FunctionCallInfo fcinfo, const char *relname, bool row, int events);
#define EMK_ON_INSERT	1
#define EMK_ON_DELETE	2
#define EMK_ON_UPDATE	4

/* Every backend forgets what it cached of a table in eventmkt_data, from the commit on. */
extern void emk_base_invalidate_table(const char *relname);

/*
 * Before DDL on views that others read (view.c). try: ACCESS EXCLUSIVE on all of them or on none, at once; InvalidOid is none.
 * await: a pause after it failed; *since is 0 at first; ERROR 55P03 after lock_timeout, EMK_VIEW_WAIT_MS without one.
 * lock: until it is had.
 */
extern bool emk_base_try_views(const Oid *views, int n);
extern void emk_base_await_readers(int64 *since, const char *name);
extern void emk_base_lock_view(Oid view, const char *name);

/* The table definitions of all layers in floor order, NULL-terminated; generated from <layer>.tables.sql. */
extern const char *const emk_base_tables[];

#endif
