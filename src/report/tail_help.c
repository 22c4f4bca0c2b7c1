/*
 * tail_help.c: the tail is gathered by several processes where the question has several. Nobody reads a packed row before the tail is
 * whole, so all of the question waits for it.
 *
 * A question's own helpers do not exist yet when its tail is gathered, so these are others, for this alone. They take pieces of pages
 * as the leader does and leave what they gathered in shared memory; the leader adds it to its own. A helper that comes late finds
 * nothing left to do, one that does not come is not missed. Where shared memory is short there are no helpers, or what one of them
 * gathered is lost: then the leader reads everything itself.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "base/base.h"
#include "common/hashfn.h"
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
	bool		lost;			/* it gathered something, and there was no room for it */
} Help;

typedef struct Work
{
	uint64		form;			/* the first in every version: a helper of another one takes nothing and leaves nothing */
	Help		helps[MAX_HELPERS]; /* each written by its helper alone, read when that has ended */
	int			key_len;		/* -1: none */
	int			value_len;
	char		names[FLEXIBLE_ARRAY_MEMBER];	/* of the properties: key, value */
} Work;

static uint64
form(void)
{
	static const uint32 layout[] = {
		KEY_WORK, KEY_PAGES, KEY_AREA, MAX_HELPERS, sizeof(Help), offsetof(Help, part), offsetof(Help, too_big), offsetof(Help, lost),
		sizeof(Work), offsetof(Work, helps), offsetof(Work, key_len), offsetof(Work, value_len), offsetof(Work, names)
	};

	return hash_bytes_extended((const unsigned char *) layout, sizeof(layout), emk_tail_form());
}

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
	w->form = form();
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

/* What the helpers gathered, when they have ended; false, and nothing is left of t, when something of it is lost. */
static bool
add_parts(EmkTail *t, const Work *w, int n, dsa_area *area)
{
	for (int i = 0; i < n; i++)
		if (w->helps[i].lost)
		{
			emk_tail_empty(t);
			return false;
		}
	for (int i = 0; i < n; i++)
	{
		if (w->helps[i].too_big)
			emk_tail_give_up(t);
		if (DsaPointerIsValid(w->helps[i].part))
			emk_tail_add_part(t, dsa_get_address(area, w->helps[i].part));
	}
	return true;
}

static void
share_work(void *arg)
{
	ParallelContext *pcxt = arg;

	InitializeParallelDSM(pcxt);
	if (pcxt->seg != NULL)
		dsm_pin_mapping(pcxt->seg);	/* it goes with the context, also after an error */
}

/* False: somebody has to read all of it. */
static bool
read_with(int nhelpers, EmkTail *t, const EmkTailPages *pages, const text *key, const text *value)
{
	Size		pages_size = emk_tail_pages_size(pages->ntables);
	Size		work_size = offsetof(Work, names) + Max(name_len(key), 0) + Max(name_len(value), 0);
	ParallelContext *pcxt;
	EmkTailPages *shared;
	Work	   *w;
	dsa_area   *area;
	void	   *place;
	bool		whole;

	EnterParallelMode();
	pcxt = CreateParallelContext("eventmkt", "emk_report_tail_help", nhelpers);
	shm_toc_estimate_chunk(&pcxt->estimator, work_size);
	shm_toc_estimate_chunk(&pcxt->estimator, pages_size);
	shm_toc_estimate_chunk(&pcxt->estimator, AREA_BYTES);
	shm_toc_estimate_keys(&pcxt->estimator, 3);
	if (!emk_tail_share(share_work, pcxt))
		pcxt->seg = NULL;		/* it is gone, should it have been made */
	if (pcxt->seg == NULL)
	{
		DestroyParallelContext(pcxt);
		ExitParallelMode();
		return false;
	}
	w = put_work(pcxt->toc, work_size, key, value);
	shared = shm_toc_allocate(pcxt->toc, pages_size);
	memcpy(shared, pages, pages_size);
	pg_atomic_init_u32(&shared->next, 0);
	shm_toc_insert(pcxt->toc, KEY_PAGES, shared);
	place = shm_toc_allocate(pcxt->toc, AREA_BYTES);
	shm_toc_insert(pcxt->toc, KEY_AREA, place);
	area = dsa_create_in_place(place, AREA_BYTES, LWTRANCHE_PARALLEL_QUERY_DSA, pcxt->seg);
	LaunchParallelWorkers(pcxt);
	if (parallel_leader_participation)
		emk_tail_read(t, shared, key, value);
	WaitForParallelWorkersToFinish(pcxt);
	emk_tail_read(t, shared, key, value);	/* what nobody took */
	whole = add_parts(t, w, pcxt->nworkers_launched, area);
	dsa_detach(area);
	DestroyParallelContext(pcxt);
	ExitParallelMode();
	return whole;
}

void
emk_tail_read_together(EmkTail *t, EmkTailPages *pages, const text *key, const text *value)
{
	int			nhelpers = wanted_helpers(pages);

	if (nhelpers == 0 || !read_with(nhelpers, t, pages, key, value))
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

typedef struct Leaving
{
	const EmkTail *tail;
	dsm_segment *seg;
	void	   *place;			/* of the area */
	dsa_pointer part;
} Leaving;

static void
leave_part(void *arg)
{
	Leaving    *l = arg;
	dsa_area   *area = dsa_attach_in_place(l->place, l->seg);

	l->part = dsa_allocate_extended(area, emk_tail_part_size(l->tail), DSA_ALLOC_HUGE | DSA_ALLOC_NO_OOM);
	if (DsaPointerIsValid(l->part))
		emk_tail_put_part(l->tail, dsa_get_address(area, l->part));
	dsa_detach(area);
}

PGDLLEXPORT void emk_report_tail_help(dsm_segment *seg, shm_toc *toc);

/* A helper: runs in a process of its own, in the leader's snapshot. */
void
emk_report_tail_help(dsm_segment *seg, shm_toc *toc)
{
	Work	   *w = shm_toc_lookup(toc, KEY_WORK, false);
	Help	   *mine = &w->helps[ParallelWorkerNumber];
	EmkTail    *t;

	if (w->form != form())
		return;
	t = emk_tail_start(CurrentMemoryContext);
	emk_tail_read(t, shm_toc_lookup(toc, KEY_PAGES, false), make_name(w->names, w->key_len),
				  make_name(w->names + Max(w->key_len, 0), w->value_len));
	mine->too_big = t->too_big;
	if (t->nevents > 0)
	{
		Leaving		l = {t, seg, shm_toc_lookup(toc, KEY_AREA, false), InvalidDsaPointer};

		if (emk_tail_share(leave_part, &l) && DsaPointerIsValid(l.part))
			mine->part = l.part;
		else
			mine->lost = true;
	}
}
