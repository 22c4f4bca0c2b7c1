/*
 * send.c: the delivery half of the worker: from rows of the outbox to answers and back. It owns the slots of what is under
 * way and the order of things; peer.c knows the endpoints, claim.c and settle.c speak to the tables, deliver/http.c to the net.
 *
 * A delivery in the worker (EmkSend.state), with the function of each change:
 *
 *   free --emk_claim_ready--> claimed --commit, submit--> open --answer--> done --emk_settle_done, commit--> free
 *   free --emk_send_adopt, birth.c (its row is born in flight)--> claimed
 *   claimed --rollback--> free           done --rollback--> done, settled by a later transaction
 *
 * Rules
 * 1. No transaction, snapshot or lock is open while a request is under way.
 * 2. What is marked in flight carries our epoch, and we hold the epoch's lock until this process ends. An epoch whose lock
 *    nobody holds is dead, and its rows are anybody's (emk_lease_free_lost). A result is stored only where the row still
 *    carries our epoch and the number of this try.
 * 3. The WAL of a claim is flushed before its requests begin, whatever synchronous_commit says: nothing is sent for an event
 *    that a crash could still take back.
 * 4. Settling and claiming share a transaction. It begins when it is worth it: most of what is under way has been answered,
 *    or the oldest answer waits for a millisecond.
 * 5. eventmkt.max_in_flight counts tries of the last quarter second to endpoints that answer so soon. Others are slow: they have
 *    their own limit, their breaker, and a falling share of the slots, so that they never keep the others from being served.
 *
 * Memory: slots and peers in TopMemoryContext; each slot a context of its own, reset when it is free.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/pg_prng.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "worker/send_int.h"

#define SETTLE_WAIT		1000		/* microseconds an answer may wait for company */
#define FAST			250000		/* a try younger than this counts against eventmkt.max_in_flight */
#define POLL_EVERY		(5 * USECS_PER_SEC)
#define LOST_EVERY		(2 * USECS_PER_SEC)
#define LONGEST_BACKOFF	(4 * USECS_PER_SEC)	/* after a full disk all is to flow again within ten seconds */
#define AFTER_POISON	5000		/* a batch failed because of one of its rows: a smaller one is tried */
#define SWEEP_SHARE		100		/* scans from the beginning may take a hundredth of a processor */
#define COST_OF_ONE		30		/* microseconds of a processor to claim a delivery, which is no part of that */
#define ORPHANS_EVERY	(60 * USECS_PER_SEC)
#define HEAL_AT_MOST	1000		/* lanes of a look */
#define DRAIN_FOR		(USECS_PER_SEC / 2)	/* what was open at a planned stop may be answered for so long */
#define LOOKUP_LINGERS	(30 * USECS_PER_SEC)	/* a look-up that was given up keeps its thread no longer */
#define MAX_LINGERING	256

int64		emk_send_epoch = 0;
EmkSend    *emk_send_slots = NULL;
int			emk_send_nslots = 0;

static int	open_count = 0;
static int	done_count = 0;
static int	fast_count = 0;
static int	lookups = 0;
static int64 oldest_done = 0;		/* monotonic */
static int64 fast_until = 0;		/* monotonic: when the oldest fast try becomes a slow one */
static int	free_hint = 0;
static bool scan_wanted = true;		/* somebody may have changed something: ask for all endpoints */
static int64 scan_allowed = 0;		/* monotonic: not before */
static int64 polled_at = 0;
static int64 next_sweep = 0;		/* monotonic: when the endpoints' low-water marks may be forgotten */
static bool sweep_owed = false;		/* a scan was wanted before that time: it comes then */
static int64 orphans_at = 0;
static int64 lost_at = 0;
static int64 retry_at = 0;			/* monotonic: after an error, not before */
static int64 backoff = 0;
static bool draining = false;
static bool first = false;			/* of the workers of this database */
static EmkStage stage = EMK_STAGE_OTHER;	/* what the transaction under way is at */
static int64 deadline = PG_INT64_MAX;	/* monotonic: emk_send_wait() returns then */
static int64 offset = 0;			/* of business time, as of the last transaction */
static int64 clock_lead = 0;		/* of the wall clock over the monotonic one, as of the last transaction */
static int	rotation = 0;
static int64 lingering[MAX_LINGERING];	/* monotonic times at which given-up look-ups are over */
static int	nlingering = 0;
static ResourceOwner signing = NULL;

