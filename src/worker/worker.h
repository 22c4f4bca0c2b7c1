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
 * send.c: the delivery half, used by the loop. All run outside a transaction and open their own.
 * start: once a worker life (takes the lease epoch). turn: settle what finished, claim what is ready, submit; returns when
 * the next delivery is ready (business time, DT_NOEND for never). wait: sleeps on sockets, latch and timeout.
 */
extern void emk_send_start(void);
extern TimestampTz emk_send_turn(void);
extern void emk_send_wait(long timeout_ms);
extern void emk_send_stop(void);

/*
 * Life of the workers. preloaded: the library is in shared_preload_libraries, so a launcher runs. announce: at commit,
 * tells the launcher to look at this database.
 */
extern bool emk_worker_preloaded(void);
extern void emk_worker_announce(void);

#endif
