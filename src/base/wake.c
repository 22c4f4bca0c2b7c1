/*
 * wake.c: the wake-up at commit. State: one flag a backend. A subtransaction that aborts may leave the flag set, which costs
 * one needless wake and loses nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/base.h"
#include "base/base_int.h"

static bool wake_wanted = false;
static EmkWakeNotifier notifier = NULL;
static EmkWakePrepare prepare = NULL;

static void
at_xact_end(XactEvent event, void *arg)
{
	if (!wake_wanted)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			wake_wanted = false;
			emk_wake_now();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			wake_wanted = false;
			break;
		default:
			break;
	}
}

void
emk_base_init_wake(void)
{
	RegisterXactCallback(at_xact_end, NULL);
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
