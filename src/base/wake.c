/*
 * wake.c: the wake-up at commit. State: one flag a backend. A subtransaction that aborts may leave the flag set, which costs
 * one needless wake and loses nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/base.h"
#include "base/base_int.h"
#include "utils/resowner.h"

static bool wake_wanted = false;
static EmkWakeNotifier notifier = NULL;
static EmkWakePrepare prepare = NULL;

/* A transaction that ends otherwise than by its commit wakes nobody. */
static void
at_xact_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT || event == XACT_EVENT_PREPARE)
		wake_wanted = false;
}

/*
 * The wake itself: not in the commit callback, which runs before the invalidations of this transaction are sent. A worker that
 * woke there would look with the old clock and the old rules, and sleep again.
 */
static void
after_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (!wake_wanted || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	wake_wanted = false;
	EMK_PAUSE_POINT("wake");
	if (is_commit)
		emk_wake_now();
}

void
emk_base_init_wake(void)
{
	RegisterXactCallback(at_xact_end, NULL);
	RegisterResourceReleaseCallback(after_release, NULL);
}

void
emk_wake_at_commit(void)
{
	if (!wake_wanted && prepare != NULL)
		prepare();
	wake_wanted = true;
}

void
emk_wake_now(void)
{
	if (notifier != NULL)
		notifier();
}

void
emk_wake_set_notifier(EmkWakeNotifier fn)
{
	notifier = fn;
}

void
emk_wake_set_prepare(EmkWakePrepare fn)
{
	prepare = fn;
}
