/*-------------------------------------------------------------------------
 *
 * verify_compare.c
 *	  Comparing a page of the server with the page rebuilt from WAL.
 *
 * Pages are compared in two steps.  Most are equal byte by byte, but for their
 * LSN and checksum, and this costs next to nothing.  The others are compared
 * under a mask: each resource manager has a routine that blanks what redo
 * need not reproduce, such as hint bits and the free space in the middle of a
 * page, and which the server itself uses for wal_consistency_checking.  That
 * routine trusts the page, and follows offsets that it finds in it.  As the
 * page may be damaged, a child runs it, for many pages at a time.
 *
 * Which mask is used is decided by the last record of the page that was no mere
 * full-page image, as such an image may have been logged under another resource
 * manager (RM_XLOG_ID).  Where WAL has no such record, the relation's access
 * method decides.
 *
 * LSNs are never a reason to call a page equal, or different: see verify.c.
 * They only serve to say, in the detail, what is wrong.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify_compare.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/bufmask.h"
#include "access/rmgr.h"
#include "catalog/pg_class.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "page/attempt.h"
#include "page/diff.h"
#include "page/verify_compare.h"
#include "redo/replay.h"
#include "storage/bufpage.h"
#include "utils/fmgroids.h"

/*
 * How many blocks are compared under a mask at a time.  Both pages of each are
 * copied for it, which takes 1 MB.
 */
#define BLOCKS_MASKED_AT_ONCE	64

/* The most runs of different bytes that a detail names. */
#define MAX_REPORTED_RUNS		5

RmgrId
walredo_mask_of_relation(Relation rel)
{
	if (RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))
		return RM_HEAP_ID;
	switch (rel->rd_amhandler)
	{
		case F_BTHANDLER:
			return RM_BTREE_ID;
		case F_HASHHANDLER:
			return RM_HASH_ID;
		case F_GISTHANDLER:
			return RM_GIST_ID;
		case F_GINHANDLER:
			return RM_GIN_ID;
		case F_SPGHANDLER:
			return RM_SPGIST_ID;
		case F_BRINHANDLER:
			return RM_BRIN_ID;
		default:
			/* Access methods of extensions use generic WAL. */
			return RM_GENERIC_ID;
	}
}

bool
walredo_is_equal_page(const char *a, const char *b)
{
	const Size	first = offsetof(PageHeaderData, pd_flags);

	return memcmp(a + first, b + first, BLCKSZ - first) == 0;
}

