/*-------------------------------------------------------------------------
 *
 * index_worker.h
 *	  The background worker that indexes the server's WAL: private to this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/index/index_worker.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_INDEX_WORKER_H
#define WALREDO_INDEX_WORKER_H

#include "postgres.h"

/* The worker's main function, which the server calls by its name. */
extern PGDLLEXPORT void walredo_index_worker_main(Datum main_arg);

#endif							/* WALREDO_INDEX_WORKER_H */
