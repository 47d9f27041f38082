/*-------------------------------------------------------------------------
 *
 * install.h
 *	  Putting pages into the files of a server that is running.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/repair/install.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPAIR_INSTALL_H
#define WALREDO_REPAIR_INSTALL_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "storage/block.h"
#include "storage/bufpage.h"
#include "utils/rel.h"

/* What a block was when it was looked at. */
typedef enum WalredoBlockCondition
{
	WALREDO_BLOCK_IS_MISSING,	/* the fork has no such block, or no file */
	WALREDO_BLOCK_IS_UNREADABLE,	/* the server cannot read it */
	WALREDO_BLOCK_IS_READABLE
} WalredoBlockCondition;

typedef struct WalredoFoundBlock
{
	WalredoBlockCondition condition;

	/*
	 * What the server has in its buffers, of BLCKSZ bytes; or if it cannot
	 * read the block, the first file_size bytes of it in the file, as many as
	 * could be read.
	 */
	PGAlignedBlock page;
	Size		file_size;

	char	   *error;			/* the server's message, palloc'd, or NULL */
	BlockNumber nblocks;		/* that the fork has, if the block is missing */
} WalredoFoundBlock;

/* How walredo_install_page() has ended. */
typedef enum WalredoInstallOutcome
{
	WALREDO_INSTALLED,
	WALREDO_INSTALL_CHANGED,	/* the block is not what it was */
	WALREDO_INSTALL_PINNED		/* another session does not let go of it */
} WalredoInstallOutcome;

/*
 * Looks at a block.  The relation must be locked.  Its files are opened anew,
 * so that files are noticed that were removed or replaced while the server was
 * running.
 */
extern void walredo_look_at_block(Relation rel, ForkNumber forknum,
								  BlockNumber blkno, WalredoFoundBlock *found);

/*
 * Reads a block from its file, whatever is in shared buffers, as for a block
 * that the server cannot read.  The relation must be locked.
 */
extern void walredo_look_at_file(Relation rel, ForkNumber forknum,
								 BlockNumber blkno, WalredoFoundBlock *found);

/*
 * Replaces a page, under a cleanup lock, if it is still what was found; but not
 * if the block was missing.  A full-page image of it is logged, as by
 * log_newpage_buffer(), so that standbys and later replay have it, too.
 * *image_lsn is set to the end LSN of that record, which is then also the LSN
 * of the page, unless it is all zeroes.  WAL is not flushed up to there.
 *
 * The bits of a heap page in the visibility map are cleared, and logged, too,
 * if the image does not say that all of its rows are visible.
 *
 * The relation must be locked, so that it cannot be truncated.  image has
 * BLCKSZ bytes.  A page that the server could read and that is what was found,
 * byte by byte, has not been changed by a WAL record since; one that it could
 * not read has not been changed, either, as long as it cannot.  So image must
 * have all changes that WAL had when the block was looked at.  But a record may
 * have cleared bits of a visibility map that were clear already, so for one,
 * the relation must have been locked against changes before that.
 *
 * Others wait for the lock no longer than it takes to copy the page and to
 * insert the record.  ERROR only before anything was changed.
 */
extern WalredoInstallOutcome
			walredo_install_page(Relation rel, ForkNumber forknum,
								 BlockNumber blkno,
								 const WalredoFoundBlock *found,
								 const char *image, XLogRecPtr *image_lsn);

/*
 * Writes a page that was installed, which its LSN must still show, to its file.
 */
extern void walredo_write_page(Relation rel, ForkNumber forknum,
							   BlockNumber blkno, XLogRecPtr image_lsn);

/*
 * Adds a block with this page to a fork, if it still is missing; so nobody ever
 * sees it empty.  Blocks before it that are missing, too, become all zeroes.
 * Creates the fork's file, and the files of segments, if they are missing.  The
 * page is not logged.
 *
 * Since before image was made, the relation must have been locked in a mode in
 * which no other session changes it, so that none adds the block as a new one;
 * and walredo_wait_for_all() must have been called since it was locked, because
 * a process may have a file open that was removed, and write to it in vain.
 */
extern void walredo_add_block(Relation rel, ForkNumber forknum,
							  BlockNumber blkno, const char *image);

/*
 * Waits until every process of the server has left the critical section that it
 * may have been in, and has closed the files of relations.
 */
extern void walredo_wait_for_all(void);

/*
 * Puts back what was in the file of a block that the server could not read, if
 * its page is still the one that was installed, with image_lsn.  size is that
 * of the contents, up to BLCKSZ.  This is not logged, and the server cannot
 * read the block again.  The relation must be locked in AccessExclusiveLock.
 */
extern WalredoInstallOutcome walredo_restore_contents(Relation rel,
													  ForkNumber forknum,
													  BlockNumber blkno,
													  XLogRecPtr image_lsn,
													  const char *contents,
													  Size size);

#endif							/* WALREDO_REPAIR_INSTALL_H */
