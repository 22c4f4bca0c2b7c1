/*
 * wake.h: telling the worker, at commit, that there is work. One callback a backend; any number of calls in a transaction
 * makes one wake. A prepared transaction wakes nobody: the worker's safety poll (5 s) finds its rows.
 */
#ifndef EMK_BASE_WAKE_H
#define EMK_BASE_WAKE_H

/* Asks for a wake when the current transaction commits. */
extern void emk_wake_at_commit(void);

/* Wakes now, outside any transaction; used by the callback. */
extern void emk_wake_now(void);

/*
 * How to reach the worker of this database; set by the layer that runs workers. It is called after commit: it must not
 * raise, allocate or touch a catalog.
 */
typedef void (*EmkWakeNotifier) (void);
extern void emk_wake_set_notifier(EmkWakeNotifier fn);

/* Called by the first emk_wake_at_commit() of a transaction: may look up what the notifier will need. */
typedef void (*EmkWakePrepare) (void);
extern void emk_wake_set_prepare(EmkWakePrepare fn);

#endif
