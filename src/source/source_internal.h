/*-------------------------------------------------------------------------
 *
 * source_internal.h
 *	  What the two halves of a source share: which WAL it is of (source.c), and
 *	  the files of its segments (segments.c).
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/source/source_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_SOURCE_INTERNAL_H
#define WALREDO_SOURCE_INTERNAL_H

#include "postgres.h"

#include "access/xlog_internal.h"
#include "source/held_file.h"
#include "source/listing.h"
#include "source/segment_file.h"
#include "source/source.h"
#include "source/timeline.h"
#include "utils/hsearch.h"

typedef struct WalredoKeptSource WalredoKeptSource;

/* How many files a source holds. */
#define WALREDO_MAX_HELD	4

/*
 * A file that walredo_source_hold() has opened.  The timeline is the one that
 * was followed then, and the listing the one that the file is in.
 */
typedef struct WalredoHeldSegment
{
	WalredoHeldFile *file;
	WalredoSegment segment;
	XLogSegNo	segno;
	TimeLineID	followed;
	uint64		listing;
	uint64		use;			/* the last use that has seen it in its place */
	uint64		last_hold;		/* a number that grows with each call */
	bool		is_checked;		/* its first page was */
	bool		is_plain;		/* it is known not to be compressed */
} WalredoHeldSegment;

struct WalredoSourceFiles
{
	MemoryContext context;		/* of the source */
	WalredoDirectory *directories;
	int			ndirectories;
	bool		has_pg_wal;		/* $pg_wal is among them */
	WalredoListing *listing;

	/* What is needed only while the source is used, in a context of its own. */
	MemoryContext using;
	WalredoSegmentFile *reading;	/* for the contents of segments */
	WalredoSegmentFile *probing;	/* for their headers, and for histories */
	uint64		use;			/* how often the source has been used */

	/* The files of walredo_source_hold(), and the one that it returned last. */
	WalredoHeldSegment held[WALREDO_MAX_HELD];
	WalredoHeldSegment *last_held;

	/* Headers of files that have been read: see probe_header(). */
	HTAB	   *headers;

	/*
	 * The struct stat of files that could not be decompressed.  Other files
	 * of their segments are preferred from then on.
	 */
	List	   *broken;

	/* Names of files that walredo.restore_command has not found. */
	HTAB	   *not_restored;
	bool		has_asked;		/* the command has been asked for something */

	/*
	 * From the first to the last of these segments, the history can be read
	 * without a gap, as found by walredo_source_start() in this listing, or
	 * listing 0 if that is not known.
	 */
	XLogSegNo	gapless_first;
	XLogSegNo	gapless_last;
	uint64		gapless_listing;

	WalredoKeptSource *kept;	/* private to source.c */
};

StaticAssertDecl(WALREDO_SEGMENT_NAME >= WALREDO_LISTED_NAME,
				 "the name of a listed file must fit into a segment's");

/* Sets up source->files, and lists the directories. */
extern void walredo_source_open_files(WalredoSource *source,
									  const char *directories);

/*
 * Sets up, and frees, what is needed only while the source is used.  The first
 * is part of walredo_source_open_files().
 */
extern void walredo_source_begin_use(WalredoSource *source);
extern void walredo_source_end_use(WalredoSource *source);

/* Closes the files of walredo_source_hold(). */
extern void walredo_source_close_held(WalredoSource *source);

/*
 * Gets a file by walredo.restore_command, unless that is not set, or has not
 * found the file before.  Returns false if it is not there.
 */
extern bool walredo_source_restore(WalredoSource *source, const char *name,
								   char *path);

/*
 * Reads the long page header at the beginning of a file.  Returns NULL, or says
 * why that is not possible.
 */
extern const char *walredo_source_read_header(WalredoSource *source,
											  const char *path,
											  XLogLongPageHeader header);

/*
 * Returns whether a listed file begins as a segment of this PostgreSQL version
 * does, and gets its header.
 */
extern bool walredo_source_is_valid(WalredoSource *source,
									const WalredoListedFile *file,
									XLogLongPageHeader header);

/* The timeline in the history that is followed, or NULL if it is not there. */
extern WalredoTimeline *walredo_source_timeline(WalredoSource *source,
												TimeLineID tli);

/*
 * Returns whether a segment of a timeline can hold a part of the history.
 */
extern bool walredo_source_in_history(WalredoSource *source, TimeLineID tli,
									  XLogSegNo segno);

/* The number of a listed segment; false if no segment has such a name. */
extern bool walredo_source_segno(WalredoSource *source,
								 const WalredoListedFile *file,
								 XLogSegNo *segno);

/* ERROR that walredo_open_regular_file() has failed as errno says. */
extern void walredo_source_report_not_opened(const char *path);

#endif							/* WALREDO_SOURCE_INTERNAL_H */
