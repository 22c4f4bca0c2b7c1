/*
 * send_int.h: private to the delivery half of the worker (send.c, peer.c, claim.c, settle.c).
 */
#ifndef EMK_WORKER_SEND_INT_H
#define EMK_WORKER_SEND_INT_H

#include "deliver/deliver.h"
#include "event/event.h"
#include "worker/worker.h"

#define EMK_CLOCK_STEP		(5 * USECS_PER_SEC)	/* a wall clock that goes back by more than this was set */
/* What the last look-up of a host's name led to */
typedef enum EmkName
{
	EMK_NAME_NEW,
	EMK_NAME_KNOWN,
	EMK_NAME_FAILED
} EmkName;

/* An endpoint as the worker knows it: its definition, what it learnt of it, and what is under way. In TopMemoryContext. */
typedef struct EmkPeer
{
	int32		endpoint_id;	/* hash key */
	/* definition, as of the last load */
	char		name[EMK_MAX_NAME_BYTES + 1];
	char	   *url;
	EmkTarget  *target;
	int			max_in_flight;
	int			rate_limit;		/* 0: none */
	int64		give_up_after;	/* microseconds */
	int			nschedule;
	int32	   *schedule;
	bool		enabled;
	bool		ordered;		/* strict order by person, see deliver/lane.c */
	bool		exists;			/* false: dropped, kept until nothing is under way */
	bool		literal;		/* no name is looked up */
	const char *hold;			/* why nothing is sent though it is enabled, or NULL; static text */
	int			nsecrets;
	EmkSecret	secrets[EMK_SECRETS_MAX];
	/* health */
	EmkBreaker	breaker;
	TimestampTz last_success;	/* 0: none */
	TimestampTz last_failure;
	char		last_error[256];
	const char *disable;		/* to be disabled for this reason in the next transaction */
	const char *announce;		/* state to be notified in the next transaction */
	int64		lead;			/* of the wall clock of its times over the monotonic one; 0: as stored, of an unknown clock */
	int64		set_back;		/* microseconds: what the transaction under way took off its times */
	bool		dirty;			/* endpoint_state is behind in what matters */
	bool		touched;		/* … or only in its times */
	int64		written_at;		/* monotonic */
	/* flow */
	int			in_flight;
	int			aside;			/* answered, but could not be settled (poison.c) */
	int			reserved;		/* by emk_send_reserve(), until adopted */
	double		tokens;
	int64		tokens_at;		/* monotonic */
	bool		slow;			/* its last try took long, or one that is open does */
	EmkName		host;
	int64		warm_until;		/* monotonic: until then its name needs no new look-up */
	bool		maybe;			/* rows may be ready */
	TimestampTz next_ready;		/* business time: the earliest row known to wait */
	TimestampTz low;			/* nothing ready lies before, until the next full scan */
} EmkPeer;

typedef enum EmkSendState
{
	EMK_SEND_FREE,
	EMK_SEND_CLAIMED,			/* marked in flight by a transaction that has not committed yet */
	EMK_SEND_OPEN,
	EMK_SEND_DONE				/* answered, to be settled */
} EmkSendState;

/* One delivery under way; its index is its HTTP slot. Strings live in its context, which is reset when it is free. */
typedef struct EmkSend
{
	EmkSendState state;
	int			slot;
	MemoryContext context;
	EmkPeer    *peer;
	SubTransactionId born_in;	/* claimed at birth: by whom; InvalidSubTransactionId once committed, or not so claimed */
	pg_uuid_t	id;
	ItemPointerData tid;		/* where its row lies, as far as is known */
	int64		run_id;
	int32		rule_id;
	int32		rule_version;
	char	   *rule;
	char	   *profile_id;
	char	   *key;
	char	   *body;			/* UTF-8 */
	size_t		length;
	int64		event_id;
	TimestampTz started_at;
	TimestampTz due_at;
	int			depth;
	int			attempts;		/* this try included */
	int			nschedule;
	int32	   *schedule;
	bool		again;			/* a redelivery: its run has its decision already */
	bool		was_delivered;	/* … which said delivered */
	TimestampTz sent_at;		/* real time */
	int64		sent_mono;
	/* outcome */
	int64		lead;			/* of the wall clock over the monotonic one, when the plan was made */
	EmkTryPlan	plan;
	int			status;
	int64		latency_us;
	char	   *error;
	char	   *excerpt;
	bool		settled;		/* handled by the transaction under way: free the slot when it has committed */
	bool		picked;			/* … that tries to handle it */
	int			strikes;		/* times that it alone could not be settled */
	int64		not_before;		/* monotonic: when it is tried again after that */
} EmkSend;

