/*-------------------------------------------------------------------------
 *
 * aggscan.h
 *	  The custom scan that takes the place of an Agg node for
 *	  walredo_apply_agg().
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/aggscan.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_AGGSCAN_H
#define WALREDO_AGGSCAN_H

/* Makes it known to the planner.  To be called when the library is loaded. */
extern void walredo_agg_scan_init(void);

#endif							/* WALREDO_AGGSCAN_H */
