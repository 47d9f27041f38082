/*-------------------------------------------------------------------------
 *
 * install.c
 *	  Putting pages into the files of a server that is running.
 *
 * A page is put in through shared buffers, under a cleanup lock, and is logged
 * as a full-page image.  What matters is that nothing is overwritten but what
 * was judged, and that nobody ever sees anything but the page of before or the
 * new one.
 *
 * If the server can read the page, its buffer is locked, and compared with the
 * copy that was judged.  Whoever changes a page and logs that sets its LSN
 * under the lock, so if it is equal, no WAL record has changed it since.
 *
 * If the server cannot read the page, RBM_ZERO_AND_CLEANUP_LOCK gives a buffer
 * of zeroes, which is locked before anybody else can look into it.  From there
 * on nothing may fail before the page is in, because the zeroes would stay and
 * be taken for an empty page.  So all that can fail is done before.  A buffer
 * that is not empty was made valid by somebody else, and is left alone.  The
 * block in the file is looked at once more: had the page been changed since it
 * was judged, it would have been in a valid buffer and written before it was
 * evicted, so the server could read it now.  Then it is put into the buffer, as
 * if it had just been read.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/repair/install.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/current.h"
#include "repair/install.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/procsignal.h"
#include "storage/smgr.h"
#include "utils/wait_event.h"

/* How long is waited for others to release their pins, and how often. */
#define PIN_WAIT_MS			10000
#define PIN_DELAY_MS		5

/* ----------------------------------------
 * Looking
 * ----------------------------------------
 */

/* The argument of the functions that are attempted. */
typedef struct LookAttempt
{
	Relation	rel;
	ForkNumber	forknum;
	BlockNumber blkno;
	BlockNumber nblocks;		/* set by measure_fork() */
	char	   *page;			/* set by read_page() */
} LookAttempt;

static void
measure_fork(void *arg)
{
	LookAttempt *work = arg;
	SMgrRelation smgr = RelationGetSmgr(work->rel);

	smgrrelease(smgr);
	work->nblocks = smgrexists(smgr, work->forknum) ?
		smgrnblocks(smgr, work->forknum) : 0;
}

static void
read_page(void *arg)
{
	LookAttempt *work = arg;

	walredo_copy_live_page(work->rel, work->forknum, work->blkno, NULL,
						   work->page);
}

/* Opens the segment file of a block; -1 if that is not possible. */
static int
open_file(Relation rel, ForkNumber forknum, BlockNumber blkno)
{
	char	   *path = walredo_relation_path(RelationGetLocator(rel), forknum);
	BlockNumber segment = blkno / ((BlockNumber) RELSEG_SIZE);

	if (segment > 0)
		path = psprintf("%s.%u", path, segment);
	return OpenTransientFile(path, O_RDONLY | PG_BINARY);
}

/* Reads a block from its file.  Returns how many bytes of it could be read. */
static Size
read_file(int fd, BlockNumber blkno, char *page)
{
	off_t		offset = (off_t) BLCKSZ * (blkno % ((BlockNumber) RELSEG_SIZE));
	ssize_t		nread;

	if (fd < 0)
		return 0;
	nread = pg_pread(fd, page, BLCKSZ, offset);
	return Max(nread, 0);
}

void
walredo_look_at_file(Relation rel, ForkNumber forknum, BlockNumber blkno,
					 WalredoFoundBlock *found)
{
	int			fd = open_file(rel, forknum, blkno);

	found->condition = WALREDO_BLOCK_IS_UNREADABLE;
	found->error = NULL;
	found->file_size = read_file(fd, blkno, found->page.data);
	if (fd >= 0)
		CloseTransientFile(fd);
}