static EmkPlan epoch_plan = {
	"SELECT pg_catalog.nextval('eventmkt_data.epoch_seq')", 0, {0}
};

double
emk_send_random(void)
{
	return pg_prng_double(&pg_global_prng_state);
}

int
emk_send_lookups(void)
{
	return lookups;
}

void
emk_send_add_lookup(void)
{
	lookups++;
}

/* Answers that wait to be settled now: not those that could not be, and wait for another try */
static int
fresh_count(void)
{
	return done_count - emk_poison_aside();
}

int64
emk_send_lease(void)
{
	return emk_send_epoch;
}

/* Business time outside a transaction */
static TimestampTz
business_now(void)
{
	return emk_clock_real() + offset;
}

/* ---- slots ---- */

EmkSend *
emk_send_take_slot(EmkPeer *peer)
{
	for (int i = 0; i < emk_send_nslots; i++)
	{
		EmkSend    *s = &emk_send_slots[(free_hint + i) % emk_send_nslots];

		if (s->state != EMK_SEND_FREE)
			continue;
		free_hint = s->slot;
		if (s->context == NULL)
			s->context = AllocSetContextCreate(TopMemoryContext, "eventmkt delivery", ALLOCSET_SMALL_SIZES);
		s->state = EMK_SEND_CLAIMED;
		s->settled = s->picked = false;
		s->born_in = InvalidSubTransactionId;
		s->peer = peer;
		peer->in_flight++;
		return s;
	}
	return NULL;
}

void
emk_send_free_slot(EmkSend *s)
{
	Assert(s->state == EMK_SEND_CLAIMED || s->state == EMK_SEND_DONE);
	s->state = EMK_SEND_FREE;
	if (s->strikes > 0)
		s->peer->aside--;
	else
		s->peer->in_flight--;
	s->peer = NULL;
	s->strikes = 0;
	s->error = s->excerpt = NULL;
	MemoryContextReset(s->context);
	free_hint = Min(free_hint, s->slot);	/* the low slots are the ones whose handles are warm */
}

/* An address is known for less long than curl keeps it. */
static void
name_resolved(EmkPeer *p, int64 mono)
{
	p->host = EMK_NAME_KNOWN;
	p->warm_until = mono + 55 * USECS_PER_SEC;
}

/* Counts what is under way: young tries, name look-ups, and which peers' names are known to resolve. */
static void
survey(int64 mono)
{
	int			seen = 0;
	int			used = open_count + done_count;

	fast_count = lookups = 0;
	fast_until = PG_INT64_MAX;
	for (int i = 0; i < emk_send_nslots && seen < used; i++)
	{
		EmkSend    *s = &emk_send_slots[i];

		if (s->state == EMK_SEND_FREE)
			continue;
		seen++;
		if (s->state != EMK_SEND_OPEN)
			continue;
		if (mono - s->sent_mono >= FAST)
			s->peer->slow = true;
		else if (!s->peer->slow)
		{
			fast_count++;
			fast_until = Min(fast_until, s->sent_mono + FAST);
		}
		if (emk_http_resolved(s->slot))
			name_resolved(s->peer, mono);
		else if (emk_peer_is_cold(s->peer, mono))
			lookups++;
	}
	while (nlingering > 0 && lingering[0] < mono)
		memmove(lingering, lingering + 1, sizeof(int64) * --nlingering);
	if (nlingering > 0)
	{
		int			threads = emk_http_lookups();

		if (threads >= 0 && nlingering > Max(0, threads - lookups))
		{
			int			over = nlingering - Max(0, threads - lookups);

			nlingering -= over;
			memmove(lingering, lingering + over, sizeof(int64) * nlingering);
		}
		lookups += nlingering;
	}
}

int
emk_send_spare(void)
{
	return Max(0, emk_send_nslots - open_count - done_count - emk_birth_count());
}

int
emk_send_free_total(void)
{
	return Max(0, Min(emk_send_spare(), emk_guc_max_in_flight - fast_count - emk_birth_count()));
}

/* ---- sending ---- */

