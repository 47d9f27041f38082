/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The background worker that has the children: private to this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/worker.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_POOL_WORKER_H
#define WALREDO_POOL_WORKER_H

#include "postgres.h"

#include "postmaster/bgworker.h"

/*
 * The worker's main function, which the server calls by its name.  main_arg is
 * the handle of the segment that holds a session's private pool, or 0 for the
 * pool in the server's shared memory.
 */
extern PGDLLEXPORT void walredo_worker_main(Datum main_arg);

/*
 * Says what to register: the worker of the server's pool, or if session_pid is
 * not 0, that of the session whose backend has that process ID.
 */
extern void walredo_pool_fill_worker(BackgroundWorker *worker,
									 pid_t session_pid);

#endif							/* WALREDO_POOL_WORKER_H */
