/*
 * armed.c: HOT. Which profiles are known to have a run of an inactivity rule that waits, so that their events need leave no work.
 *
 * Runs once per event and inactivity rule that it concerns, in the app's transaction. It may not wait. Guarded by `make bench` (the
 * dormant recipe).
 *
 * armed      (profile, rule) → a time until which a run is known to wait: half of its delay, because it re-reads the last event
 *            when it falls due. Delays under two hours are not worth it. An abort forgets it all, because the row that armed it
 *            may be gone; so does a change of the rules, and whoever ends such a run before its time (adopt, quarantine, undoing a
 *            merge) invalidates rule_event for that purpose.
 * to rely    an event that leaves no work relies on the run: it must be committed before the run is decided. Its transaction may stay
 *            open for longer, or be prepared. So each transaction remembers the first event by which it relied on a run, and leaves
 *            its work after all, just before it commits, when that may be too late or the rules or the clock were changed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "event/event.h"
#include "rule/match_int.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define ARMED_SLOTS 32768		/* power of two */
#define ARMED_MIN_DELAY (2 * USECS_PER_HOUR)

typedef struct Armed
{
	uint64		tag;
	TimestampTz until;
	uint64		relied;			/* the round in which somebody relied on it */
} Armed;

typedef struct Relied
{
	struct Relied *next;
	int64		event_id;
	TimestampTz occurred_at;
	int32		rule_id;
	int			depth;
	char		profile_id[FLEXIBLE_ARRAY_MEMBER];
} Relied;

static Armed *armed = NULL;
static uint64 armed_seed = 0;
static bool armed_dirty = false;	/* armed by the current transaction */
static Relied *relied = NULL;		/* of the current transaction, in its context */
static TimestampTz relied_until;	/* the earliest `until` among them */
static bool relied_changed;			/* rules or settings were changed since the first */
static uint64 round_no = 1;			/* a transaction, or what follows a subtransaction that was rolled back */

static void
forget(void)
{
	if (armed != NULL && armed_dirty)
		memset(armed, 0, sizeof(Armed) * ARMED_SLOTS);
	armed_dirty = false;
}

void
emk_rule_forget_armed(void)
{
	armed_dirty = true;
	forget();
}

static void
note_change(Datum arg, Oid relid)
{
	relied_changed = true;
}

/* Leaves the work of the events that relied on runs; those that were rolled back are gone when it is taken. */
static void
leave_work(void)
{
	EmkOwner	owner;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (emk_setting_initialized())
	{
		emk_owner_enter(&owner);
		for (const Relied *r = relied; r != NULL; r = r->next)
		{
			EmkWork		work = {'e', r->event_id, r->profile_id, r->occurred_at, &r->rule_id, 1, r->depth, false};

			emk_event_enqueue(&work, 1);
		}
		emk_owner_leave(&owner);
	}
	PopActiveSnapshot();
}

static void
before_end(bool prepare)
{
	if (relied == NULL)
		return;
	AcceptInvalidationMessages();
	/* the clock is at hand, or read anew where settings were changed between this call's look at it and rely() */
	if (prepare || relied_changed || emk_clock_now() >= relied_until)
		leave_work();
	relied = NULL;
}

static void
at_xact_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			before_end(event == XACT_EVENT_PRE_PREPARE);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			armed_dirty = false;
			round_no++;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget();
			relied = NULL;
			round_no++;
			break;
		default:
			break;
	}
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	forget();
	round_no++;
}

void
emk_rule_init_armed(void)
{
	emk_base_on_relcache(note_change);
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

static void
rely(Armed *slot, const EmkMatchRule *r, const EmkMatchInput *in)
{
	size_t		length = strlen(in->profile_id) + 1;
	Relied	   *new = MemoryContextAlloc(TopTransactionContext, offsetof(Relied, profile_id) + length);

	/*
	 * What was changed before the first counts already: a change of the rules has emptied `armed` before we came here, and a clock
	 * that was moved is the one that before_end() reads.
	 */
	if (relied == NULL)
	{
		relied_until = DT_NOEND;
		relied_changed = false;
	}
	*new = (Relied) {.next = relied, .event_id = in->event_id, .occurred_at = in->occurred_at, .rule_id = r->rule_id,
		.depth = in->depth};
	memcpy(new->profile_id, in->profile_id, length);
	relied = new;
	relied_until = Min(relied_until, slot->until);
	slot->relied = round_no;
}

bool
emk_rule_is_armed(const EmkMatchRule *r, const EmkMatchInput *in)
{
	TimestampTz due;
	uint64		tag;
	Armed	   *slot;

	if (in->event_id == 0)
		return false;
	if (armed == NULL)
	{
		armed = MemoryContextAllocZero(TopMemoryContext, sizeof(Armed) * ARMED_SLOTS);
		armed_seed = pg_prng_uint64(&pg_global_prng_state);
	}
	tag = hash_bytes_extended((const unsigned char *) in->profile_id, strlen(in->profile_id),
							  armed_seed + (uint64) r->rule_id);
	slot = &armed[tag & (ARMED_SLOTS - 1)];
	if (slot->tag == tag && in->now < slot->until)
	{
		if (slot->relied != round_no)
			rely(slot, r, in);
		return true;
	}
	due = emk_clock_add(in->occurred_at, r->lapse_after);
	/* one that this transaction relies on is not given away: that is what bounds their number */
	if (due - in->occurred_at < ARMED_MIN_DELAY || slot->relied == round_no)
		return false;
	slot->tag = tag;
	slot->until = in->occurred_at + (due - in->occurred_at) / 2;
	armed_dirty = true;
	return false;
}
