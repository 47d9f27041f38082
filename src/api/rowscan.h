/*-------------------------------------------------------------------------
 *
 * rowscan.h
 *	  The custom scan that takes the place of walredo_rows_at().
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/rowscan.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWSCAN_H
#define WALREDO_ROWSCAN_H

/* Makes it known to the planner.  To be called when the library is loaded. */
extern void walredo_rows_scan_init(void);

#endif							/* WALREDO_ROWSCAN_H */
