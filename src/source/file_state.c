/*-------------------------------------------------------------------------
 *
 * file_state.c
 *	  Whether a file or a directory is still what it was.
 *
 * What was found in a file, or the list of files in a directory, can be kept as
 * long as stat() returns what it did before.  The kernel sets the time of the
 * last change of a file's status, which nobody can set back, whenever it
 * changes the contents of a file or a directory, even if the program that
 * changed it then sets the time of the last modification to that of another
 * file, as cp -p and rsync do.
 *
 * The clock of these times is coarse: it moves on with each tick of the kernel,
 * every 10 ms or less.  So a second change soon after a first one, between
 * which we looked, may leave no trace.  To exclude that, what was changed just
 * before we looked is not kept at all.  File systems without fractions of
 * seconds are even coarser, which shows in these being zero.
 *
 * What is on another machine, as with NFS, has the times of that machine's
 * clock.  A change is seen as soon as the client asks the server, which is what
 * it is told to do by mounting options; but if the other clock is behind by
 * more than RACY_NSECS, one that follows another within a tick can be missed.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/file_state.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/file_state.h"
#include "source/segment_file.h"

/* What is younger than this may change again without a trace. */
#define RACY_NSECS			INT64CONST(50000000)
#define COARSE_RACY_NSECS	INT64CONST(2100000000)

static int64
nsecs(const struct timespec *t)
{
	return (int64) t->tv_sec * INT64CONST(1000000000) + t->tv_nsec;
}

bool
walredo_file_is_settled(const struct stat *st, const struct timespec *now)
{
	const struct timespec *times[] = {&st->st_mtim, &st->st_ctim};

	for (int i = 0; i < lengthof(times); i++)
	{
		int64		racy = times[i]->tv_nsec == 0 ? COARSE_RACY_NSECS :
			RACY_NSECS;

		if (nsecs(times[i]) > nsecs(now) - racy)
			return false;
	}
	return true;
}

void
walredo_file_state_get(const char *path, WalredoFileState *state)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	state->is_there = (stat(path, &state->st) == 0);
	state->is_settled = state->is_there ?
		walredo_file_is_settled(&state->st, &now) : errno == ENOENT;
}

bool
walredo_file_state_holds(const char *path, const WalredoFileState *state)
{
	struct stat st;

	if (!state->is_settled)
		return false;
	if (stat(path, &st) != 0)
		return !state->is_there && errno == ENOENT;
	return state->is_there && walredo_is_same_file(&st, &state->st) &&
		st.st_mode == state->st.st_mode;
}
