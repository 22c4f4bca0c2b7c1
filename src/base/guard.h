/*
 * guard.h: code that may fail, or, somebody's own (a condition, a query), take long, run without harm to what is around it.
 */
#ifndef EMK_BASE_GUARD_H
#define EMK_BASE_GUARD_H

/*
 * Runs body(arg) in a subtransaction. Returns NULL, or the error that it ended with, when it is rolled back, palloc'd in the caller's
 * context: any error, a cancel too, so a caller that does not know it hands it on (ReThrowError). The memory context is the
 * caller's, in the body too.
 */
extern ErrorData *emk_guard_try(void (*body) (void *arg), void *arg);

/* The same, but a cancel is handed on. */
extern ErrorData *emk_guard_try_on(void (*body) (void *arg), void *arg);

/*
 * Runs body(arg) as emk_guard_try(), for at most `ms` milliseconds. Returns NULL, or, after an error, which is rolled back, its
 * message, palloc'd in the caller's context; that of the time limit is "<what> took longer than <ms> ms". A cancel that is not
 * our time limit is passed on. The memory context is the caller's, in the body too.
 */
extern char *emk_guard_run(int ms, const char *what, void (*body) (void *arg), void *arg);

#endif
