/*-------------------------------------------------------------------------
 *
 * timeline.c
 *	  Which timeline's segments hold which part of WAL.
 *
 * A history file lists the ancestors of a timeline, each with the LSN where it
 * was left.  It is read as readTimeLineHistory() in
 * src/backend/access/transam/timeline.c reads it, so that what a server has
 * written and works with is not refused here: IDs rise, but nothing is said
 * of LSNs.  They need not rise.  A server that is restored to a point before
 * its last promotion, and promoted there, has followed the latest timeline's
 * history and left that timeline before it began:
 *
 *		1	0/5000000
 *		2	0/4000000
 *
 * is the history of timeline 3.  Which timeline an LSN is on is what
 * tliOfPointInHistory() says: the newest one whose range it is in.  So timeline
 * 2 holds nothing, and timeline 1 ends where timeline 3 begins.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/timeline.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "source/timeline.h"

static void
invalid_history(const char *path, int line, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("invalid timeline history file \"%s\"", path),
			 line > 0 ? errdetail("Line %d: %s.", line, problem) :
			 errdetail("%s.", problem)));
}

/*
 * Gets the next line as fgets() gives it to the server: with the newline at its
 * end, and in pieces if it does not fit.  Returns false at the end of the text.
 */
static bool
next_line(const char **text, const char *end, char *line, Size size)
{
	Size		length = Min(size - 1, (Size) (end - *text));
	const char *newline;

	if (length == 0)
		return false;

	newline = memchr(*text, '\n', length);
	if (newline != NULL)
		length = newline + 1 - *text;
	memcpy(line, *text, length);
	line[length] = '\0';
	*text += length;
	return true;
}

/*
 * Sets where each timeline of a list, newest first, ends in this history, as
 * opposed to where it was left, and removes those that no LSN can be on.
 *
 * A timeline ends at the latest where a newer one begins, even if the list says
 * that it was left later.  See the example at the head of this file.
 */
static List *
set_ends(List *history)
{
	XLogRecPtr	limit = PG_UINT64_MAX;	/* where newer ones begin */

	for (int i = 0; i < list_length(history); i++)
	{
		WalredoTimeline *timeline = list_nth(history, i);

		/* A newer timeline holds WAL from the very beginning on. */
		if (limit == InvalidXLogRecPtr)
			return list_truncate(history, i);

		/* To the server, 0/0 means that the timeline has no end. */
		if (timeline->end == InvalidXLogRecPtr || timeline->end > limit)
			timeline->end = limit;
		if (timeline->begin < timeline->end)
			limit = timeline->begin;
	}
	return history;
}

static WalredoTimeline *
make_timeline(TimeLineID tli, XLogRecPtr begin, XLogRecPtr end)
{
	WalredoTimeline *timeline = palloc(sizeof(WalredoTimeline));

	timeline->tli = tli;
	timeline->begin = begin;
	timeline->end = end;
	return timeline;
}

/*
 * The ancestors of timeline tli in its history file, oldest first, each with
 * the LSN where it was left.
 */
static List *
read_ancestors(TimeLineID tli, const char *text, Size length, const char *path)
{
	List	   *ancestors = NIL;
	TimeLineID	last_tli = 0;
	XLogRecPtr	last_end = InvalidXLogRecPtr;
	char		line[MAXPGPATH];
	const char *end = text + length;
	int			lineno = 0;

	if (length > WALREDO_MAX_HISTORY_LENGTH)
		invalid_history(path, 0, "The file is too long");

	while (next_line(&text, end, line, sizeof(line)))
	{
		const char *start = line;
		TimeLineID	parent;
		uint32		hi;
		uint32		lo;

		lineno++;
		while (isspace((unsigned char) *start))
			start++;
		if (*start == '\0' || *start == '#')
			continue;

		/* After the LSN comes the reason for the change, as a comment. */
		if (sscanf(line, "%u\t%X/%X", &parent, &hi, &lo) != 3)
			invalid_history(path, lineno,
							"a timeline and the LSN where it ends are expected");
		if (ancestors != NIL && parent <= last_tli)
			invalid_history(path, lineno,
							"timelines must be in increasing sequence");

		ancestors = lappend(ancestors,
							make_timeline(parent, last_end,
										  ((uint64) hi) << 32 | lo));
		last_tli = parent;
		last_end = ((uint64) hi) << 32 | lo;
	}

	if (ancestors != NIL && tli <= last_tli)
		invalid_history(path, 0,
						"Timelines in it must be less than the file's own");
	return ancestors;
}

List *
walredo_timeline_history(TimeLineID tli, const char *text, Size length,
						 const char *path)
{
	List	   *ancestors = NIL;
	List	   *history;
	XLogRecPtr	begin = InvalidXLogRecPtr;

	/* The first timeline has no parents, and the server looks for no file. */
	if (text != NULL && tli != 1)
		ancestors = read_ancestors(tli, text, length, path);
	if (ancestors != NIL)
		begin = ((WalredoTimeline *) llast(ancestors))->end;

	/*
	 * Reverse the list.  lcons() would move all that is in the list each
	 * time, which takes quadratic time for a long file.
	 */
	history = list_make1(make_timeline(tli, begin, InvalidXLogRecPtr));
	for (int i = list_length(ancestors) - 1; i >= 0; i--)
		history = lappend(history, list_nth(ancestors, i));
	list_free(ancestors);

	return set_ends(history);
}

bool
walredo_timeline_histories_equal(const List *a, const List *b)
{
	ListCell   *lca;
	ListCell   *lcb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(lca, a, lcb, b)
	{
		WalredoTimeline *ta = lfirst(lca);
		WalredoTimeline *tb = lfirst(lcb);

		if (ta->tli != tb->tli || ta->begin != tb->begin ||
			ta->end != tb->end)
			return false;
	}
	return true;
}

bool
walredo_timeline_covers(const WalredoTimeline *timeline, XLogSegNo segno,
						int segsize)
{
	return segno >= timeline->begin / segsize &&
		segno <= (timeline->end - 1) / segsize;
}
