/*
 * tail_help.c: the tail is gathered by several processes where the question has several. Nobody reads a packed row before the tail is
 * whole, so all of the question waits for it.
 *
 * A question's own helpers do not exist yet when its tail is gathered, so these are others, for this alone. They take pieces of pages
 * as the leader does and leave what they gathered in shared memory; the leader adds it to its own. A helper that comes late finds
 * nothing left to do, one that does not come is not missed. Where there is no shared memory for what it gathered, the question fails, as
 * it would for its own processes.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "base/base.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "report/tail.h"
#include "storage/lwlock.h"
#include "utils/dsa.h"

#define MAX_HELPERS		3			/* what they gathered is put together by one */
#define AREA_BYTES		(64 * 1024)	/* of the area of the parts; more of it is made when it is needed */

enum
{
	KEY_WORK = 1,
	KEY_PAGES,
	KEY_AREA
};

typedef struct Help
{
	dsa_pointer part;			/* InvalidDsaPointer: it gathered nothing */
	bool		too_big;
} Help;

typedef struct Work
{
	uint32		form;			/* FORM: a helper of another library version leaves it alone */
	Help		helps[MAX_HELPERS]; /* each written by its helper alone, read when that has ended */
	int			key_len;		/* -1: none */
	int			value_len;
	char		names[FLEXIBLE_ARRAY_MEMBER];	/* of the properties: key, value */
} Work;

#define FORM	((1 << 16) + (uint32) (sizeof(EmkTailEvent) + sizeof(EmkTailText) + sizeof(EmkTailPages) + sizeof(Work)))

static int
wanted_helpers(const EmkTailPages *pages)
{
	/* of how many pages on a helper is worth its start, some milliseconds */
	uint64		enough = Max((uint64) min_parallel_table_scan_size * 2, 1);

	/* a question of one process has no use for helpers; one whose own have begun has them already */
	if (!IsInParallelMode() || IsParallelWorker() || ParallelContextActive())
		return 0;
	return Min(max_parallel_workers_per_gather, (int) Min(pages->nblocks / enough, MAX_HELPERS));
}

static int
name_len(const text *name)
{
	return name ? (int) VARSIZE_ANY_EXHDR(name) : -1;
}

static Work *
put_work(shm_toc *toc, Size size, const text *key, const text *value)
{
	Work	   *w = shm_toc_allocate(toc, size);

	memset(w, 0, size);
	w->form = FORM;
	w->key_len = name_len(key);
	w->value_len = name_len(value);
	if (key)
		memcpy(w->names, VARDATA_ANY(key), w->key_len);
	if (value)
		memcpy(w->names + Max(w->key_len, 0), VARDATA_ANY(value), w->value_len);
	for (int i = 0; i < MAX_HELPERS; i++)
		w->helps[i].part = InvalidDsaPointer;
	shm_toc_insert(toc, KEY_WORK, w);
	return w;
}

/* What the helpers gathered, when they have ended */
static void
add_parts(EmkTail *t, const Work *w, int n, dsa_area *area)
{
	for (int i = 0; i < n; i++)
	{
		if (w->helps[i].too_big)
			emk_tail_give_up(t);
		if (DsaPointerIsValid(w->helps[i].part))
			emk_tail_add_part(t, dsa_get_address(area, w->helps[i].part));
	}
}

static void
read_with(int nhelpers, EmkTail *t, const EmkTailPages *pages, const text *key, const text *value)
{
	Size		pages_size = emk_tail_pages_size(pages->ntables);
	Size		work_size = offsetof(Work, names) + Max(name_len(key), 0) + Max(name_len(value), 0);
	ParallelContext *pcxt;
	EmkTailPages *shared;
	Work	   *w;
	dsa_area   *area = NULL;
	void	   *place;

	EnterParallelMode();
	pcxt = CreateParallelContext("eventmkt", "emk_report_tail_help", nhelpers);
	shm_toc_estimate_chunk(&pcxt->estimator, work_size);
	shm_toc_estimate_chunk(&pcxt->estimator, pages_size);
	shm_toc_estimate_chunk(&pcxt->estimator, AREA_BYTES);
	shm_toc_estimate_keys(&pcxt->estimator, 3);
	InitializeParallelDSM(pcxt);
	w = put_work(pcxt->toc, work_size, key, value);
	shared = shm_toc_allocate(pcxt->toc, pages_size);
	memcpy(shared, pages, pages_size);
	pg_atomic_init_u32(&shared->next, 0);
	shm_toc_insert(pcxt->toc, KEY_PAGES, shared);
	place = shm_toc_allocate(pcxt->toc, AREA_BYTES);
	shm_toc_insert(pcxt->toc, KEY_AREA, place);
	if (pcxt->seg != NULL)		/* otherwise there was no room for one, and nobody will help */
	{
		area = dsa_create_in_place(place, AREA_BYTES, LWTRANCHE_PARALLEL_QUERY_DSA, pcxt->seg);
		LaunchParallelWorkers(pcxt);
	}
	if (parallel_leader_participation)
		emk_tail_read(t, shared, key, value);
	WaitForParallelWorkersToFinish(pcxt);
	emk_tail_read(t, shared, key, value);	/* what nobody took */
	if (area)
	{
		add_parts(t, w, pcxt->nworkers_launched, area);
		dsa_detach(area);
	}
	DestroyParallelContext(pcxt);
	ExitParallelMode();
}

void
emk_tail_read_together(EmkTail *t, EmkTailPages *pages, const text *key, const text *value)
{
	int			nhelpers = wanted_helpers(pages);

	if (nhelpers > 0)
		read_with(nhelpers, t, pages, key, value);
	else
		emk_tail_read(t, pages, key, value);
}

static text *
make_name(const char *p, int len)
{
	text	   *name;

	if (len < 0)
		return NULL;
	name = palloc(VARHDRSZ + len);
	SET_VARSIZE(name, VARHDRSZ + len);
	memcpy(VARDATA(name), p, len);
	return name;
}

PGDLLEXPORT void emk_report_tail_help(dsm_segment *seg, shm_toc *toc);

/* A helper: runs in a process of its own, in the leader's snapshot. */
void
emk_report_tail_help(dsm_segment *seg, shm_toc *toc)
{
	Work	   *w = shm_toc_lookup(toc, KEY_WORK, false);
	Help	   *mine = &w->helps[ParallelWorkerNumber];
	EmkTail    *t;

	if (w->form != FORM)
		return;
	t = emk_tail_start(CurrentMemoryContext);
	emk_tail_read(t, shm_toc_lookup(toc, KEY_PAGES, false), make_name(w->names, w->key_len),
				  make_name(w->names + Max(w->key_len, 0), w->value_len));
	mine->too_big = t->too_big;
	if (t->nevents > 0)
	{
		dsa_area   *area = dsa_attach_in_place(shm_toc_lookup(toc, KEY_AREA, false), seg);
		dsa_pointer part = dsa_allocate_extended(area, emk_tail_part_size(t), DSA_ALLOC_HUGE);

		emk_tail_put_part(t, dsa_get_address(area, part));
		mine->part = part;
		dsa_detach(area);
	}
}
