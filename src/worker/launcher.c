#include "postgres.h"
#include "miscadmin.h"
#include "worker/worker.h"
static bool preloaded = false;
void
emk_worker_init(void)
{
	preloaded = process_shared_preload_libraries_in_progress;
}
bool
emk_worker_preloaded(void)
{
	return preloaded;
}
void
emk_worker_announce(void)
{
}
