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
 *   4. That nothing packed is to be read is said by one map for all, which lies in the library.
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
	uint64		number;
	const EmkTailMap *map;
	void	   *memory;			/* of this process: the map; NULL: it lies elsewhere */
	dsm_segment *seg;			/* NULL: it lies in no shared memory */
	dsm_handle	handle;
	int			uses;
} Kept;

typedef struct Use
{
	MemoryContextCallback callback;
	Kept	   *kept;
} Use;

static Kept *all_kept;
static uint64 last_number;
static const EmkTailMap everything = {.whole = true};	/* rule 4 */
const EmkTailMap *emk_tail_latest;

static Kept *
find_kept(uint64 number)
{
	for (Kept *k = all_kept; k; k = k->next)
		if (k->number == number)
			return k;
	return NULL;
}

static void
free_kept(Kept *k)
{
	if (k->seg)
		dsm_detach(k->seg);
	if (k->memory)
		pfree(k->memory);
	pfree(k);
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
	free_kept(k);
}

static EmkTailRef *
refer(Kept *k, Use *use)
{
	EmkTailRef *ref = palloc0(sizeof(EmkTailRef));

	SET_VARSIZE(ref, sizeof(EmkTailRef));
	ref->handle = k->handle;
	ref->number = k->number;
	ref->whole = k->map->whole;
	use->callback.func = let_go;
	use->callback.arg = use;
	use->kept = k;
	return ref;
}

typedef struct Wanted
{
	Size		size;
	dsm_segment *seg;
} Wanted;

static void
make_segment(void *arg)
{
	Wanted	   *w = arg;

	w->seg = dsm_create(w->size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (w->seg)
		dsm_pin_mapping(w->seg);
}

/* Room for a map, where the others can see it if there may be others; NULL when there is none there */
static void *
get_room(Size size, void *arg)
{
	Kept	   *k = arg;
	Wanted		w = {size, NULL};

	if (!IsInParallelMode() || IsParallelWorker())
		return k->memory = MemoryContextAllocHuge(TopMemoryContext, size);
	if (!emk_tail_share(make_segment, &w) || w.seg == NULL)
		return NULL;
	k->seg = w.seg;
	k->handle = dsm_segment_handle(k->seg);
	return dsm_segment_address(k->seg);
}

EmkTailRef *
emk_tail_keep(EmkTail *t, bool whole, MemoryContext user)
{
	Kept	   *k = MemoryContextAllocZero(TopMemoryContext, sizeof(Kept));
	Use		   *use = MemoryContextAllocZero(user, sizeof(Use));
	EmkTailRef *ref;

	k->handle = DSM_HANDLE_INVALID;
	k->number = (uint64) MyProcPid << 40 | ++last_number;
	PG_TRY();
	{
		if (!whole)
			k->map = emk_tail_finish(t, k->number, get_room, k);
		if (k->map == NULL)
			k->map = &everything;
		ref = refer(k, use);
	}
	PG_CATCH();
	{
		free_kept(k);
		PG_RE_THROW();
	}
	PG_END_TRY();
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

	if (k == NULL || (k->memory != NULL && IsInParallelMode() && !IsParallelWorker()))
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
	Kept	   *k;

	if (ref->whole)
		return &everything;
	k = find_kept(ref->number);
	if (k == NULL)
	{
		dsm_segment *seg = ref->handle == DSM_HANDLE_INVALID || !IsParallelWorker() ? NULL : dsm_attach(ref->handle);

		if (seg == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the open tail of timelines is gone"),
					 errhint("Ask again.")));
		if (((EmkTailMap *) dsm_segment_address(seg))->form != emk_tail_form())
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the open tail of timelines is of another version of the library"),
					 errhint("Begin a new session.")));
		k = MemoryContextAllocZero(TopMemoryContext, sizeof(Kept));
		dsm_pin_mapping(seg);
		k->seg = seg;
		k->handle = ref->handle;
		k->map = dsm_segment_address(seg);
		k->number = ref->number;
		k->uses = 1;			/* rule 2 */
		k->next = all_kept;
		all_kept = k;
	}
	return emk_tail_latest = k->map;
}