static bool
is_all_zero(const char *bytes, Size size)
{
	return size == 0 ||
		(bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

bool
walredo_is_unlogged_page(ForkNumber forknum, const char *page)
{
	PageHeader	header = (PageHeader) page;

	if (is_all_zero(page, BLCKSZ))
		return true;
	return PageGetLSN((Page) page) == InvalidXLogRecPtr &&
		header->pd_lower == SizeOfPageHeaderData &&
		header->pd_upper == header->pd_special &&
		header->pd_special <= BLCKSZ &&
		header->pd_special > SizeOfPageHeaderData &&
		(forknum != VISIBILITYMAP_FORKNUM ||
		 is_all_zero(page + SizeOfPageHeaderData,
					 BLCKSZ - SizeOfPageHeaderData));
}

/* Which bytes of two images differ, as the end of a sentence; palloc'd. */
static char *
describe_difference(const char *a, const char *b)
{
	StringInfoData buf;
	int			num_runs = 0;
	Size		start;
	Size		end = 0;

	initStringInfo(&buf);
	while (walredo_next_difference(a, b, BLCKSZ, &start, &end))
	{
		if (++num_runs > MAX_REPORTED_RUNS)
			continue;
		if (num_runs > 1)
			appendStringInfoString(&buf, ", ");
		if (end - start == 1)
			appendStringInfo(&buf, "%zu", start);
		else
			appendStringInfo(&buf, "%zu to %zu", start, end - 1);
	}
	if (num_runs > MAX_REPORTED_RUNS)
		appendStringInfo(&buf, ", and %d more ranges",
						 num_runs - MAX_REPORTED_RUNS);
	return buf.data;
}

void
walredo_block_set_result(WalredoBlockCheck *block,
						 WalredoVerifyStatus status, const char *detail)
{
	block->state = WALREDO_BLOCK_HAS_RESULT;
	block->result.status = status;
	block->result.detail = detail;
}

void
walredo_block_set_damage(WalredoBlockCheck *block, WalredoDamage damage,
						 const char *detail)
{
	walredo_block_set_result(block, WALREDO_VERIFY_MISMATCH, detail);
	block->result.damage = damage;
}

/*
 * What has become of a page whose earlier contents have ended, and what WAL
 * lacks since then, as a sentence; palloc'd.
 */
static const char *
describe_page_end(const WalredoRebuiltPage *page)
{
	bool		has_records = (page->num_records > 0);

	switch (page->end)
	{
		case WALREDO_TRUNCATED:
			return psprintf(has_records ?
							"The page was truncated at %X/%X, and WAL has no image of it since." :
							"The page was truncated at %X/%X, and WAL has no record of it since.",
							LSN_FORMAT_ARGS(page->end_lsn));
		case WALREDO_FILE_REMOVED:
			return psprintf(has_records ?
							"The file of the page was removed at %X/%X, and WAL has no image of the page since." :
							"The file of the page was removed at %X/%X, and WAL has no record of the page since.",
							LSN_FORMAT_ARGS(page->end_lsn));
		default:
			return psprintf(has_records ?
							"The file of the page was created at %X/%X, and WAL has no image of the page since." :
							"The file of the page was created at %X/%X, and WAL has no record of the page since.",
							LSN_FORMAT_ARGS(page->end_lsn));
	}
}

/*
 * Gives a result to a block that WAL makes no image of, so that there is
 * nothing to compare the page with.
 *
 * In two cases it is known all the same what the page must be: if it ended, or
 * a backup does not have it, and no record of it came since.  Then it is empty,
 * as the server makes it, without logging that, when it extends a fork.  A page
 * that is not empty is a mismatch after a truncation.  A file that was created
 * anew may have been filled without WAL (with wal_level = minimal), so that
 * contents there only cannot be verified.
 */
static void
compare_without_image(const WalredoVerifiedFork *fork,
					  const WalredoVerifyWal *wal, WalredoBlockCheck *block,
					  const char *live)
{
	const WalredoRebuiltPage *page = &block->rebuilt;
	bool		is_new = is_all_zero(live, BLCKSZ);
	WalredoVerifyStatus status = WALREDO_VERIFY_UNVERIFIABLE;
	const char *detail = walredo_rebuilt_page_problem(page);

	if (detail != NULL)
		status = WALREDO_VERIFY_UNVERIFIABLE;
	else if (page->end != WALREDO_NOT_ENDED && page->num_records > 0)
		detail = describe_page_end(page);
	else if (page->end != WALREDO_NOT_ENDED &&
			 walredo_is_unlogged_page(fork->tag.forknum, live))
	{
		status = WALREDO_VERIFY_OK;
		detail = NULL;
	}
	else if (page->end == WALREDO_TRUNCATED)
	{
		status = WALREDO_VERIFY_MISMATCH;
		detail = psprintf("The page was truncated at %X/%X and has not been initialized since, but it is not empty.",
						  LSN_FORMAT_ARGS(page->end_lsn));
	}
	else if (page->end != WALREDO_NOT_ENDED)
		detail = describe_page_end(page);
	else if (page->backup_problem != NULL)
		detail = psprintf(page->num_records > 0 ?
						  "WAL, which begins at %X/%X, has no image of the page. %s" :
						  "WAL, which begins at %X/%X, has no record of the page. %s",
						  LSN_FORMAT_ARGS(wal->start_lsn),
						  page->backup_problem);
	else if (page->is_not_in_backup && page->num_records == 0 &&
			 walredo_is_unlogged_page(fork->tag.forknum, live))
	{
		/* The fork was extended after the backup, which is not logged. */
		status = WALREDO_VERIFY_OK;
		detail = NULL;
	}
	else if (page->is_not_in_backup)
		detail = psprintf(page->num_records > 0 ?
						  "The page is not in backup \"%s\", and WAL since then, from %X/%X on, has no image of it." :
						  "The page is not in backup \"%s\", and WAL since then, from %X/%X on, has no record of it.",
						  wal->backup->directory,
						  LSN_FORMAT_ARGS(wal->start_lsn));
	else
		detail = psprintf(page->num_records > 0 ?
						  "%sWAL, which begins at %X/%X, has no image of the page." :
						  "%sWAL, which begins at %X/%X, has no record of the page.",
						  is_new ? "The page is all zeroes. " : "",
						  LSN_FORMAT_ARGS(wal->start_lsn));
	walredo_block_set_result(block, status, detail);
}

void
walredo_compare_block(const WalredoVerifiedFork *fork,
					  const WalredoVerifyWal *wal, WalredoBlockCheck *block,
					  const char *live)
{
	if (block->rebuilt.image == NULL)
		compare_without_image(fork, wal, block, live);
	else if (walredo_is_equal_page(live, VARDATA(block->rebuilt.image)))
		walredo_block_set_result(block, WALREDO_VERIFY_OK, NULL);

	/* The server may have made an empty page since the backup, unlogged. */
	else if (block->rebuilt.num_records == 0 &&
			 walredo_is_unlogged_page(fork->tag.forknum, live) &&
			 walredo_is_unlogged_page(fork->tag.forknum,
									  VARDATA(block->rebuilt.image)))
		walredo_block_set_result(block, WALREDO_VERIFY_OK, NULL);
	else
		block->state = WALREDO_BLOCK_DIFFERS;
}

/* The resource manager whose mask is used for a block's page. */
static RmgrId
mask_of_block(const WalredoVerifiedFork *fork, const WalredoBlockCheck *block)
{
	return block->rebuilt.rmid >= 0 ?
		(RmgrId) block->rebuilt.rmid : fork->rmid;
}

/*
 * Gives a result to a block of which live and rebuilt are the masked images:
 * either both are equal, or this is a mismatch.
 */
static void
compare_masked_images(WalredoBlockCheck *block, const char *live,
					  const char *rebuilt)
{
	XLogRecPtr	rebuilt_lsn = PageGetLSN((Page) VARDATA(block->rebuilt.image));
	WalredoDamage damage = WALREDO_DAMAGE_CONTENTS;
	const char *difference;
	const char *detail;

	if (memcmp(live, rebuilt, BLCKSZ) == 0)
	{
		walredo_block_set_result(block, WALREDO_VERIFY_OK, NULL);
		return;
	}
	difference = describe_difference(live, rebuilt);
	if (is_all_zero(block->live, BLCKSZ))
	{
		damage = WALREDO_DAMAGE_ZEROED;
		detail = psprintf("The page is all zeroes, but according to WAL it has LSN %X/%X.",
						  LSN_FORMAT_ARGS(rebuilt_lsn));
	}
	else if (block->result.page_lsn < rebuilt_lsn)
	{
		damage = WALREDO_DAMAGE_LOST_WRITE;
		detail = psprintf("A write was lost: the page has LSN %X/%X, but WAL has changed it up to %X/%X. Bytes that differ: %s.",
						  LSN_FORMAT_ARGS(block->result.page_lsn),
						  LSN_FORMAT_ARGS(rebuilt_lsn), difference);
	}
	else
		detail = psprintf("The page has LSN %X/%X, and according to WAL it has %X/%X. Bytes that differ: %s.",
						  LSN_FORMAT_ARGS(block->result.page_lsn),
						  LSN_FORMAT_ARGS(rebuilt_lsn), difference);
	walredo_block_set_damage(block, damage, detail);
}

/* A page that is masked in an attempt. */
typedef struct MaskAttempt
{
	RmgrId		rmid;
	BlockNumber blkno;
	char	   *page;
} MaskAttempt;

static void
mask_page(void *arg)
{
	MaskAttempt *work = arg;

	walredo_mask_page(work->rmid, work->blkno, work->page);
}

bool
walredo_mask_pair(RmgrId rmid, BlockNumber blkno, char *a, char *b)
{
	PGAlignedBlock a_copy;
	PGAlignedBlock b_copy;
	MaskAttempt work = {rmid, blkno, NULL};

	memcpy(a_copy.data, a, BLCKSZ);
	memcpy(b_copy.data, b, BLCKSZ);
	work.page = a_copy.data;
	if (walredo_attempt(mask_page, &work) != NULL)
		return false;
	work.page = b_copy.data;
	if (walredo_attempt(mask_page, &work) != NULL)
		return false;
	memcpy(a, a_copy.data, BLCKSZ);
	memcpy(b, b_copy.data, BLCKSZ);
	return true;
}

/* The two images of a block, without LSN and checksum, to be masked. */
static void
copy_images(const WalredoBlockCheck *block, char *live, char *rebuilt)
{
	memcpy(live, block->live, BLCKSZ);
	memcpy(rebuilt, VARDATA(block->rebuilt.image), BLCKSZ);
	mask_page_lsn_and_checksum(live);
	mask_page_lsn_and_checksum(rebuilt);
}

/* Masks pages in a child.  False if it has failed at one of them. */
static bool
mask_together(WalredoMaskJob *jobs, int njobs)
{
	WalredoReplayStream *stream = walredo_mask_begin();
	bool		done = true;

	for (int i = 0; i < njobs; i++)
		walredo_mask_add(stream, &jobs[i]);
	walredo_replay_end(stream);
	for (int i = 0; i < njobs; i++)
		done = done && jobs[i].done;
	return done;
}

/*
 * Compares up to BLOCKS_MASKED_AT_ONCE blocks, all in state DIFFERS.
 *
 * Nearly always no page is damaged, so that all are first sent to a child
 * together.  If it fails, this does not tell on which of them, and some may
 * have been masked and others not.  Then they are masked one by one, from
 * fresh copies.
 */
static void
compare_some_masked(const WalredoVerifiedFork *fork,
					WalredoBlockCheck **blocks, int nblocks)
{
	PGAlignedBlock *pages = palloc(2 * nblocks * sizeof(PGAlignedBlock));
	WalredoMaskJob *jobs = palloc(2 * nblocks * sizeof(WalredoMaskJob));
	bool		all_masked = true;

	for (int i = 0; i < nblocks; i++)
		copy_images(blocks[i], pages[2 * i].data, pages[2 * i + 1].data);
	for (int i = 0; i < 2 * nblocks; i++)
	{
		jobs[i].rmid = mask_of_block(fork, blocks[i / 2]);
		jobs[i].blkno = blocks[i / 2]->result.blkno;
		jobs[i].page = pages[i].data;
	}

	/*
	 * To the heap's mask, a page of the visibility map is one without line
	 * pointers, so that all of its contents are free space, which would be
	 * blanked.  Any two of them would be equal.  There is nothing in such a
	 * page that redo does not reproduce, so no mask is used.
	 */
	if (fork->tag.forknum != VISIBILITYMAP_FORKNUM)
		all_masked = mask_together(jobs, 2 * nblocks);

	for (int i = 0; i < nblocks; i++)
	{
		char	   *live = pages[2 * i].data;
		char	   *rebuilt = pages[2 * i + 1].data;

		if (!all_masked)
		{
			copy_images(blocks[i], live, rebuilt);

			/* If they cannot be masked, they are not equal. */
			(void) walredo_mask_pair(jobs[2 * i].rmid, jobs[2 * i].blkno,
									 live, rebuilt);
		}
		compare_masked_images(blocks[i], live, rebuilt);
	}
	pfree(jobs);
	pfree(pages);
}

void
walredo_compare_masked(const WalredoVerifiedFork *fork,
					   WalredoBlockCheck *blocks, int nblocks)
{
	WalredoBlockCheck *differing[BLOCKS_MASKED_AT_ONCE];
	int			n = 0;

	for (int i = 0; i < nblocks; i++)
	{
		if (blocks[i].state == WALREDO_BLOCK_DIFFERS)
			differing[n++] = &blocks[i];
		if (n == BLOCKS_MASKED_AT_ONCE || (i == nblocks - 1 && n > 0))
		{
			compare_some_masked(fork, differing, n);
			n = 0;
		}
	}
}
