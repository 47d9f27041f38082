/*-------------------------------------------------------------------------
 *
 * format.h
 *	  The index of one segment: which of its records concern which page.
 *
 * An index lists, for each page that records of one segment file change, the
 * LSNs where these records begin.  Pages are those of walredo_changes_of():
 * blocks that records name, but also pages of the visibility map and of SLRUs,
 * relation maps, and the states of prepared transactions.  Records that end
 * pages without naming them are listed, too: under the relation if the record
 * says which relations it concerns, and otherwise under a key that every page
 * of the kind has in common.  For each record there is a bit that says whether
 * it may start or end the page, so that those who read backwards know where
 * they can stop.
 *
 * An index never says what a record does.  Whoever finds a record through it
 * reads that record from WAL, and walredo_changes_of() decides.  So an index
 * may well list too many records, and does: see
 * walredo_index_file_lookup().  It must never list too few; builder.h says how
 * it is made.
 *
 * An index belongs to one file, not to one segment: see WalredoSegmentId.
 *
 * Files can be damaged, or be made by anyone.  Everything in them is checked
 * before it is used, and what is not right is reported to the caller, never
 * raised as an error.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/index/format.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_INDEX_FORMAT_H
#define WALREDO_INDEX_FORMAT_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "record/tag.h"
#include "source/source.h"

/* A record that concerns a page. */
typedef struct WalredoIndexRef
{
	XLogRecPtr	lsn;			/* where the record begins */
	bool		may_stop;		/* it may start or end the page */
} WalredoIndexRef;

/* What an index says about itself. */
typedef struct WalredoIndexInfo
{
	WalredoSegmentId id;		/* the file that it was made from */
	XLogRecPtr	first_lsn;		/* of the first record that begins in it */
	XLogRecPtr	first_prev;		/* that record's xl_prev */
	XLogRecPtr	last_lsn;		/* of the last record that begins in it */
	XLogRecPtr	end_lsn;		/* where that record ends */
} WalredoIndexInfo;

/* An index that has been opened: its header, and where which page is. */
typedef struct WalredoIndexFile WalredoIndexFile;

/*
 * Reads the header of an index, and its directory of blocks.  Returns NULL if
 * the file is no index, is damaged, is of another version, or of a server with
 * another layout of pages, or, unless id is NULL, if it is not of that segment
 * file.  Never raises an error because of what is in the file.
 *
 * The result is allocated in the current memory context.  fd is a plain
 * descriptor; it stays open, and is not kept: the functions below are given it,
 * or another one of the same file.
 */
extern WalredoIndexFile *walredo_index_file_open(int fd,
												 const WalredoSegmentId *id);

/* What the header says.  Lives as long as the file. */
extern const WalredoIndexInfo *walredo_index_file_info(WalredoIndexFile *file);

/* The memory that an open file takes, in bytes. */
extern Size walredo_index_file_memory(const WalredoIndexFile *file);

extern void walredo_index_file_free(WalredoIndexFile *file);

/* What the functions below return if they cannot answer. */
#define WALREDO_INDEX_DAMAGED	(-1)
#define WALREDO_INDEX_NOT_READ	(-2)

/*
 * Looks up the records that concern a page.  Returns their number, which can be
 * 0, and then sets *refs to NULL; else *refs is palloc'd, in ascending order,
 * and without duplicates.  Returns WALREDO_INDEX_DAMAGED if the file is
 * damaged.
 *
 * What is read from the file is kept in memory.  If fd is -1, the answer is
 * looked for there, and WALREDO_INDEX_NOT_READ returned if it takes more.
 *
 * These are all records of the segment for which walredo_changes_of() with a
 * filter of that page returns something.  There can be others among them: those
 * that end other pages of the relation, databases, tablespaces, or other pages
 * of an SLRU; and for a page of pg_commit_ts, those that change the pages of
 * pg_xact with the same transactions, as the index does not have commits twice.
 */
extern int	walredo_index_file_lookup(WalredoIndexFile *file, int fd,
									  const WalredoTag *tag,
									  WalredoIndexRef **refs);

/*
 * The same, but only records that end pages without naming them: those that
 * create, truncate or remove files of the relation of a block, and those that
 * may do so because they concern a whole database or tablespace.
 */
extern int	walredo_index_file_lookup_ends(WalredoIndexFile *file, int fd,
										   const WalredoTag *tag,
										   WalredoIndexRef **refs);

#endif							/* WALREDO_INDEX_FORMAT_H */
