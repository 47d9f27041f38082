/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  Counters of what a pool, its worker and its callers have done.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/stats/stats.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "stats/stats.h"
#include "utils/timestamp.h"

/* Where a process that has no pool counts. */
static WalredoStats local_stats;

WalredoStats *walredo_stats = &local_stats;

void
walredo_stats_init(WalredoStats *stats)
{
	for (int i = 0; i < STAT_NCOUNTERS; i++)
		pg_atomic_init_u64(&stats->counters[i], 0);
	for (int i = 0; i < STAT_NHISTOGRAMS; i++)
		for (int j = 0; j < STAT_NBUCKETS; j++)
			pg_atomic_init_u64(&stats->histograms[i][j], 0);
	pg_atomic_init_u64(&stats->reset_at, (uint64) GetCurrentTimestamp());
	pg_atomic_init_u64(&stats->checked_at, 0);
}

void
walredo_stats_reset(WalredoStats *stats)
{
	for (int i = 0; i < STAT_NCOUNTERS; i++)
		pg_atomic_write_u64(&stats->counters[i], 0);
	for (int i = 0; i < STAT_NHISTOGRAMS; i++)
		for (int j = 0; j < STAT_NBUCKETS; j++)
			pg_atomic_write_u64(&stats->histograms[i][j], 0);
	pg_atomic_write_u64(&stats->reset_at, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u64(&stats->checked_at, 0);
}

void
walredo_stats_attach(WalredoStats *stats)
{
	WalredoStats *from = walredo_stats;
	WalredoStats *to = stats ? stats : &local_stats;

	if (from == to)
		return;

	/*
	 * A session's statistics follow it from its own memory to its private
	 * pool, and back if that ends.
	 */
	for (int i = 0; i < STAT_NCOUNTERS; i++)
		pg_atomic_fetch_add_u64(&to->counters[i],
								pg_atomic_exchange_u64(&from->counters[i],
													   0));
	for (int i = 0; i < STAT_NHISTOGRAMS; i++)
		for (int j = 0; j < STAT_NBUCKETS; j++)
		{
			pg_atomic_uint64 *bucket = &from->histograms[i][j];

			pg_atomic_fetch_add_u64(&to->histograms[i][j],
									pg_atomic_exchange_u64(bucket, 0));
		}
	if (pg_atomic_read_u64(&from->checked_at) >
		pg_atomic_read_u64(&to->checked_at))
		pg_atomic_write_u64(&to->checked_at,
							pg_atomic_read_u64(&from->checked_at));
	walredo_stats = to;
}

void
walredo_count_value(WalredoHistogram histogram, uint64 value)
{
	int			bucket = value == 0 ? 0 : pg_leftmost_one_pos64(value) + 1;

	bucket = Min(bucket, STAT_NBUCKETS - 1);
	pg_atomic_fetch_add_u64(&walredo_stats->histograms[histogram][bucket], 1);
}