static void
answered(EmkSend *s, int status, int64 latency_us, const char *error, const char *retry_after)
{
	EmkTry		t = {.status = status, .attempts = s->attempts, .schedule = s->schedule, .nschedule = s->nschedule,
		.retry_after = retry_after && retry_after[0] ? retry_after : NULL,
		.now = business_now(), .real = emk_clock_real(), .spread = emk_send_random()
	};

	done_count++;
	if (fresh_count() == 1)
		oldest_done = emk_clock_monotonic();
	s->state = EMK_SEND_DONE;
	s->status = status;
	s->latency_us = latency_us;
	s->peer->slow = latency_us >= FAST || (s->peer->slow && status == 0);
	s->lead = t.real - emk_clock_monotonic();
	s->plan = emk_retry_plan(&t);
	if (status == 0)
		s->error = MemoryContextStrdup(s->context, error[0] ? error : "no answer");
	else if (s->plan.verdict != EMK_TRY_DELIVERED)
	{
		char		text[32];

		snprintf(text, sizeof(text), "status %d", status);
		s->error = MemoryContextStrdup(s->context, text);
	}
	emk_peer_learn(s->peer, s, t.now);
}

/* Signs and begins the request of a slot; what cannot begin is answered at once. */
static void
submit(EmkSend *s)
{
	EmkRequest	r = {.target = s->peer->target, .body = s->body, .length = s->length};
	ResourceOwner before = CurrentResourceOwner;
	char	   *id = r.id;

	Assert(s->state == EMK_SEND_CLAIMED);
	s->sent_at = emk_clock_real();
	s->sent_mono = emk_clock_monotonic();
	emk_peer_sent(s->peer, s->sent_mono);
	for (int i = 0; i < UUID_LEN; i++)
	{
		static const char hex[] = "0123456789abcdef";

		if (i == 4 || i == 6 || i == 8 || i == 10)
			*id++ = '-';
		*id++ = hex[s->id.data[i] >> 4];
		*id++ = hex[s->id.data[i] & 15];
	}
	*id = '\0';
	r.timestamp = s->sent_at / USECS_PER_SEC + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	CurrentResourceOwner = signing;
	if (emk_sign_message(r.signatures, r.id, r.timestamp, s->body, s->length, s->peer->secrets, s->peer->nsecrets,
						 business_now()) == 0)
		answered(s, 0, 0, "the message could not be signed", NULL);
	else if (r.target == NULL || !emk_http_submit(s->slot, &r))
		answered(s, 0, 0, "out of memory or file descriptors", NULL);
	else
	{
		s->state = EMK_SEND_OPEN;
		open_count++;
	}
	CurrentResourceOwner = before;
}

static void
take_answers(void)
{
	const EmkAnswer *a;

	while ((a = emk_http_answer()) != NULL)
	{
		EmkSend    *s = &emk_send_slots[a->slot];
		int64		mono = emk_clock_monotonic();
		MemoryContext before;

		open_count--;
		if (a->resolved)
			name_resolved(s->peer, mono);
		else if (!s->peer->literal)
		{
			s->peer->host = EMK_NAME_FAILED;
			if (nlingering < MAX_LINGERING)
				lingering[nlingering++] = mono + LOOKUP_LINGERS;
		}
		before = MemoryContextSwitchTo(s->context);
		s->excerpt = emk_http_excerpt(a);
		MemoryContextSwitchTo(before);
		answered(s, a->status, a->latency_us, a->error, a->retry_after);
		EMK_PAUSE_POINT("answered");
	}
}

/* Sends what was adopted by a transaction that has committed. */
static void
send_adopted(void)
{
	EMK_PAUSE_POINT("born_committed");
	XLogFlush(XactLastCommitEnd);
	for (int i = 0; i < emk_send_nslots; i++)
		if (emk_send_slots[i].state == EMK_SEND_CLAIMED)
			submit(&emk_send_slots[i]);
}

/* ---- the turn ---- */

/*
 * The endpoints to ask for rows now, at most how many each, and, with them, when to ask again: `deadline` (monotonic) and the
 * returned business time. Without arrays they are only counted; arrays have room for emk_peer_count, which a refresh changes.
 */
