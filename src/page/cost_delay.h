/*-------------------------------------------------------------------------
 *
 * cost_delay.h
 *	  Slowing a verification down, as vacuum_cost_delay does it for VACUUM.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/cost_delay.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_COST_DELAY_H
#define WALREDO_PAGE_COST_DELAY_H

#include "postgres.h"

/*
 * Counts some bytes of WAL that have been read, as so many pages that were not
 * in shared buffers.
 */
extern void walredo_cost_of_wal(uint64 nbytes);

/*
 * Sleeps if vacuum_cost_limit has been reached, for vacuum_cost_delay times as
 * often as it has been reached since the last call.  To be called where neither
 * a lock nor a pin is held.  Does nothing unless VacuumCostActive is set.
 *
 * What is read through shared buffers is counted by the buffer manager.
 */
extern void walredo_cost_delay_point(void);

#endif							/* WALREDO_PAGE_COST_DELAY_H */
