/*
 * tail_share.c: shared memory for the open tail where there may be none. /dev/shm is 64 MB in many containers, and the number of segments
 * is limited. A question must not fail for what only makes it faster, so whoever asks for a segment has another way.
 *
 * The server raises an error in most of these cases, and a subtransaction that would catch it cannot begin in parallel mode. So it is
 * caught by hand. That is safe for these calls: until there is memory they change nothing that others see, what they leave in this
 * process belongs to a resource owner, which is released here, and to light-weight locks, of which whoever calls a function holds none.
 */
#include "postgres.h"

#include "report/tail.h"
#include "storage/lwlock.h"
#include "utils/resowner.h"

static void
release(ResourceOwner owner, bool done)
{
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_BEFORE_LOCKS, done, false);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_LOCKS, done, false);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_AFTER_LOCKS, done, false);
	ResourceOwnerDelete(owner);
}

bool
emk_tail_share(void (*fn) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner before = CurrentResourceOwner;
	ResourceOwner owner = ResourceOwnerCreate(before, "eventmkt tail");
	volatile bool done = false;

	CurrentResourceOwner = owner;
	PG_TRY();
	{
		fn(arg);
		done = true;
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES))
			PG_RE_THROW();		/* the owner goes with that of the query */
		MemoryContextSwitchTo(context);
		FlushErrorState();
		LWLockReleaseAll();
	}
	PG_END_TRY();
	CurrentResourceOwner = before;
	release(owner, done);
	return done;
}
