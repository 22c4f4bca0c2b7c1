/*
 * base.c: start of the base layer, what caches of tables share (who hears of a change, memory left behind), and the trigger function that
 * makes every backend forget what it cached of a table.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/base.h"
#include "base/base_int.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/rel.h"

#define MAX_LISTENERS 16

static RelcacheCallbackFunction listeners[MAX_LISTENERS];
static int	nlisteners = 0;
static MemoryContext left_behind = NULL;	/* parent of what caches held before */

static void
tell_all(Datum arg, Oid relid)
{
	for (int i = 0; i < nlisteners; i++)
		listeners[i] (arg, relid);
}

void
emk_base_on_relcache(RelcacheCallbackFunction fn)
{
	if (nlisteners == MAX_LISTENERS)
		elog(ERROR, "too many functions want to hear of changed tables");
	if (nlisteners == 0)
		CacheRegisterRelcacheCallback(tell_all, (Datum) 0);
	listeners[nlisteners++] = fn;
}

static void
free_left_behind(XactEvent event, void *arg)
{
	if (left_behind != NULL && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE))
		MemoryContextDeleteChildren(left_behind);
}

void
emk_base_leave_behind(MemoryContext *context)
{
	if (*context == NULL)
		return;
	if (left_behind == NULL)
		left_behind = AllocSetContextCreate(TopMemoryContext, "eventmkt caches left behind", ALLOCSET_SMALL_SIZES);
	MemoryContextSetParent(*context, left_behind);
	*context = NULL;
}

void
emk_base_init(void)
{
	RegisterXactCallback(free_left_behind, NULL);
	emk_base_init_setting();
	emk_base_init_owner();
	emk_base_init_wake();
	emk_base_init_pause();
}

void
emk_base_invalidate_table(const char *relname)
{
	CacheInvalidateRelcacheByRelid(emk_setting_table(relname));
}

TriggerData *
emk_base_trigger(FunctionCallInfo fcinfo, const char *relname, bool row, int events)
{
	TriggerData *t = (TriggerData *) fcinfo->context;
	int			event = !CALLED_AS_TRIGGER(fcinfo) ? 0 : TRIGGER_FIRED_BY_INSERT(t->tg_event) ? EMK_ON_INSERT :
		TRIGGER_FIRED_BY_DELETE(t->tg_event) ? EMK_ON_DELETE : TRIGGER_FIRED_BY_UPDATE(t->tg_event) ? EMK_ON_UPDATE : 0;

	if ((event & events) == 0 || (TRIGGER_FIRED_FOR_ROW(t->tg_event) != 0) != row ||
		strcmp(RelationGetRelationName(t->tg_relation), relname) != 0 ||
		RelationGetNamespace(t->tg_relation) != get_namespace_oid("eventmkt_data", true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function serves the triggers of eventmkt_data.%s only", relname)));
	return t;
}

void
emk_base_refuse_null(FunctionCallInfo fcinfo, const char *const *names)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i]),
					 errhint("Give a value for it.")));
}

PG_FUNCTION_INFO_V1(emk_base_invalidate);
/*
 * eventmkt.invalidate_cache(): statement trigger. Sends the relcache invalidation of its table, transactional like
 * any other: other backends see it after commit, this one at its next command, and a rollback takes it back.
 */
Datum
emk_base_invalidate(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("eventmkt.invalidate_cache() can only be called as a trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