/* send.c */
extern int64 emk_send_epoch;
extern EmkSend *emk_send_slots;
extern int	emk_send_nslots;
extern EmkSend *emk_send_take_slot(EmkPeer *peer);	/* NULL: none is free */
extern void emk_send_free_slot(EmkSend *send);
extern int	emk_send_free_total(void);
extern int	emk_send_spare(void);	/* slots that nothing holds */
extern int	emk_send_lookups(void);	/* name look-ups that may hold a thread, those about to begin included */
extern void emk_send_add_lookup(void);	/* one more, until the next count */
extern double emk_send_random(void);
extern void emk_send_clock_back(EmkSend *send);	/* its plan was made by a clock that was set back since: it comes nearer by as much */

/*
 * birth.c. count: reservations and adopted slots; take: drops the reservations and says whether there are adopted slots, whose
 * transaction has ended: they are in state EMK_SEND_CLAIMED.
 */
extern void emk_birth_init(void);
extern int	emk_birth_count(void);
extern bool emk_birth_take(void);

/* peer.c */
extern EmkPeer **emk_peers;
extern int	emk_peer_count;
extern bool emk_peer_refresh(void);	/* loads what changed; inside open SPI */
extern EmkPeer *emk_peer_find(int32 endpoint_id);
/* How many tries may begin now. *when: monotonic time at which to ask again, for a rate limit; untouched otherwise. */
extern int	emk_peer_capacity(EmkPeer *peer, TimestampTz now, int64 mono, int64 *when);
extern void emk_peer_spend(EmkPeer *peer, int n);
/* What was paid for is sent now (monotonic). */
extern void emk_peer_sent(EmkPeer *peer, int64 mono);
extern bool emk_peer_is_cold(const EmkPeer *peer, int64 mono);	/* its next request begins with a look-up of its host */
extern void emk_peer_clock_follow(EmkPeer *peer, int64 lead);	/* its times are by the clock of that lead from now on */
extern void emk_peer_clock_found(EmkPeer *peer, int64 by);	/* microseconds; in the transaction that moves its deliveries */
extern void emk_peer_clock_ended(bool committed, int64 lead);	/* … when it has ended */
extern void emk_peer_learn(EmkPeer *peer, const EmkSend *send, TimestampTz now);
extern void emk_peer_write(int64 mono);		/* endpoint_state, disabling, NOTIFY; inside open SPI */
extern void emk_peer_written(void);			/* after commit */
extern void emk_peer_init(int slot, int slots);

/* claim.c: inside open SPI, but skip; claimed rows are slots in state EMK_SEND_CLAIMED */
extern bool emk_claim_heal(int limit, TimestampTz now);	/* emk_lane_heal(), whatever it raises; true: some may go now */
extern int	emk_claim_ready(EmkPeer **peers, const int *limits, int n, int total, TimestampTz now);
extern void emk_claim_orphans(TimestampTz now);
/* The wall clock was set back by so many microseconds: what waits at these endpoints comes nearer by as much; false after an ERROR. */
extern bool emk_claim_clock_back(EmkPeer **peers, int n, int64 by, TimestampTz now);
/* … before this worker came: what was made more than EMK_CLOCK_STEP after now waits as if it had been made now. */
extern void emk_claim_unborn(EmkPeer **peers, int n, TimestampTz now);
/* Of n deliveries each that `ended` lets the next of its person go, where its endpoint is ordered. */
extern void emk_claim_advance(EmkSend **sends, const bool *ended, int n, TimestampTz now);

/*
 * lease.c: what this worker has in flight, as rows of eventmkt_data.lease. write: in the transaction that claims. free_lost: makes
 * retrying again what workers that are gone left in flight, at most max rows; returns how many. Inside open SPI.
 */
extern void emk_lease_write(void);
extern int	emk_lease_free_lost(int max, bool shuffle, TimestampTz now);

/*
 * poison.c: rows that cannot be settled or claimed, because something that is not ours (a trigger, a constraint) raises an error
 * on them. failed: after an ERROR of that kind, outside a transaction; it narrows the batch, sets a single row aside, and says
 * whether that helps; false: not the fault of a row. write: stores or clears what health() shows; inside open SPI.
 */
typedef enum EmkStage
{
	EMK_STAGE_SETTLE,
	EMK_STAGE_CLAIM,
	EMK_STAGE_LOST,
	EMK_STAGE_OTHER
} EmkStage;
extern bool emk_poison_failed(EmkStage stage, const char *error);
extern void emk_poison_worked(EmkStage stage);
extern int	emk_poison_limit(EmkStage stage);	/* rows of the next batch */
extern int	emk_poison_pick(EmkSend **sends, int64 mono);	/* the slots to settle now */
extern int	emk_poison_aside(void);	/* answered slots that wait for another try */
extern int64 emk_poison_next(void);	/* monotonic: when the first of them is to be tried again */
extern Datum emk_poison_skip(int64 mono);	/* ids that are not to be claimed now */
extern void emk_poison_write(void);
extern void emk_poison_reset(void);

/* settle.c: inside open SPI; slots in state EMK_SEND_DONE */
extern int	emk_settle_done(int64 mono, TimestampTz now);
extern void emk_settle_init(void);

#endif
