/*
 * worker.h: spine 2. worker/ alone runs the chain work → runs → gates → outbox → HTTP → settle.
 */
#ifndef EMK_WORKER_H
#define EMK_WORKER_H

#include "base/base.h"

extern void emk_worker_init(void);

/*
 * loop.c: the life of one worker that is connected to its database as the owner, outside a transaction. Returns when the
 * latch says stop (SIGTERM) or the database must be left; never returns by ERROR for a fault of a rule or an endpoint.
 */
extern void emk_worker_loop(int slot, int slots);

/* pass.c: one pass of spine 2 without HTTP in the current transaction; returns rows handled. */
extern int	emk_worker_pass(int max_rows);

/*
 * send.c: the delivery half, used by the loop. All run outside a transaction and open their own, but reserve.
 * start: once a worker life (takes the lease epoch). turn: settle what finished, claim what is ready, submit; returns when
 * the next delivery is ready (business time, DT_NOEND for never). wait: sleeps on sockets, latch and time; it drives the
 * transfers meanwhile, resets the latch, and says whether it was set. Each turn follows a wait.
 */
extern void emk_send_start(int slot, int slots);
extern TimestampTz emk_send_turn(void);
extern bool emk_send_wait(long timeout_ms);
extern void emk_send_drain(void);	/* before stop, half a second at most: answers of what is open are still taken and settled */
extern void emk_send_stop(void);

/*
 * Claim at birth: a due run whose endpoint is free is inserted in flight and sent right after the commit. In the pass, inside
 * open SPI: row.in_flight = emk_send_reserve(row.endpoint_id) for each row (false outside a sending worker), then
 * emk_outbox_insert(rows, n, emk_send_lease(), now), then emk_send_adopt(rows, n), which copies what it needs. The next
 * emk_send_turn() sends them when the transaction has committed; a rollback, of a subtransaction too, forgets them.
 */
struct EmkOutbox;
extern bool emk_send_reserve(int32 endpoint_id);
extern int64 emk_send_lease(void);	/* 0 outside a sending worker */

/*
 * lease.c, in a transaction with a snapshot. alone: no other process holds our slot but such as were revoked; `replaces`, the pid of one
 * that start_worker() found frozen, is revoked here. is_revoked: our own epoch was.
 */
extern bool emk_lease_alone(int slot, int replaces);
extern bool emk_lease_is_revoked(void);
extern void emk_send_adopt(const struct EmkOutbox *rows, int n);

/*
 * Life of the workers, for the loop. go_on: at the top of every turn, outside a transaction: interrupts, reload, heartbeat,
 * and once a second whether the extension is still there and nothing pauses us; false: emk_worker_loop() must return.
 * take_wake: before a scan; says whether anybody asked since the last one and clears it (not preloaded: whether the latch
 * was set or a backend signalled). keep_wake: before sleeping; a wait inside the turn may have taken the latch of a wake.
 * may_drain: once go_on was false: a planned stop, what is open may be finished.
 */
extern bool emk_worker_go_on(void);
extern void emk_worker_turns_within(int64 us);	/* before it sleeps: who is late for that by eventmkt.frozen_after is frozen */
extern bool emk_worker_may_drain(void);
extern bool emk_worker_take_wake(bool latch);
extern void emk_worker_keep_wake(void);

/* After an ERROR was caught and its transaction ended: true when the extension is gone, so there is nothing to log. */
extern bool emk_worker_is_gone(void);

/* loop.c: faults that are the server's (no space, no memory, locks, shutdown): waiting helps, setting a row aside does not. */
extern bool emk_worker_is_server_fault(int sqlerrcode);

/*
 * May a failure be written to the log now? True once in ten seconds, whatever asks: what a full disk fails is every phase of a
 * turn, and one line says it. Who is told true writes a line.
 */
extern bool emk_worker_may_report(void);

/*
 * Upkeep of a later layer: called by the first worker every ten seconds, inside a transaction with open SPI; says whether it
 * has more to do at once. An ERROR is logged and it is tried again.
 */
typedef bool (*EmkUpkeep) (TimestampTz now);
extern void emk_worker_add_upkeep(EmkUpkeep fn);

/* Why the workers of this database do nothing, or NULL: standby, disabled, not initialised, extension version, data version,
 * copy. */
extern const char *emk_worker_paused(void);
/* ERROR 55000 unless the tables are of the library's version: one installed before init() ran would look for columns that are not there. */
extern void emk_worker_require_tables(void);

/* preloaded: a launcher runs. announce: at commit, tells the launcher to look at this database. */
extern bool emk_worker_preloaded(void);
extern void emk_worker_announce(void);

/* The workers of this database as health() shows them; times are real time, 0 when not known. */
typedef struct EmkWorkerInfo
{
	int			slot;
	int			pid;
	TimestampTz started_at;
	TimestampTz heartbeat;
	bool		frozen;			/* late for its next turn by eventmkt.frozen_after; not known without preload */
} EmkWorkerInfo;
typedef struct EmkWorkerState
{
	bool		launcher;		/* one runs for this database */
	bool		stopped;		/* by stop_worker() */
	bool		starved;		/* no free worker slot in the server (max_worker_processes) */
	int			n;
	EmkWorkerInfo workers[EMK_MAX_WORKERS];
} EmkWorkerState;
extern void emk_worker_state(EmkWorkerState *out);

#endif
