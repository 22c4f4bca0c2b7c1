/*
 * guard.c: a subtransaction with a time limit.
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

char *
emk_guard_run(int ms, const char *what, void (*body) (void *arg), void *arg)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile error = NULL;
	const int	mine = level;

	if (mine == MAX_LEVELS)
		return psprintf("%s is asked by %d others inside each other", what, MAX_LEVELS);
	if (mine == nregistered)
		timeouts[nregistered++] = RegisterTimeout(USER_TIMEOUT, on_timeout);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	level = mine + 1;
	PG_TRY();
	{
		enable_timeout_after(timeouts[mine], ms);
		body(arg);
		(void) end_limit(mine);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		bool		reached = end_limit(mine);
		ErrorData  *edata;

		MemoryContextSwitchTo(old);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(old);
		CurrentResourceOwner = owner;
		if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED && !reached)
			ReThrowError(edata);
		error = reached ? psprintf("%s took longer than %d ms", what, ms) : edata->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return error;
}