static TimestampTz
plan_claims(EmkPeer **peers, int *limits, int *n, int64 mono, bool scan)
{
	TimestampTz now = business_now();
	TimestampTz next = DT_NOEND;
	int			total = emk_send_free_total();
	int			spare = emk_send_nslots - open_count - done_count;
	int			looked_up = lookups;

	*n = 0;
	/* an endpoint that has no room now is asked once it has */
	for (int i = 0; scan && i < emk_peer_count; i++)
		emk_peers[i]->maybe = true;
	if (total == 0)
	{
		if (emk_send_nslots > open_count + done_count)
			deadline = Min(deadline, fast_until);
		return next;
	}
	for (int i = 0; i < emk_peer_count; i++)
	{
		EmkPeer    *p = emk_peers[(rotation + i) % emk_peer_count];
		bool		wanted = p->maybe || p->next_ready <= now;
		int			room;

		if (!wanted)
		{
			if (p->enabled && p->hold == NULL && p->in_flight < p->max_in_flight)
				next = Min(next, p->next_ready);
			continue;
		}
		room = emk_peer_capacity(p, now, mono, &deadline);
		if (room == 0)
		{
			if (p->breaker.open_until > now && p->enabled && p->hold == NULL)
				next = Min(next, p->breaker.open_until);
			continue;
		}
		lookups += emk_peer_is_cold(p, mono);
		if (peers != NULL)
		{
			peers[*n] = p;
			limits[*n] = Min(room, Max(1, (spare + 3) / 4));
		}
		(*n)++;
	}
	lookups = looked_up;		/* a plan only: the next survey counts what came of it */
	return next;
}

static bool
settle_due(int64 mono)
{
	int			fresh = fresh_count();

	return mono >= emk_poison_next() ||
		(fresh > 0 && (open_count == 0 || fresh >= 48 || fresh >= 3 * open_count || mono - oldest_done >= SETTLE_WAIT));
}

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	/* our plans go by the key they are given, however empty the tables look; until the end of the transaction */
	NewGUCNestLevel();
	for (int i = 0; i < 4; i++)
	{
		static const char *const settings[][2] = {
			{"enable_seqscan", "off"}, {"enable_hashjoin", "off"}, {"enable_mergejoin", "off"},
			{"plan_cache_mode", "force_generic_plan"}
		};

		set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
}

/* Deferred triggers of others raise now, while it is known what for, and not at the commit. */
static void
end_stage(void)
{
	ConstraintsSetStmt all = {.type = T_ConstraintsSetStmt};

	AfterTriggerSetState(&all);
	stage = EMK_STAGE_OTHER;
}

static void
finish(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	XLogFlush(XactLastCommitEnd);
}

/* One transaction: frees what dead workers left in flight, and what waits for endpoints that are gone. Returns how many. */
static int
free_lost(int64 mono, bool scan, int *settled)
{
	int			limit = emk_poison_limit(EMK_STAGE_LOST);
	int			lost = 0;

	begin();
	stage = EMK_STAGE_LOST;
	lost_at = mono;
	if (emk_guc_enabled && !draining && emk_setting_is_home())
	{
		TimestampTz now = emk_clock_now();

		lost = emk_lease_free_lost(limit, limit < 1024, now);
		if (lost > 0)
			EMK_PAUSE_POINT("lost_released");
		if (lost == limit)
			lost_at = 0;		/* there may be more */
		end_stage();
		if (lost > 0 || mono - orphans_at >= ORPHANS_EVERY || orphans_at == 0)
		{
			emk_claim_orphans(now);
			orphans_at = mono;
		}
	}
	finish();
	emk_poison_worked(EMK_STAGE_LOST);
	return lost;
}

/*
 * How far the wall clock was set back since the last transaction, in microseconds; 0 for what is no more than its keeping right. A
 * retry is a back-off, not an appointment: it must not wait until the clock is there again.
 */
static int64
clock_step(int64 *lead)
{
	*lead = emk_clock_real() - emk_clock_monotonic();
	return clock_lead != 0 && clock_lead - *lead > EMK_CLOCK_STEP ? clock_lead - *lead : 0;
}

void
emk_send_clock_back(EmkSend *s)
{
	int64		lead = emk_clock_real() - emk_clock_monotonic();

	if (s->plan.verdict == EMK_TRY_RETRY && s->lead - lead > EMK_CLOCK_STEP)
		s->plan.next -= s->lead - lead;
	s->lead = lead;
}

/*
 * What waits for a retry by a clock that was set back: by `back` just now; or, when this worker knows of no earlier time, before it
 * came: then an endpoint failed, or a message was made, at a time that is still to come.
 */
