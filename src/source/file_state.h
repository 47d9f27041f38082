/*-------------------------------------------------------------------------
 *
 * file_state.h
 *	  Whether a file or a directory is still what it was.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/source/file_state.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_FILE_STATE_H
#define WALREDO_FILE_STATE_H

#include "postgres.h"

#include <sys/stat.h>
#include <time.h>

/* What was seen at a path. */
typedef struct WalredoFileState
{
	bool		is_there;		/* something is there, and this is its status */
	bool		is_settled;		/* a later change will be seen */
	struct stat st;
} WalredoFileState;

/*
 * Gets the state of what is at a path.  What depends on it has to be read after
 * this call.
 */
extern void walredo_file_state_get(const char *path, WalredoFileState *state);

/*
 * Returns whether nothing has changed at a path since its state was got.  If
 * that cannot be known, it has changed.
 */
extern bool walredo_file_state_holds(const char *path,
									 const WalredoFileState *state);

/*
 * Returns whether any change of a file after now, which is a time before the
 * file had this status, will be seen in its status.
 */
extern bool walredo_file_is_settled(const struct stat *st,
									const struct timespec *now);

#endif							/* WALREDO_FILE_STATE_H */
