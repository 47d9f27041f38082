/*-------------------------------------------------------------------------
 *
 * pool.h
 *	  What the pool needs from the library's start, and its settings.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/pool.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_POOL_H
#define WALREDO_POOL_H

#include "postgres.h"

/* Most children that a pool can be asked to have. */
#define WALREDO_MAX_CHILDREN	64

extern bool walredo_enabled;
extern int	walredo_timeout;	/* milliseconds */
extern int	walredo_pool_size;
extern int	walredo_idle_timeout;	/* milliseconds */
extern int	walredo_max_parallel_children;
extern int	walredo_max_retries;
extern bool walredo_save_failed_requests;

/*
 * Asks for a pool in the server's shared memory, and for its worker.  To be
 * called from _PG_init() while shared_preload_libraries are loaded.  Where
 * it was not, each session makes a pool of its own when it needs one.
 */
extern void walredo_pool_init_shared(void);

#endif							/* WALREDO_POOL_H */
