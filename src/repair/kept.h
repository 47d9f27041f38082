/*-------------------------------------------------------------------------
 *
 * kept.h
 *	  What repairs have replaced, kept in files.
 *
 * Nothing that a repair overwrites is lost.  Before it is overwritten, a file
 * in the data directory gets what was there and what takes its place, and when
 * that is done, the file gets a note of it.  So if the server, or the machine,
 * dies in between, what was there is kept, and the missing note says that it is
 * not known whether it was overwritten.
 *
 * Nothing is ever removed from there, except by walredo_kept_forget().  An
 * administrator may remove files at any time.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/repair/kept.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPAIR_KEPT_H
#define WALREDO_REPAIR_KEPT_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "record/tag.h"

/* The directory, in the data directory. */
#define WALREDO_KEPT_DIRECTORY	"walredo_repairs"

/* One repair. */
typedef struct WalredoKept
{
	int64		id;				/* from 1 on, in the order of repairs; there
								 * may be gaps */
	TimestampTz started_at;
	const char *role;			/* the names of who did it, where */
	const char *database;
	const char *relation;		/* and of what, as text; NULL if it has none */
	WalredoTag	tag;			/* of the page, or of the first in a file */
	const char *source;			/* what the new contents were made from */
	XLogRecPtr	page_lsn;		/* LSN of what was there, or 0/0 */
	XLogRecPtr	rebuilt_lsn;	/* end LSN of the last record in what is new */
	int64		undo_of;		/* the repair that this one undoes, or 0 */

	/*
	 * Was the page readable, so that the server had it in a buffer?  Else
	 * old_contents is what was in the file.
	 */
	bool		was_readable;
	const bytea *old_contents;	/* NULL if nothing was there */
	const bytea *new_contents;

	/* The note: is_done says that it is there. */
	bool		is_done;
	TimestampTz finished_at;
	XLogRecPtr	image_lsn;		/* end LSN of the image that was logged, or
								 * 0/0 if none was */
} WalredoKept;

/*
 * Begins to fill in a repair, with what is known of who does what now.
 */
extern void walredo_kept_begin(WalredoKept *kept, const WalredoTag *tag);

/*
 * Writes a repair, except for the note, to a new file, flushes that to disk,
 * and returns the ID that it has got.  id, is_done and what follows it in *kept
 * are not looked at.  ERROR if it cannot be written.
 */
extern int64 walredo_kept_add(const WalredoKept *kept);

/* Adds the note, flushed to disk.  ERROR if it cannot be written. */
extern void walredo_kept_finish(int64 id, XLogRecPtr image_lsn);

/*
 * Removes a repair that has not been done, because what was there changed
 * before it could be overwritten.
 */
extern void walredo_kept_forget(int64 id);

/* The IDs of all repairs that are kept, ascending; a list of int64 *. */
extern List *walredo_kept_ids(void);

/*
 * Reads a repair; palloc'd.  Returns NULL if there is none with this ID.  ERROR
 * XX001 if the file is broken.
 */
extern WalredoKept *walredo_kept_read(int64 id);

#endif							/* WALREDO_REPAIR_KEPT_H */
