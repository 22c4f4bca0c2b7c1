/*
 * segment_mark.c: what the worker remembers of a person and segment, so that most events cost no look at the tables.
 *
 * Words
 *   mark   of one person and segment: in or out, as membership has it, and the bars of who is out
 *   bar    keeps somebody out whatever can only bring people in: so many more events of a count; steps of which nothing has
 *          happened; an absence that is broken until a time at which their timer wakes
 *
 * Rules
 *   1. An event, a late one too, lowers a count's bar by one at most, and time only takes events out of windows. So what comes
 *      lowers bars without a look, and while one of them stands nothing can change. An event that was read with the history and
 *      is taken as work after lowers a bar twice, which costs a look too early and nothing else.
 *   2. What can change an answer in other ways (traits, merges, timers, filling) asks, whatever the mark says.
 *   3. Marks are of one process. While it has any it holds an advisory lock, shared, and a turn elsewhere that finds the lock held
 *      tells everybody to forget, by an invalidation of eventmkt_data.segment that its commit sends; so does erase(). A worker
 *      holds the lock for life, a session to the end of its transaction.
 *   4. A transaction that is undone takes all marks with it; a changed segment does, too.
 *   5. Memory is bounded by eventmkt.segment_memory; where there is no room another mark makes it. Without a mark the tables
 *      are read.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "segment/segment_live.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define LOCK_CLASS	0x454d4b03
#define LOCK_KIND	8			/* as the epoch's: no SQL function takes it */
#define WAYS		4			/* marks of a bucket */
#define FIRST_MARKS	4096
#define BARRED_FOR_GOOD	PG_INT32_MAX

/* A person and segment are known by 96 bits of hash, with a seed that nobody knows. */
typedef struct Mark
{
	uint64		tag;			/* 0: free */
	uint32		where;			/* bucket, in the low bits */
	uint32		until;			/* seconds since 2000, rounded down: the absence is broken; 0: it is not */
	int32		need;			/* events of the count that are wanting; 0: none, or not known */
	uint16		missing;		/* steps, a bit each */
	bool		in;
} Mark;

static MemoryContext context = NULL;
static Mark *marks = NULL;
static uint32 nmarks = 0;		/* a power of two */
static uint32 used = 0;
static uint32 victim = 0;
static uint64 seeds[2];
static bool usable = false;		/* in this turn */
static bool stale = true;
static int	dirty = 0;			/* nesting level of the transaction that wrote marks; 0: all are of transactions that are over */
static Oid	segment_oid = InvalidOid;
static int	memory_kb = 65536;

void
emk_live_marks_forget(void)
{
	marks = NULL;
	nmarks = used = 0;
	usable = false;
	stale = false;
	if (context != NULL)
		MemoryContextReset(context);
}

static void
on_change(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == segment_oid)
		stale = true;
}

static void
at_xact_end(XactEvent event, void *arg)
{
	if (dirty == 0 || event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PARALLEL_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		return;
	if (event != XACT_EVENT_COMMIT)
		stale = true;
	dirty = 0;
	usable = false;
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB && level <= dirty)
		stale = true;
	if ((event == SUBXACT_EVENT_ABORT_SUB || event == SUBXACT_EVENT_COMMIT_SUB) && level <= dirty)
		dirty = level - 1;
}