static void
clock_was_set_back(int64 back, int64 lead, TimestampTz now)
{
	/* first: what it moves is not moved once more below */
	if (clock_lead == 0 && emk_peer_count > 0)
		emk_claim_unborn(emk_peers, emk_peer_count, now);
	for (int i = 0; i < emk_peer_count; i++)
	{
		EmkPeer    *p = emk_peers[i];
		int64		by = clock_lead == 0 ? p->last_failure - now : back;

		if (by <= EMK_CLOCK_STEP)
			continue;
		if (emk_claim_clock_back(&p, 1, by, now))
		{
			if (clock_lead == 0)
				emk_peer_clock_found(p, by);
			else
				emk_peer_clock_follow(p, lead);
		}
		polled_at = 0;
	}
}

/* One transaction: settles, then claims. Returns how many deliveries it claimed. */
static int
work(int64 mono, bool scan, int *settled)
{
	EmkPeer   **peers;
	int		   *limits;
	int			claimed = 0;
	int			n;
	bool		sweep = false;
	int64		cpu;
	int64		lead;
	int64		back = clock_step(&lead);
	TimestampTz now;

	begin();
	stage = EMK_STAGE_OTHER;
	emk_peer_refresh();
	offset = emk_clock_offset();
	now = emk_clock_now();
	if ((back > 0 || clock_lead == 0) && emk_setting_is_home())
		clock_was_set_back(back, lead, now);
	stage = EMK_STAGE_SETTLE;
	*settled = emk_settle_done(mono, now);
	end_stage();
	emk_peer_write(mono);
	emk_poison_write();
	if (emk_guc_enabled && !draining && emk_setting_is_home())
	{
		if (mono - polled_at >= POLL_EVERY)
		{
			polled_at = mono;
			scan = sweep = true;
			if (first && emk_claim_heal(HEAL_AT_MOST, now))
				emk_wake_at_commit();	/* their endpoints may be others', and there may be more */
		}
		/* what a long transaction put lies below the marks when it commits */
		cpu = emk_clock_cpu();
		sweep |= scan && emk_clock_monotonic() >= next_sweep;
		sweep_owed = !sweep && (scan || sweep_owed);
		for (int i = 0; sweep && i < emk_peer_count; i++)
			emk_peers[i]->low = DT_NOBEGIN;
		peers = palloc(sizeof(EmkPeer *) * Max(emk_peer_count, 1));
		limits = palloc(sizeof(int) * Max(emk_peer_count, 1));
		plan_claims(peers, limits, &n, mono, scan);
		stage = EMK_STAGE_CLAIM;
		if (n > 0)
			claimed = emk_claim_ready(peers, limits, n, Min(emk_send_free_total(), emk_poison_limit(EMK_STAGE_CLAIM)), now);
		end_stage();
		if (sweep)
			next_sweep = emk_clock_monotonic() + SWEEP_SHARE * Max(emk_clock_cpu() - cpu - claimed * COST_OF_ONE, 0);
	}
	finish();
	clock_lead = lead;
	emk_peer_clock_ended(true, lead);
	if (*settled > 0)
		emk_poison_worked(EMK_STAGE_SETTLE);
	if (claimed > 0)
		emk_poison_worked(EMK_STAGE_CLAIM);
	return claimed;
}

/* After an ERROR: nothing was claimed or settled; says so once in a while, and lets some time pass. */
static void
recover(ErrorData *e)
{
	int64		mono = emk_clock_monotonic();
	bool		poison;

	AbortCurrentTransaction();
	emk_peer_clock_ended(false, 0);
	/*
	 * Class 42 is a trigger's that names what is not there, maybe for one row. Claiming passes over locked rows; one that is to be
	 * settled is waited for, and then waits without the others.
	 */
	poison = (!emk_worker_is_server_fault(e->sqlerrcode) ||
			  ERRCODE_TO_CATEGORY(e->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_UNDEFINED_TABLE) ||
			  (stage == EMK_STAGE_SETTLE && e->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)) && emk_poison_failed(stage, e->message);
	for (int i = 0; i < emk_send_nslots; i++)
	{
		emk_send_slots[i].settled = false;
		if (emk_send_slots[i].state == EMK_SEND_CLAIMED)
			emk_send_free_slot(&emk_send_slots[i]);
	}
	if (!poison)
		backoff = Min(Max(backoff * 2, USECS_PER_SEC / 10), LONGEST_BACKOFF);
	retry_at = mono + (poison ? AFTER_POISON : backoff);
	if (emk_worker_is_gone())
		return;
	if (emk_worker_may_report())
		ereport(LOG,
				(errcode(e->sqlerrcode),
				 errmsg("eventmkt could not settle or claim deliveries (SQLSTATE %s)", unpack_sql_state(e->sqlerrcode)),
				 errdetail("It tries again in a moment; nothing is lost.")));
}

