/*
 * loop.c: the life of one worker: SPINE 2.
 *
 * A turn: [take work, decide what is due at once] → [take due runs, decide] → [members of segments] → send (settle, claim,
 * submit) → sleep. Each bracket is one transaction. Nothing that is not yet done lives in memory: a turn that fails loses only time.
 *
 * What is decided while its endpoint is free is born in flight (emk_send_reserve) and leaves right after the commit.
 *
 * It sleeps until the earliest of: the next run's wake time, the next delivery, curl's sockets and timers, the latch, the safety
 * poll. A turn that only a socket woke looks neither for work nor for runs.
 *
 * A batch that fails is halved until it is one row, and a row that fails alone three times is set aside (quarantine). Faults of the
 * server (no space, no memory, shutdown, locks) are waited out instead.
 */
#include "postgres.h"

#include "access/xact.h"
#include "pgstat.h"
#include "segment/segment.h"
#include "utils/snapmgr.h"
#include "worker/pass.h"
#include "worker/worker.h"

#define BATCH_MAX 2000
#define SAFETY_POLL (5 * USECS_PER_SEC)
#define LATER_EVERY (10 * USECS_PER_SEC)
#define LATER_PAUSE (USECS_PER_SEC / 50)	/* while it has more to do: deliveries get their turn in between */
#define MAINTAIN_EVERY (3600 * USECS_PER_SEC)
#define MAINTAIN_AGAIN (5 * USECS_PER_SEC)	/* retention left something over */
#define MAINTAIN_RETRY (15 * USECS_PER_SEC)	/* somebody held the partitions */
#define RETRIES_ALONE 3
#define REPORT_EVERY (10 * USECS_PER_SEC)
#define AFTER_FAILURE (USECS_PER_SEC / 20)

/* One of the two phases of a turn, with what it learnt from failures */
typedef struct Phase
{
	const char *name;
	int			batch;			/* rows a transaction; halved by a failure, doubled by a success */
	int			failed_alone;	/* times in a row that a batch of one failed */
	int64		not_before;		/* monotonic: wait out a fault of the server */
	char		error[256];		/* the last message, for the decision of what is set aside */
} Phase;

static Phase work_phase = {"work", BATCH_MAX};
static Phase due_phase = {"due runs", BATCH_MAX};
static Phase aside_phase = {"set aside", 1};
static Phase upkeep_phase = {"upkeep", 1};
static Phase segment_phase = {"segments", BATCH_MAX};
static Phase later_phase = {"timelines", 1};
static int	my_slot;
static int	my_slots;
static EmkDueScan due_scan = {DT_NOBEGIN};
static TimestampTz next_wake = DT_NOBEGIN;	/* of a run; DT_NOBEGIN: look */
static TimestampTz next_segment = DT_NOBEGIN;	/* when segments have something to do by themselves */
static int64 next_maintain = 0;
static int64 next_later = 0;
static bool more_work;			/* the last scan for work took a full batch, or failed */

