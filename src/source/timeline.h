/*-------------------------------------------------------------------------
 *
 * timeline.h
 *	  Which timeline's segments hold which part of WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/source/timeline.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_TIMELINE_H
#define WALREDO_TIMELINE_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "nodes/pg_list.h"

/*
 * A timeline in the history of another one.  What its first segment holds
 * before begin is a copy of what its parent has there.  What it holds at or
 * after end is not part of the history.
 *
 * A timeline that was left again before it began (see timeline.c) has an end
 * that is not after its begin.  Only the copy in its first segment can be used.
 */
typedef struct WalredoTimeline
{
	TimeLineID	tli;
	XLogRecPtr	begin;
	XLogRecPtr	end;			/* PG_UINT64_MAX if it is open */
} WalredoTimeline;

/* No history file is longer: it has a line for each change of timeline. */
#define WALREDO_MAX_HISTORY_LENGTH	(1024 * 1024)

/*
 * The history of a timeline: a list of WalredoTimeline, newest first, palloc'd.
 *
 * text is the contents of the history file, of the given length, or NULL if
 * there is none: then the timeline has no parents.  path is for messages.
 * ERROR XX001 if the server would not accept the file, or if it is longer than
 * WALREDO_MAX_HISTORY_LENGTH.
 */
extern List *walredo_timeline_history(TimeLineID tli, const char *text,
									  Size length, const char *path);

/* Returns whether two histories are the same. */
extern bool walredo_timeline_histories_equal(const List *a, const List *b);

/*
 * Returns whether a segment of the timeline can hold a part of the history.
 */
extern bool walredo_timeline_covers(const WalredoTimeline *timeline,
									XLogSegNo segno, int segsize);

#endif							/* WALREDO_TIMELINE_H */