/* Runs one of the two transactions; -1 after an ERROR. */
static int
guarded(int (*fn) (int64 mono, bool scan, int *settled), int64 mono, bool scan, int *settled)
{
	MemoryContext before = CurrentMemoryContext;
	volatile int result = -1;

	PG_TRY();
	{
		int			n = 0;

		result = fn(mono, scan, &n);
		*settled = n;
	}
	PG_CATCH();
	{
		ErrorData  *e;

		MemoryContextSwitchTo(before);
		e = CopyErrorData();
		FlushErrorState();
		recover(e);
		FreeErrorData(e);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	return result;
}

static void
run(int64 mono, bool scan)
{
	int			settled = 0;
	int			claimed;
	int64		took;

	if (mono - lost_at >= LOST_EVERY)
		scan |= guarded(free_lost, mono, scan, &settled) > 0;
	claimed = guarded(work, mono, scan, &settled);
	if (claimed < 0)
	{
		sweep_owed |= scan;
		rotation++;				/* where a row stands in the way, the others come first */
		return;
	}
	backoff = retry_at = 0;
	if (settled > 0)
		EMK_PAUSE_POINT("settle_committed");
	if (claimed > 0)
		EMK_PAUSE_POINT("claim_committed");
	emk_peer_written();
	for (int i = 0; i < emk_send_nslots && (settled > 0 || claimed > 0); i++)
	{
		EmkSend    *s = &emk_send_slots[i];

		if (s->state == EMK_SEND_DONE && settled > 0 && s->settled)
		{
			settled--;
			done_count--;
			emk_send_free_slot(s);
		}
		else if (s->state == EMK_SEND_CLAIMED)
		{
			claimed--;
			submit(s);
		}
	}
	oldest_done = emk_clock_monotonic();
	took = oldest_done - mono;
	if (scan)
		scan_allowed = oldest_done + Max(10 * took, 2000);
	emk_http_drive();
	if (open_count > 0)
		EMK_PAUSE_POINT("request_sent");
	take_answers();
	rotation++;
}

TimestampTz
emk_send_turn(void)
{
	int64		mono;
	int			n = 0;
	bool		scan;
	TimestampTz next;

	if (emk_send_epoch == 0)
		return DT_NOEND;
	if (emk_birth_take())
		send_adopted();
	emk_http_drive();
	take_answers();
	mono = emk_clock_monotonic();
	if (mono < retry_at)
	{
		deadline = retry_at;
		return DT_NOEND;
	}
	deadline = mono + POLL_EVERY;
	survey(mono);
	scan = ((scan_wanted || (sweep_owed && mono >= next_sweep)) && mono >= scan_allowed) || mono - polled_at >= POLL_EVERY;
	plan_claims(NULL, NULL, &n, mono, scan);
	if (settle_due(mono) || scan || (n > 0 && !(fresh_count() > 0 && emk_send_free_total() < emk_guc_max_in_flight / 4 * 3)))
	{
		if (scan)
			scan_wanted = sweep_owed = false;
		run(mono, scan);
		mono = emk_clock_monotonic();
		deadline = mono + POLL_EVERY;
		survey(mono);
	}
	next = plan_claims(NULL, NULL, &n, mono, false);
	if (n > 0 && retry_at == 0)
		deadline = Min(deadline, mono);
	if (retry_at > 0)
		deadline = Min(deadline, retry_at);
	if (scan_wanted)
		deadline = Min(deadline, scan_allowed);
	if (sweep_owed)
		deadline = Min(deadline, Max(Max(next_sweep, scan_allowed), retry_at));
	if (fresh_count() > 0)
		deadline = Min(deadline, oldest_done + SETTLE_WAIT);
	deadline = Min(deadline, emk_poison_next());
	return next;
}

bool
emk_send_wait(long timeout_ms)
{
	int64		end = emk_clock_monotonic() + timeout_ms * INT64CONST(1000);

	if (emk_send_epoch == 0)
	{
		int			events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms,
									   PG_WAIT_EXTENSION);

		if (events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		return (events & WL_LATCH_SET) != 0;
	}
	end = Min(end, deadline);
	for (;;)
	{
		int64		mono = emk_clock_monotonic();
		EmkWoke		woke;

		woke = emk_http_wait(mono >= end ? 0 : (end - mono + 999) / 1000);
		if (woke == EMK_WOKE_LATCH)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
			scan_wanted = true;
			return true;
		}
		CHECK_FOR_INTERRUPTS();
		emk_http_drive();
		take_answers();
		mono = emk_clock_monotonic();
		if (mono >= end || settle_due(mono))
			return false;
		if (emk_http_take_resolved() && lookups > nlingering)
			return false;		/* what waited for the name may go */
		if (fresh_count() > 0)
			end = Min(end, oldest_done + SETTLE_WAIT);
	}
}

