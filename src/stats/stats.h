/*-------------------------------------------------------------------------
 *
 * stats.h
 *	  Counters of what a pool, its worker and its callers have done.
 *
 * Statistics are kept where the pool is: in the server's shared memory if the
 * library is preloaded, and in that of one session if not.  All are atomic, so
 * no process has to wait for another one to count.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/stats/stats.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_STATS_H
#define WALREDO_STATS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

typedef enum WalredoCounter
{
	/* Runs of WAL records, replayed by a child. */
	STAT_REQUESTS,				/* answered */
	STAT_RECORDS,				/* in them */
	STAT_BYTES,					/* sent to children, in all requests */
	STAT_PAGES,					/* answers of any sort */

	/* Native records, applied in the backend. */
	STAT_NATIVE_REQUESTS,
	STAT_NATIVE_RECORDS,
	STAT_NATIVE_BYTES,

	/* Requests that came to nothing, by cause. */
	STAT_ERRORS_LAUNCH,			/* no child could be started */
	STAT_ERRORS_CHILD,			/* the child died */
	STAT_ERRORS_PROTOCOL,		/* the child wrote too much or too early */
	STAT_ERRORS_TIMEOUT,		/* the child took too long */
	STAT_ERRORS_CANCEL,			/* the caller gave up */
	STAT_RETRIES,				/* tried again; not an error yet */

	/* Children. */
	STAT_LAUNCHES,				/* started, and answered a ping */
	STAT_LAUNCH_FAILURES,
	STAT_DEATHS,				/* ended by themselves, or killed by others */

	/* Children that were killed by the worker, by cause. */
	STAT_KILLS_FAILURE,			/* after a failure, time-out or cancel */
	STAT_KILLS_ROLE,			/* to make room for another role's child */
	STAT_KILLS_IDLE,			/* idle for too long */
	STAT_KILLS_SIZE,			/* the pool became smaller */
	STAT_KILLS_OUTPUT,			/* closed, or wrote too much to, stderr */

	/* Checks on a schedule: walredo_check(). */
	STAT_CHECKS,				/* that have come to their end */
	STAT_DAMAGED_BLOCKS			/* found by them; some of them repeatedly */
} WalredoCounter;

#define STAT_NCOUNTERS	(STAT_DAMAGED_BLOCKS + 1)

typedef enum WalredoHistogram
{
	STAT_WAIT_TIME,				/* microseconds for a child to be free */
	STAT_REDO_TIME,				/* microseconds from request to answer */
	STAT_LAUNCH_TIME,			/* microseconds to start a child */
	STAT_REQUEST_RECORDS,		/* records in a request */
	STAT_REQUEST_BYTES,			/* bytes in a request */
	STAT_NATIVE_TIME,			/* as above, for native records */
	STAT_NATIVE_REQUEST_RECORDS,
	STAT_NATIVE_REQUEST_BYTES
} WalredoHistogram;

#define STAT_NHISTOGRAMS	(STAT_NATIVE_REQUEST_BYTES + 1)

/*
 * Bucket 0 counts zeroes, and bucket i values of at least 2^(i-1) and less
 * than 2^i; the last one counts all that are larger, too.
 */
#define STAT_NBUCKETS		32

typedef struct WalredoStats
{
	pg_atomic_uint64 counters[STAT_NCOUNTERS];
	pg_atomic_uint64 histograms[STAT_NHISTOGRAMS][STAT_NBUCKETS];
	pg_atomic_uint64 reset_at;	/* a TimestampTz */
	pg_atomic_uint64 checked_at;	/* end of the last check, or 0 */
} WalredoStats;

/* Where this process counts.  Never NULL. */
extern WalredoStats *walredo_stats;

/* Sets all statistics to zero; the first time, or again. */
extern void walredo_stats_init(WalredoStats *stats);
extern void walredo_stats_reset(WalredoStats *stats);

/*
 * Makes this process count in shared memory from now on, and adds what it has
 * counted on its own until then.  NULL goes back to counting on its own.
 */
extern void walredo_stats_attach(WalredoStats *stats);

static inline void
walredo_count(WalredoCounter counter, uint64 n)
{
	pg_atomic_fetch_add_u64(&walredo_stats->counters[counter], n);
}

extern void walredo_count_value(WalredoHistogram histogram, uint64 value);

#endif							/* WALREDO_STATS_H */
