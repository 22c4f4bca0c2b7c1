/*
 * due.c: due runs, from a low-water mark.
 *
 * Runs that ended leave dead entries at the head of the index of wake times until vacuum comes by; eight million of them cost a
 * batch of 2,000 two times what the batch itself costs. So a scan begins at `low`, the oldest wake time that can be there as far as
 * this process knows; what it puts itself lowers it. Others may put older ones too: a scan begins at the beginning again whenever
 * that took less of a processor than a hundredth of the time since it last did, and less than a tenth of it altogether, disk and all.
 * One that was wanted before is owed, and comes then. Who must not miss one (run_due) asks again when a scan from the mark came short.
 */
#include "postgres.h"

#include "worker/pass.h"
#include "worker/worker.h"

#define SWEEP_SHARE 100			/* of a processor */
#define WAIT_SHARE 10			/* of the time */
#define COST_OF_ONE 30			/* microseconds to take a due run; what a scan costs beyond is for dead entries */

int
emk_worker_take_due(EmkDueScan *scan, int max, EmkPass *p, bool *whole)
{
	int64		begun = emk_clock_monotonic();
	int64		cpu = emk_clock_cpu();
	TimestampTz lowest = emk_trigger_lowest_put();
	int			n;

	*whole = begun >= scan->next_sweep;
	scan->owed = !*whole;
	scan->low = *whole ? DT_NOBEGIN : Min(scan->low, lowest);
	n = emk_trigger_take_due(max, scan->low, p->now, &p->due);
	if (*whole)
	{
		int64		taken = (int64) n * COST_OF_ONE;
		int64		cost = Max(emk_clock_cpu() - cpu - taken, 0);
		int64		lasted = Max(emk_clock_monotonic() - begun - taken, 0);

		scan->next_sweep = begun + Max(SWEEP_SHARE * cost, WAIT_SHARE * lasted);
	}
	return n;
}

TimestampTz
emk_worker_due_taken(EmkDueScan *scan)
{
	TimestampTz lowest = emk_trigger_lowest_put();
	TimestampTz next = emk_trigger_next_wake(Min(scan->low, lowest));

	scan->low = Min(lowest, next);	/* Min() asks for its arguments more than once */
	return scan->low;
}