/* A planned stop: nothing new is claimed, what is open may be answered for a moment, and what was answered is settled. */
void
emk_send_drain(void)
{
	int64		end = emk_clock_monotonic() + DRAIN_FOR;

	if (emk_send_epoch == 0)
		return;
	draining = true;
	retry_at = 0;
	EMK_PAUSE_POINT("drain");
	for (;;)
	{
		int64		mono = emk_clock_monotonic();
		int64		until = fresh_count() > 0 ? Min(end, oldest_done + SETTLE_WAIT) : end;

		CHECK_FOR_INTERRUPTS();
		emk_http_drive();
		take_answers();
		if (fresh_count() > 0 && (settle_due(mono) || mono >= end))
		{
			run(mono, false);
			if (backoff > 0 || mono >= end + DRAIN_FOR)
				break;			/* it cannot be settled now: the next worker finds it given up */
		}
		else if (open_count == 0 || mono >= end)
			break;
		else if (emk_http_wait(Max(0, until - mono + 999) / 1000) == EMK_WOKE_LATCH)
			ResetLatch(MyLatch);
	}
	draining = false;
}

/* ---- life ---- */

/* A new epoch whose lock is ours until this process ends. */
static void
take_epoch(void)
{
	LOCKTAG		tag;
	int64		epoch;

	do
	{
		emk_spi_run(&epoch_plan, NULL, NULL, false, 0);
		epoch = emk_spi_int8(0, 1, 0);
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, EMK_EPOCH_LOCK_CLASS, (uint32) epoch, EMK_EPOCH_LOCK_KIND);
	} while (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL);
	emk_send_epoch = epoch;
}

void
emk_send_start(int slot, int slots)
{
	int			capacity;

	if (emk_send_epoch != 0)
		return;
	capacity = emk_http_start();
	if (emk_send_slots == NULL)
	{
		emk_send_slots = MemoryContextAllocZero(TopMemoryContext, sizeof(EmkSend) * capacity);
		for (int i = 0; i < capacity; i++)
			emk_send_slots[i].slot = i;
		signing = ResourceOwnerCreate(NULL, "eventmkt signing");
	}
	emk_birth_init();
	emk_send_nslots = capacity;
	first = slot == 0;
	emk_peer_init(slot, slots);
	emk_settle_init();
	begin();
	take_epoch();
	emk_poison_reset();
	offset = emk_clock_offset();
	finish();
	scan_wanted = true;
}

void
emk_send_stop(void)
{
	LOCKTAG		tag;

	if (emk_send_epoch == 0)
		return;
	emk_http_stop();
	for (int i = 0; i < emk_send_nslots; i++)
	{
		EmkSend    *s = &emk_send_slots[i];

		if (s->state == EMK_SEND_FREE)
			continue;
		s->state = EMK_SEND_DONE;
		emk_send_free_slot(s);
	}
	open_count = done_count = 0;
	(void) emk_birth_take();
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, EMK_EPOCH_LOCK_CLASS, (uint32) emk_send_epoch, EMK_EPOCH_LOCK_KIND);
	LockRelease(&tag, ExclusiveLock, true);
	emk_send_epoch = 0;
}
