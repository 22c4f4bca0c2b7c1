/*
 * guard.h: code of somebody's own (a condition, a query) run so that it can fail or take long without harm.
 */
#ifndef EMK_BASE_GUARD_H
#define EMK_BASE_GUARD_H

/*
 * Runs body(arg) in a subtransaction, for at most `ms` milliseconds. Returns NULL, or, after an error, which is rolled back, its
 * message, palloc'd in the caller's context; that of the time limit is "<what> took longer than <ms> ms". A cancel that is not
 * our time limit is passed on. The memory context is the caller's, in the body too.
 */
extern char *emk_guard_run(int ms, const char *what, void (*body) (void *arg), void *arg);

#endif
