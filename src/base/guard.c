/*
 * guard.c: a subtransaction, and one with a time limit.
 *
 * Guards nest (a query of a segment may ask for another segment): each level has a timeout of its own, and whose limit it was is
 * read from the timeout, so an outer limit that runs out inside ends the outer body.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/base.h"
#include "utils/resowner.h"
#include "utils/timeout.h"

#define MAX_LEVELS 4

static int	level = 0;			/* guards that run now */
static int	nregistered = 0;
static TimeoutId timeouts[MAX_LEVELS];

static void
on_timeout(void)
{
	InterruptPending = true;
	QueryCancelPending = true;
}

/* Ends the limit of a level; was it reached? */
static bool
end_limit(int mine)
{
	bool		reached;

	level = mine;
	disable_timeout(timeouts[mine], true);
	reached = get_timeout_indicator(timeouts[mine], true);
	if (reached)
		QueryCancelPending = false; /* it may have come too late to be noticed */
	return reached;
}

ErrorData *
emk_guard_try(void (*body) (void *arg), void *arg)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		body(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		/* ours to end, whatever follows: left open, it would leave the session in a transaction that has failed */
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return error;
}

ErrorData *
emk_guard_try_on(void (*body) (void *arg), void *arg)
{
	ErrorData  *error = emk_guard_try(body, arg);

	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	return error;
}

typedef struct Limited
{
	int			level;
	int			ms;
	void		(*body) (void *arg);
	void	   *arg;
} Limited;

static void
run_limited(void *arg)
{
	Limited    *l = arg;

	level = l->level + 1;
	enable_timeout_after(timeouts[l->level], l->ms);
	l->body(l->arg);
}

char *
emk_guard_run(int ms, const char *what, void (*body) (void *arg), void *arg)
{
	const int	mine = level;
	ErrorData  *error;
	bool		reached;

	if (mine == MAX_LEVELS)
		return psprintf("%s is asked by %d others inside each other", what, MAX_LEVELS);
	if (mine == nregistered)
		timeouts[nregistered++] = RegisterTimeout(USER_TIMEOUT, on_timeout);
	error = emk_guard_try(run_limited, &(Limited) {mine, ms, body, arg});
	reached = end_limit(mine);
	if (error == NULL)
		return NULL;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && !reached)
		ReThrowError(error);
	return reached ? psprintf("%s took longer than %d ms", what, ms) : error->message;
}
