/*-------------------------------------------------------------------------
 *
 * saved_request.h
 *	  Requests that a child did not survive, kept for study.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/saved_request.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_SAVED_REQUEST_H
#define WALREDO_SAVED_REQUEST_H

#include "postgres.h"

#include "pool/client.h"

/* Where they are, below the data directory. */
#define WALREDO_SAVED_REQUESTS_DIR		"walredo_failed_requests"

/*
 * No more files than this are kept, and no more bytes in all of them; it is for
 * the user to remove them.
 */
#define WALREDO_SAVED_REQUESTS_MAX_FILES	32
#define WALREDO_SAVED_REQUESTS_MAX_SIZE		((uint64) 64 * 1024 * 1024)

/*
 * Saves a request, in the form in which it goes to a child.  Raises no error:
 * what went wrong is logged, as the caller has a worse error to report.
 */
extern void walredo_save_request(const WalredoRequest *request);

#endif							/* WALREDO_SAVED_REQUEST_H */