static void
begin(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

static void
finish(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

bool
emk_worker_is_server_fault(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case MAKE_SQLSTATE('0', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '5', '0', '0', '0'):
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('4', '2', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '5', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):
			return true;
		default:
			return false;
	}
}

bool
emk_worker_may_report(void)
{
	static int64 last = 0;
	int64		now = emk_clock_monotonic();

	if (last != 0 && now - last < REPORT_EVERY)
		return false;
	last = now;
	return true;
}

static void
learn(Phase *phase, const ErrorData *e)
{
	int64		now = emk_clock_monotonic();

	if (emk_worker_may_report())
		/* the message may hold a value from the data: only its code is written, the text goes to the decision */
		ereport(LOG,
				(errmsg("eventmkt: a batch of %s failed with SQLSTATE %s and will be tried again", phase->name,
						unpack_sql_state(e->sqlerrcode))));
	due_scan.low = next_wake = DT_NOBEGIN;	/* what they were raised past may be there still */
	if (emk_worker_is_server_fault(e->sqlerrcode))
		phase->not_before = now + USECS_PER_SEC / 5;
	else if (phase->batch > 1)
		phase->batch /= 2;
	else
		phase->failed_alone++;
}

static int
set_work_aside(int batch)
{
	emk_trigger_quarantine_work(work_phase.error, my_slot, my_slots, emk_clock_now());
	return 1;
}

static int
set_due_aside(int batch)
{
	emk_trigger_quarantine_due(due_phase.error, emk_clock_now());
	return 1;
}

static int
set_segment_aside(int batch)
{
	emk_segment_set_aside(emk_clock_now());
	return 1;
}

/*
 * Runs fn in a transaction; an ERROR ends the transaction and is learnt from. Returns rows handled, -1 after an ERROR and while
 * one is waited out: there is work left either way.
 */
static int
guarded(Phase *phase, int (*fn) (int batch))
{
	MemoryContext outside = CurrentMemoryContext;
	volatile int n = -1;

	if (emk_clock_monotonic() < phase->not_before)
		return -1;
	PG_TRY();
	{
		begin();
		n = fn(phase->batch);
		finish();
		phase->batch = Min(BATCH_MAX, phase->batch * 2);
		phase->failed_alone = 0;
	}
	PG_CATCH();
	{
		ErrorData  *e;

		MemoryContextSwitchTo(outside);
		e = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(outside);
		n = -1;
		if (!emk_worker_is_gone())
		{
			learn(phase, e);
			strlcpy(phase->error, e->message, sizeof(phase->error));
		}
		FreeErrorData(e);
	}
	PG_END_TRY();
	if (phase->failed_alone >= RETRIES_ALONE && (phase == &work_phase || phase == &due_phase || phase == &segment_phase))
	{
		phase->failed_alone = 0;
		guarded(&aside_phase, phase == &work_phase ? set_work_aside : phase == &due_phase ? set_due_aside : set_segment_aside);
	}
	return n;
}

static void
fire(EmkPass *p)
{
	if (p->due.n > 0 || p->decisions.n > 0)
		emk_worker_fire(p);
}

static int
take_work(int batch)
{
	EmkPass		p = {emk_clock_now(), emk_send_lease()};
	int			n = emk_trigger_take_work(batch, my_slot, my_slots, p.now, &p.due, &p.decisions);

	if (n > 0)
		EMK_PAUSE_POINT("work_taken");
	fire(&p);
	return n;
}

static int
take_due(int batch)
{
	EmkPass		p = {emk_clock_now(), emk_send_lease()};
	bool		whole;
	int			n = emk_worker_take_due(&due_scan, batch, &p, &whole);

	if (n > 0)
		EMK_PAUSE_POINT("due_taken");
	fire(&p);
	next_wake = emk_worker_due_taken(&due_scan);
	return n;
}

static int
take_segments(int batch)
{
	int			n = emk_segment_turn(batch, emk_clock_now(), &next_segment);

	n += emk_activate_turn(emk_clock_now(), &next_segment);
	if (n > 0)
		next_segment = DT_NOBEGIN;
	return n;
}

static EmkUpkeep later_upkeep[4];
static int	nlater = 0;

void
emk_worker_add_upkeep(EmkUpkeep fn)
{
	Assert(nlater < lengthof(later_upkeep));
	later_upkeep[nlater++] = fn;
}

static int
upkeep_of_later_layers(int batch)
{
	static int	which = 0;
	static bool more = false;
	EmkUpkeep	fn = later_upkeep[which];

	/* one a transaction, in turn: one that fails does not keep the others from theirs */
	if (which == 0)
		more = false;
	which = (which + 1) % nlater;
	if (fn(emk_clock_now()))
		more = true;
	next_later = emk_clock_monotonic() + (which > 0 ? 0 : more ? LATER_PAUSE : LATER_EVERY);
	return 0;
}

static int
upkeep(int batch)
{
	bool		done;
	bool		more = emk_worker_maintain(emk_clock_now(), 1, &done);

	next_maintain = emk_clock_monotonic() + (!done ? MAINTAIN_RETRY : more ? MAINTAIN_AGAIN : MAINTAIN_EVERY);
	return 0;
}

static int64
microseconds_until(TimestampTz t, int64 offset)
{
	if (t == DT_NOEND)
		return PG_INT64_MAX;
	return t == DT_NOBEGIN ? 0 : Max(0, t - (emk_clock_real() + offset));
}

/* Segments are the first worker's. */
static int64
microseconds_until_segments(int64 offset)
{
	return my_slot == 0 ? microseconds_until(next_segment, offset) : PG_INT64_MAX;
}

/* One turn: returns how long to sleep, in microseconds. */
static int64
turn(bool woken)
{
	static int64 last_poll = 0;
	static int64 offset = 0;
	int64		now = emk_clock_monotonic();
	TimestampTz next_delivery;
	int			work = 0;
	int			due = 0;
	int			segments = 0;

	if (woken || now - last_poll >= SAFETY_POLL)
	{
		last_poll = now;
		next_wake = next_segment = DT_NOBEGIN;
		work = guarded(&work_phase, take_work);
		StartTransactionCommand();
		offset = emk_clock_offset();
		CommitTransactionCommand();
		if (now >= next_maintain)
			guarded(&upkeep_phase, upkeep);
	}
	if (nlater > 0 && my_slot == 0 && now >= next_later)
	{
		next_later = now + LATER_EVERY; /* also after an error */
		guarded(&later_phase, upkeep_of_later_layers);
	}
	if (due_scan.owed && now >= due_scan.next_sweep)
		next_wake = DT_NOBEGIN;
	if (microseconds_until(next_wake, offset) == 0)
		due = guarded(&due_phase, take_due);
	if (microseconds_until_segments(offset) == 0)
		segments = guarded(&segment_phase, take_segments);
	next_delivery = emk_send_turn();
	more_work = work != 0;
	if (work > 0 || due > 0 || segments > 0)
		return 0;
	if (work < 0 || due < 0 || segments < 0)
		return AFTER_FAILURE;
	now = emk_clock_monotonic();
	return Min(Min(Min(microseconds_until(next_wake, offset), microseconds_until(next_delivery, offset)),
				   microseconds_until_segments(offset)),
			   Max(0, Min(Min(SAFETY_POLL - (now - last_poll), due_scan.owed ? due_scan.next_sweep - now : PG_INT64_MAX),
						  nlater > 0 && my_slot == 0 ? next_later - now : PG_INT64_MAX)));
}

void
emk_worker_loop(int slot, int slots)
{
	bool		woken = true;

	my_slot = slot;
	my_slots = slots;
	due_scan.next_sweep = next_maintain = next_later = 0;
	next_wake = next_segment = DT_NOBEGIN;
	emk_send_start(slot, slots);
	while (emk_worker_go_on())
	{
		int64		us = turn(emk_worker_take_wake(woken) || more_work);

		pgstat_report_activity(STATE_IDLE, NULL);
		(void) pgstat_report_stat(false);	/* at most once a second; autovacuum goes by it */
		emk_worker_keep_wake();
		us = Min(us, SAFETY_POLL);
		emk_worker_turns_within(us);
		woken = emk_send_wait((long) ((us + 999) / 1000));
	}
	if (emk_worker_may_drain())
		emk_send_drain();
	emk_send_stop();
}