void
walredo_look_at_block(Relation rel, ForkNumber forknum, BlockNumber blkno,
					  WalredoFoundBlock *found)
{
	LookAttempt work = {rel, forknum, blkno, 0, found->page.data};
	ErrorData  *error;

	found->file_size = 0;
	found->error = NULL;
	found->condition = WALREDO_BLOCK_IS_MISSING;
	error = walredo_attempt(measure_fork, &work);
	found->nblocks = work.nblocks;
	if (error == NULL && blkno >= work.nblocks)
		return;
	if (error == NULL)
		error = walredo_attempt(read_page, &work);
	if (error == NULL)
	{
		found->condition = WALREDO_BLOCK_IS_READABLE;
		return;
	}
	walredo_look_at_file(rel, forknum, blkno, found);
	found->error = error->message;
}

/* ----------------------------------------
 * Installing
 * ----------------------------------------
 */

static bool
is_all_zero(const char *page)
{
	return page[0] == 0 && memcmp(page, page + 1, BLCKSZ - 1) == 0;
}

/*
 * Locks a buffer for cleanup.  False if another session has kept a pin on it
 * all the time.  LockBufferForCleanup() is not used, because it may wait for
 * ever, and because only one session may wait in it.
 */
static bool
lock_for_cleanup(Buffer buffer)
{
	for (int waited = 0; waited < PIN_WAIT_MS; waited += PIN_DELAY_MS)
	{
		if (ConditionalLockBufferForCleanup(buffer))
			return true;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PIN_DELAY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/* Puts an image into a buffer that is locked, and logs it. */
static XLogRecPtr
replace_page(Buffer buffer, const char *image)
{
	XLogRecPtr	lsn;

	START_CRIT_SECTION();
	memcpy(BufferGetPage(buffer), image, BLCKSZ);
	MarkBufferDirty(buffer);
	lsn = log_newpage_buffer(buffer, false);
	END_CRIT_SECTION();
	return lsn;
}

/* walredo_install_page() for a page that the server can read. */
static WalredoInstallOutcome
install_over_page(Relation rel, ForkNumber forknum, BlockNumber blkno,
				  const WalredoFoundBlock *found, const char *image,
				  XLogRecPtr *image_lsn)
{
	Buffer		buffer = ReadBufferExtended(rel, forknum, blkno, RBM_NORMAL,
											NULL);

	if (!lock_for_cleanup(buffer))
	{
		ReleaseBuffer(buffer);
		return WALREDO_INSTALL_PINNED;
	}
	if (memcmp(BufferGetPage(buffer), found->page.data, BLCKSZ) != 0)
	{
		UnlockReleaseBuffer(buffer);
		return WALREDO_INSTALL_CHANGED;
	}
	*image_lsn = replace_page(buffer, image);
	UnlockReleaseBuffer(buffer);
	return WALREDO_INSTALLED;
}

/* walredo_install_page() for a page that the server cannot read. */
static WalredoInstallOutcome
install_over_damage(Relation rel, ForkNumber forknum, BlockNumber blkno,
					const WalredoFoundBlock *found, const char *image,
					XLogRecPtr *image_lsn)
{
	WalredoInstallOutcome outcome = WALREDO_INSTALLED;
	PGAlignedBlock file;
	Buffer		buffer;
	Page		page;
	int			fd;

	/* It may have been truncated away, and must not be added again. */
	if (blkno >= RelationGetNumberOfBlocksInFork(rel, forknum))
		return WALREDO_INSTALL_CHANGED;
	fd = open_file(rel, forknum, blkno);
	buffer = ReadBufferExtended(rel, forknum, blkno,
								RBM_ZERO_AND_CLEANUP_LOCK, NULL);
	page = BufferGetPage(buffer);
	if (!is_all_zero(page))
		outcome = WALREDO_INSTALL_CHANGED;
	else if (read_file(fd, blkno, file.data) == BLCKSZ &&
			 (found->file_size < BLCKSZ ||
			  memcmp(file.data, found->page.data, BLCKSZ) != 0) &&
			 walredo_page_is_verified(file.data, blkno))
	{
		memcpy(page, file.data, BLCKSZ);
		outcome = WALREDO_INSTALL_CHANGED;
	}
	else
		*image_lsn = replace_page(buffer, image);
	UnlockReleaseBuffer(buffer);
	if (fd >= 0)
		CloseTransientFile(fd);
	return outcome;
}

WalredoInstallOutcome
walredo_install_page(Relation rel, ForkNumber forknum, BlockNumber blkno,
					 const WalredoFoundBlock *found, const char *image,
					 XLogRecPtr *image_lsn)
{
	Assert(found->condition != WALREDO_BLOCK_IS_MISSING);
	if (found->condition == WALREDO_BLOCK_IS_READABLE)
		return install_over_page(rel, forknum, blkno, found, image,
								 image_lsn);
	return install_over_damage(rel, forknum, blkno, found, image, image_lsn);
}

void
walredo_write_page(Relation rel, ForkNumber forknum, BlockNumber blkno,
				   XLogRecPtr image_lsn)
{
	Buffer		buffer = ReadBufferExtended(rel, forknum, blkno, RBM_NORMAL,
											NULL);

	LockBuffer(buffer, WALREDO_BUFFER_LOCK_FLUSH);
	if (PageGetLSN(BufferGetPage(buffer)) == image_lsn)
		FlushOneBuffer(buffer);
	UnlockReleaseBuffer(buffer);
}

/* ----------------------------------------
 * Blocks that are missing
 * ----------------------------------------
 */

void
walredo_wait_for_all(void)
{
	uint64		generation;

	generation = EmitProcSignalBarrier(PROCSIGNAL_BARRIER_SMGRRELEASE);
	WaitForProcSignalBarrier(generation);
}

void
walredo_add_block(Relation rel, ForkNumber forknum, BlockNumber blkno,
				  const char *image)
{
	SMgrRelation smgr = RelationGetSmgr(rel);
	PGAlignedBlock page;
	PGAlignedBlock zero;
	BlockNumber nblocks;

	memset(zero.data, 0, BLCKSZ);
	memcpy(page.data, image, BLCKSZ);
	walredo_set_checksum(page.data, blkno);
	LockRelationForExtension(rel, ExclusiveLock);
	smgrrelease(smgr);
	if (!smgrexists(smgr, forknum))
		smgrcreate(smgr, forknum, false);
	nblocks = smgrnblocks(smgr, forknum);
	while (nblocks <= blkno)
	{
		CHECK_FOR_INTERRUPTS();
		smgrextend(smgr, forknum, nblocks,
				   nblocks == blkno ? page.data : zero.data, false);

		/* Where a segment was missing, later ones are found now. */
		if (++nblocks % ((BlockNumber) RELSEG_SIZE) == 0)
			nblocks = smgrnblocks(smgr, forknum);
	}
	UnlockRelationForExtension(rel, ExclusiveLock);
}

/* ----------------------------------------
 * Undoing
 * ----------------------------------------
 */

WalredoInstallOutcome
walredo_restore_contents(Relation rel, ForkNumber forknum, BlockNumber blkno,
						 XLogRecPtr image_lsn, const char *contents,
						 Size size)
{
	Buffer		buffer = ReadBufferExtended(rel, forknum, blkno, RBM_NORMAL,
											NULL);
	PGAlignedBlock block;

	if (!lock_for_cleanup(buffer))
	{
		ReleaseBuffer(buffer);
		return WALREDO_INSTALL_PINNED;
	}
	if (PageGetLSN(BufferGetPage(buffer)) != image_lsn)
	{
		UnlockReleaseBuffer(buffer);
		return WALREDO_INSTALL_CHANGED;
	}

	/*
	 * Write the page first, so that the buffer is clean and is not written
	 * over the contents later.  Then make the buffer one whose page has not
	 * been read, as after a read that has failed.  Who waits for the lock
	 * with a pin still finds the page in it, which is right, and can only
	 * bring it back.
	 */
	FlushOneBuffer(buffer);
	memcpy(block.data, BufferGetPage(buffer), BLCKSZ);
	memcpy(block.data, contents, Min(size, BLCKSZ));
	smgrwrite(RelationGetSmgr(rel), forknum, blkno, block.data, false);
	walredo_invalidate_buffer(GetBufferDescriptor(buffer - 1));
	UnlockReleaseBuffer(buffer);
	return WALREDO_INSTALLED;
}
