/*
 * eventmkt.c: the library's entry. _PG_init calls <layer>_init() in floor order; nobody includes this file.
 */
#include "postgres.h"
#include "fmgr.h"

#include "admin/admin.h"
#include "base/base.h"
#include "deliver/deliver.h"
#include "event/event.h"
#include "profile/profile.h"
#include "report/report.h"
#include "rule/rule.h"
#include "segment/segment.h"
#include "track/track.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	emk_base_init();
	emk_profile_init();
	emk_event_init();
	emk_rule_init();
	emk_track_init();
	emk_segment_init();
	emk_deliver_init();
	emk_worker_init();
	emk_report_init();
	emk_admin_init();
}
