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
 * If the server cannot read the page, RBM_ZERO_AND_LOCK gives a buffer of
 * zeroes, which is locked before anybody else can look into it.  From there
 * on nothing may fail before the page is in, because the zeroes would stay and
 * be taken for an empty page.  So all that can fail is done before.  A buffer
 * that somebody else has made valid is left alone.  The
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

#include "access/rmgr.h"
#include "access/visibilitymap.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "executor/instrument.h"
#include "page/current.h"
#include "page/verify_compare.h"
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

/*
 * Reads a page, and locks it for cleanup.  InvalidBuffer if other sessions have
 * had pins on it all the time.  LockBufferForCleanup() is not used, because it
 * may wait for ever, and because only one session may wait in it.  No pin is
 * kept while waiting, as others may be waiting for it.
 */
static Buffer
read_for_cleanup(Relation rel, ForkNumber forknum, BlockNumber blkno)
{
	for (int waited = 0; waited < PIN_WAIT_MS; waited += PIN_DELAY_MS)
	{
		Buffer		buffer = ReadBufferExtended(rel, forknum, blkno,
												RBM_NORMAL, NULL);

		if (ConditionalLockBufferForCleanup(buffer))
			return buffer;
		ReleaseBuffer(buffer);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PIN_DELAY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return InvalidBuffer;
}

/*
 * Pins the page of the visibility map that has the bits of a heap page, if an
 * image of that page does not say that all rows are visible; else returns
 * InvalidBuffer.  A bit that is set without the heap page's saying so would
 * never be cleared again, and rows would be missing, or wrong, in index-only
 * scans.
 */
static Buffer
pin_map(Relation rel, ForkNumber forknum, BlockNumber blkno, const char *image)
{
	Buffer		buffer = InvalidBuffer;

	if (forknum == MAIN_FORKNUM &&
		walredo_mask_of_relation(rel) == RM_HEAP_ID &&
		(PageIsNew((Page) image) || !PageIsAllVisible((Page) image)))
		(void) visibilitymap_get_status(rel, blkno, &buffer);
	return buffer;
}

/* Clears and logs the bits of a heap page; in a critical section. */
static void
clear_map(Relation rel, BlockNumber blkno, Buffer map)
{
	if (!BufferIsValid(map) ||
		!visibilitymap_clear(rel, blkno, map, VISIBILITYMAP_VALID_BITS))
		return;
	LockBuffer(map, BUFFER_LOCK_EXCLUSIVE);
	(void) log_newpage_buffer(map, false);
	LockBuffer(map, BUFFER_LOCK_UNLOCK);
}

/*
 * Puts an image into a buffer that is locked, and logs it.  map is what
 * pin_map() has returned.
 */
static XLogRecPtr
replace_page(Relation rel, BlockNumber blkno, Buffer buffer,
			 const char *image, Buffer map)
{
	XLogRecPtr	lsn;

	START_CRIT_SECTION();
	clear_map(rel, blkno, map);
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
	WalredoInstallOutcome outcome = WALREDO_INSTALL_CHANGED;
	Buffer		map = pin_map(rel, forknum, blkno, image);
	Buffer		buffer = read_for_cleanup(rel, forknum, blkno);

	if (!BufferIsValid(buffer))
		outcome = WALREDO_INSTALL_PINNED;
	else
	{
		if (memcmp(BufferGetPage(buffer), found->page.data, BLCKSZ) == 0)
		{
			*image_lsn = replace_page(rel, blkno, buffer, image, map);
			outcome = WALREDO_INSTALLED;
		}
		UnlockReleaseBuffer(buffer);
	}
	if (BufferIsValid(map))
		ReleaseBuffer(map);
	return outcome;
}

/* walredo_install_page() for a page that the server cannot read. */
static WalredoInstallOutcome
install_over_damage(Relation rel, ForkNumber forknum, BlockNumber blkno,
					const WalredoFoundBlock *found, const char *image,
					XLogRecPtr *image_lsn)
{
	WalredoInstallOutcome outcome = WALREDO_INSTALLED;
	PGAlignedBlock file;
	int64		num_hits;
	Buffer		buffer;
	Buffer		map;
	Page		page;
	int			fd;

	/* It may have been truncated away, and must not be added again. */
	if (blkno >= RelationGetNumberOfBlocksInFork(rel, forknum))
		return WALREDO_INSTALL_CHANGED;
	map = pin_map(rel, forknum, blkno, image);
	fd = open_file(rel, forknum, blkno);

	/*
	 * RBM_ZERO_AND_CLEANUP_LOCK would wait for pins without end if somebody
	 * has made the buffer valid.  If nobody has, both modes are the same.
	 */
	num_hits = pgBufferUsage.shared_blks_hit;
	buffer = ReadBufferExtended(rel, forknum, blkno, RBM_ZERO_AND_LOCK, NULL);
	page = BufferGetPage(buffer);
	if (pgBufferUsage.shared_blks_hit != num_hits)
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
		*image_lsn = replace_page(rel, blkno, buffer, image, map);
	UnlockReleaseBuffer(buffer);
	if (BufferIsValid(map))
		ReleaseBuffer(map);
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

/* Clears the bits of a heap page in the visibility map, if need be. */
static void
forget_visibility(Relation rel, ForkNumber forknum, BlockNumber blkno,
				  const char *image)
{
	Buffer		map = pin_map(rel, forknum, blkno, image);

	if (!BufferIsValid(map))
		return;
	START_CRIT_SECTION();
	clear_map(rel, blkno, map);
	END_CRIT_SECTION();
	ReleaseBuffer(map);
}

void
walredo_add_block(Relation rel, ForkNumber forknum, BlockNumber blkno,
				  const char *image)
{
	SMgrRelation smgr = RelationGetSmgr(rel);
	PGIOAlignedBlock page;
	PGIOAlignedBlock zero;
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
		forget_visibility(rel, forknum, nblocks,
						  nblocks == blkno ? image : zero.data);
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
	Buffer		buffer = read_for_cleanup(rel, forknum, blkno);
	PGIOAlignedBlock block;

	if (!BufferIsValid(buffer))
		return WALREDO_INSTALL_PINNED;
	if (PageGetLSN(BufferGetPage(buffer)) != image_lsn)
	{
		UnlockReleaseBuffer(buffer);
		return WALREDO_INSTALL_CHANGED;
	}

	/*
	 * Write the page first, so that the buffer is clean and is not written
	 * over the contents later.  Then make the buffer one whose page has not
	 * been read, as after a read that has failed.  The relation is locked, so
	 * nobody else has a pin, or gets one, and could change a page that is not
	 * valid any more.
	 */
	FlushOneBuffer(buffer);
	memcpy(block.data, BufferGetPage(buffer), BLCKSZ);
	memcpy(block.data, contents, Min(size, BLCKSZ));
	smgrwrite(RelationGetSmgr(rel), forknum, blkno, block.data, false);
	walredo_invalidate_buffer(GetBufferDescriptor(buffer - 1));
	UnlockReleaseBuffer(buffer);
	return WALREDO_INSTALLED;
}
