/*-------------------------------------------------------------------------
 *
 * cost_delay.c
 *	  Slowing a verification down, as vacuum_cost_delay does it for VACUUM.
 *
 * This mirrors vacuum_delay_point(), which cannot be used, because it sleeps
 * for at most four times vacuum_cost_delay, whatever was read meanwhile.
 * VACUUM calls it for every page, while a verification can sleep only between
 * two windows of pages, when it holds no lock.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/cost_delay.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "page/cost_delay.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

void
walredo_cost_of_wal(uint64 nbytes)
{
	if (VacuumCostActive)
		VacuumCostBalance +=
			(int) Min(nbytes / BLCKSZ, PG_INT16_MAX) * VacuumCostPageMiss;
}

void
walredo_cost_delay_point(void)
{
	double		ms;
	instr_time	begin;

	CHECK_FOR_INTERRUPTS();
	if (!VacuumCostActive || VacuumCostBalance < VacuumCostLimit)
		return;
	ms = VacuumCostDelay * VacuumCostBalance / VacuumCostLimit;
	VacuumCostBalance = 0;

	/* The latch may be set for another reason. */
	INSTR_TIME_SET_CURRENT(begin);
	for (;;)
	{
		instr_time	now;
		double		left;

		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, begin);
		left = ms - INSTR_TIME_GET_MILLISEC(now);
		if (left <= 0)
			break;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (long) left + 1, WAIT_EVENT_VACUUM_DELAY);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}
