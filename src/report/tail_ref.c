/*
 * tail_ref.c: where finished tails live while questions read them, and how their processes find them.
 *
 * A value of the type eventmkt.tail is a reference: copying it, which the executor does for every (SELECT open_tail()) and every
 * worker, costs nothing. The process that gathered the tail keeps the map, in shared memory when the question has, or may get, several
 * processes; a worker of the question maps it in.
 *
 * Rules
 *   1. A map goes with the last of its users: memory contexts of queries that were given a reference. Nested questions share a map in any
 *      order, and neither can outlive it.
 *   2. A worker never lets go by itself: it ends with the question.
 *   3. No process meets two maps of one number: who makes them counts them and puts its id before, and a worker reads those of its leader.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "report/tail_ref.h"
#include "utils/memutils.h"

typedef struct Kept
{
	struct Kept *next;
	EmkTailMap *map;
	dsm_segment *seg;			/* NULL: in memory of this process, or rule 2 */
	dsm_handle	handle;
	int			uses;
} Kept;

typedef struct Use
{
	MemoryContextCallback callback;
	Kept	   *kept;
} Use;

static Kept *all_kept;
const EmkTailMap *emk_tail_latest;

static Kept *
find_kept(uint64 number)
{
	for (Kept *k = all_kept; k; k = k->next)
		if (k->map->number == number)
			return k;
	return NULL;
}

static void
let_go(void *arg)
{
	Kept	   *k = ((Use *) arg)->kept;

	if (--k->uses > 0)
		return;
	for (Kept **p = &all_kept; *p; p = &(*p)->next)
		if (*p == k)
		{
			*p = k->next;
			break;
		}
	if (emk_tail_latest == k->map)
		emk_tail_latest = NULL;
	if (k->seg)
		dsm_detach(k->seg);
	else
		pfree(k->map);
	pfree(k);
}

static EmkTailRef *
refer(Kept *k, Use *use)
{
	EmkTailRef *ref = palloc0(sizeof(EmkTailRef));

	SET_VARSIZE(ref, sizeof(EmkTailRef));
	ref->handle = k->handle;
	ref->number = k->map->number;
	use->callback.func = let_go;
	use->callback.arg = use;
	use->kept = k;
	return ref;
}

/* Room for a map, where the others can see it if there may be others */
static void *
get_room(Size size, void *arg)
{
	Kept	   *k = arg;

	if (!IsInParallelMode() || IsParallelWorker())
		return k->map = MemoryContextAllocHuge(TopMemoryContext, size);
	k->seg = dsm_create(size, 0);
	k->handle = dsm_segment_handle(k->seg);
	return k->map = dsm_segment_address(k->seg);
}

EmkTailRef *
emk_tail_keep(EmkTail *t, bool whole, MemoryContext user)
{
	Kept	   *k = MemoryContextAllocZero(TopMemoryContext, sizeof(Kept));
	Use		   *use = MemoryContextAllocZero(user, sizeof(Use));
	EmkTailRef *ref;

	k->handle = DSM_HANDLE_INVALID;
	PG_TRY();
	{
		emk_tail_finish(t, whole, get_room, k);
		ref = refer(k, use);
	}
	PG_CATCH();
	{
		if (k->map && !k->seg)	/* a segment belongs to the query until it is pinned */
			pfree(k->map);
		pfree(k);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (k->seg)
		dsm_pin_mapping(k->seg);
	k->uses = 1;
	k->next = all_kept;
	all_kept = k;
	MemoryContextRegisterResetCallback(user, &use->callback);
	return ref;
}

EmkTailRef *
emk_tail_refer(uint64 number, MemoryContext user)
{
	Kept	   *k = find_kept(number);
	EmkTailRef *ref;
	Use		   *use;

	if (k == NULL || (k->handle == DSM_HANDLE_INVALID && IsInParallelMode() && !IsParallelWorker()))
		return NULL;
	use = MemoryContextAllocZero(user, sizeof(Use));
	ref = refer(k, use);
	k->uses++;
	MemoryContextRegisterResetCallback(user, &use->callback);
	return ref;
}

const EmkTailMap *
emk_tail_look_up(const EmkTailRef *ref)
{
	Kept	   *k = find_kept(ref->number);

	if (k == NULL)
	{
		dsm_segment *seg = ref->handle == DSM_HANDLE_INVALID ? NULL : dsm_attach(ref->handle);

		if (seg == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the open tail of timelines is gone"),
					 errhint("Ask again.")));
		if (((EmkTailMap *) dsm_segment_address(seg))->form != EMK_TAIL_FORM)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the open tail of timelines is of another version of the library"),
					 errhint("Begin a new session.")));
		k = MemoryContextAllocZero(TopMemoryContext, sizeof(Kept));
		dsm_pin_mapping(seg);
		k->seg = seg;
		k->handle = ref->handle;
		k->map = dsm_segment_address(seg);
		k->uses = 1;			/* rule 2 */
		k->next = all_kept;
		all_kept = k;
	}
	return emk_tail_latest = k->map;
}
