/*-------------------------------------------------------------------------
 *
 * current.h
 *	  The server's own pages, where WAL has not changed them since an LSN.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/current.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_CURRENT_H
#define WALREDO_PAGE_CURRENT_H

#include "postgres.h"

#include "record/tag.h"
#include "compat.h"
#include "storage/buf.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "wal/reader.h"

typedef struct WalredoCurrent WalredoCurrent;

/*
 * Prepares to take pages of some forks from the server.  forks are tags of any
 * blocks of them.  If only_page is set, there is one, and only the page that
 * its tag names is going to be asked for.
 *
 * reader reads WAL of directory, and has read it up to lsn, as of which pages
 * are wanted.  Returns NULL if its WAL is not that of this server, on the
 * timeline that the server is on; or if the server is in recovery, where it
 * cannot be told which records a page has.
 *
 * The result is allocated in the current memory context, and holds nothing
 * between calls.
 */
extern WalredoCurrent *walredo_current_begin(const WalredoTag *forks,
											 int nforks, bool only_page,
											 const char *directory,
											 WalredoReader *reader,
											 XLogRecPtr lsn);

/* Only pages of a slice are going to be asked for. */
extern void walredo_current_set_slice(WalredoCurrent *current,
									  const WalredoSlice *slice);

/*
 * The number of blocks that fork number i has in the server; 0 if it is not
 * one of which pages can be taken: the file is not that of a permanent relation
 * of this database, or it is that of a sequence, which is logged ahead of its
 * use, or it is a visibility map, whose bits are cleared before that is logged.
 */
extern BlockNumber walredo_current_blocks(WalredoCurrent *current, int i);

/*
 * Returns a page of fork number i as it was at the LSN, or NULL if it is not
 * known to be the same now: because WAL has changed or ended it since, the WAL
 * since is not there, or the server cannot read the page.  An empty page is not
 * returned, either, because a fork is extended without logging that.  The
 * result is valid until the next call.
 *
 * It has hint bits, and what else is not logged, as of now.
 */
extern bytea *walredo_current_page(WalredoCurrent *current, int i,
								   BlockNumber blkno);

/*
 * Copies a page, of BLCKSZ bytes, out of the server's buffers.  The relation
 * must be locked.  ERROR if it cannot be read.
 */
extern void walredo_copy_live_page(Relation rel, ForkNumber forknum,
								   BlockNumber blkno,
								   BufferAccessStrategy strategy, char *page);

/* The same as an attempt, of which arg is a WalredoLiveCopy. */
typedef struct WalredoLiveCopy
{
	Relation	rel;
	ForkNumber	forknum;
	BlockNumber blkno;
	char	   *page;
} WalredoLiveCopy;

extern void walredo_copy_live_attempt(void *arg);

/*
 * As walredo_copy_live_page(), and reads the page from its file as well, into
 * disk, if the page in shared buffers is clean, and was not read from the file
 * just now, so that the two could differ.  Returns whether it has.  What is in
 * the file may lack bits that are changed without being logged, or have more of
 * them.  *bad_checksum is set if what is in the file has a wrong checksum.  If
 * there is an ERROR, *is_disk_error tells if it is the file that could not be
 * read.
 */
extern bool walredo_copy_live_and_disk(Relation rel, ForkNumber forknum,
									   BlockNumber blkno,
									   BufferAccessStrategy strategy,
									   char *page, PGIOAlignedBlock *disk,
									   bool *bad_checksum,
									   bool *is_disk_error);

#endif							/* WALREDO_PAGE_CURRENT_H */