void
emk_live_marks_init(void)
{
	DefineCustomIntVariable("eventmkt.segment_memory",
							"Memory in which the worker remembers who is near to which tracked segment.",
							NULL, &memory_kb, 65536, 0, 16 * 1024 * 1024, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	emk_base_on_relcache(on_change);
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

/* The lock that says "I have marks"; false when it cannot be had. *others: somebody else has some. */
static bool
hold_lock(bool *others)
{
	bool		for_life = MyBackendType == B_BG_WORKER;
	LockAcquireResult got;
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_CLASS, 0, LOCK_KIND);
	got = LockAcquire(&tag, ShareLock, for_life, true);
	if (got == LOCKACQUIRE_NOT_AVAIL)
		return false;
	if (got == LOCKACQUIRE_OK)
		stale = true;			/* it was not held: who knows what happened meanwhile */
	else
		LockRelease(&tag, ShareLock, for_life);
	*others = LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL;
	if (!*others)
		LockRelease(&tag, ExclusiveLock, false);
	return true;
}

void
emk_live_marks_begin(TimestampTz now)
{
	static TimestampTz last = DT_NOBEGIN;
	bool		others = false;
	bool		held = hold_lock(&others);

	segment_oid = emk_setting_table("segment");
	if (others || !held)
		emk_base_invalidate_table("segment");
	stale |= now < last;		/* a clock that went back brings events into windows again */
	last = now;
	if (stale || others || !held || (uint64) nmarks * sizeof(Mark) > (uint64) memory_kb * 1024)
		emk_live_marks_forget();
	usable = held && !others;
	dirty = Max(dirty, GetCurrentTransactionNestLevel());
}

static bool
make_room(uint32 n)
{
	Mark	   *old = marks;
	uint32		had = nmarks;

	if ((uint64) n * sizeof(Mark) > (uint64) memory_kb * 1024)
		return false;
	if (context == NULL)
	{
		context = AllocSetContextCreate(TopMemoryContext, "eventmkt segment marks", ALLOCSET_DEFAULT_SIZES);
		seeds[0] = pg_prng_uint64(&pg_global_prng_state);
		seeds[1] = pg_prng_uint64(&pg_global_prng_state);
	}
	marks = MemoryContextAllocExtended(context, sizeof(Mark) * n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	nmarks = n;
	used = 0;
	for (uint32 i = 0; i < had; i++)
	{
		Mark	   *bucket = &marks[old[i].where & (n - WAYS)];

		for (int k = 0; old[i].tag != 0 && k < WAYS; k++)
			if (bucket[k].tag == 0)
			{
				bucket[k] = old[i];
				used++;
				break;
			}
	}
	if (old != NULL)
		pfree(old);
	return true;
}

/* The mark of a pair; NULL when there is none. With `make` an empty one then, where there can be any. */
static Mark *
find(const EmkPair *p, bool make)
{
	size_t		len = strlen(p->profile_id);
	uint64		tag;
	uint32		where;
	Mark	   *bucket;
	Mark	   *room = NULL;

	if (make && used >= nmarks / 2)
		(void) make_room(nmarks == 0 ? FIRST_MARKS : nmarks * 2);
	if (nmarks == 0)
		return NULL;
	tag = hash_bytes_extended((const unsigned char *) p->profile_id, len, seeds[0] + (uint64) p->s->id);
	tag += tag == 0;
	where = (uint32) hash_bytes_extended((const unsigned char *) p->profile_id, len, seeds[1] ^ (uint64) p->s->id);
	bucket = &marks[where & (nmarks - WAYS)];
	for (int k = 0; k < WAYS; k++)
	{
		if (bucket[k].tag == tag && bucket[k].where == where)
			return &bucket[k];
		if (bucket[k].tag == 0)
			room = &bucket[k];
	}
	if (!make)
		return NULL;
	if (room == NULL)
		room = &bucket[victim++ % WAYS];
	else
		used++;
	memset(room, 0, sizeof(*room));
	room->tag = tag;
	room->where = where;
	return room;
}

bool
emk_live_mark_settles(const EmkPair *p, TimestampTz now)
{
	Mark	   *m = usable && !stale && !(p->code & EMK_WEIGH_ASK) ? find(p, false) : NULL;

	if (m == NULL)
		return false;
	if (m->in)
		return !(p->code & EMK_WEIGH_LEAVE);
	if (!(p->code & EMK_WEIGH_ENTER))
		return true;
	if (m->need != BARRED_FOR_GOOD)
		m->need = Max(m->need - Min(p->hits, m->need), 0);
	m->missing &= ~p->steps;
	return m->need > 0 || m->missing != 0 || now < (TimestampTz) m->until * USECS_PER_SEC;
}

void
emk_live_mark_put(const EmkPair *p)
{
	Mark	   *m = usable && !stale ? find(p, !p->gone) : NULL;
	bool		in = p->asked ? p->answer.in : p->was;

	if (m == NULL)
		return;
	if (p->gone)
	{
		m->tag = 0;				/* asked again before anything else is, when the merge is undone */
		used--;
		return;
	}
	m->in = in;
	m->need = 0;
	m->missing = 0;
	m->until = 0;
	if (in || !p->asked)
		return;
	m->need = p->bars.never ? BARRED_FOR_GOOD : p->bars.need;
	m->missing = p->bars.missing;
	if (p->bars.absent && p->answer.change != DT_NOEND && p->answer.change > 0)
		m->until = (uint32) Min(p->answer.change / USECS_PER_SEC, (TimestampTz) PG_UINT32_MAX);
}
