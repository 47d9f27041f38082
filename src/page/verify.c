/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Comparing the pages of relations with WAL.
 *
 * WAL is read once, from where it begins to where it ends at that moment, for
 * all forks that are to be checked, and their pages are rebuilt from it
 * (rebuild.c).  Then the forks are compared one after the other
 * (verify_fork.c): the server's own pages are read through its buffers, and
 * each is compared with the rebuilt one (verify_compare.c).  A page that has
 * not been changed since must be equal to it, under the resource manager's
 * mask.
 *
 * If there is a backup, and WAL reaches back to its start, WAL is read from
 * there on, and pages of which WAL has no image are rebuilt from the backup's.
 * So pages that have not been changed for a long time can be compared, too.
 *
 * For a single block, WAL is read backwards from its end, to the record that
 * starts the page (scan.c), which takes some milliseconds if there are indexes
 * of WAL.  From there on, it is verified like a fork that has only this block.
 *
 * Other sessions can go on working meanwhile.  No lock is held while WAL is
 * read, which can take hours.  The pages of a fork are compared in windows of
 * some thousand blocks, and the relation is locked only while the pages of one
 * window are read, for about a tenth of a second.  To lock it for longer would
 * not help: AccessShareLock does not prevent changes of pages, and a lock that
 * does would stop the application.  So between the end of the WAL that was
 * read and the window, others may have changed pages, and truncated or
 * extended the fork.  Or the relation has got another file; then the fork is
 * verified again from its first block.
 *
 * So each window has to account for changes that were made since.  A page that
 * differs from the rebuilt page, or whose LSN shows that it was changed later,
 * is copied.  When the pages of the window have been read and the lock has
 * been released, the copies of pages that were not changed later are compared
 * under the mask.  For the others WAL is read on, up to where it ended while
 * the lock was held, and each copy is compared with the page rebuilt as of
 * exactly the copy's LSN.  In this way every block gets a result, however
 * often it is changed, and a page need not be read again and again until
 * nobody changes it for a while.
 *
 * The visibility map is an exception, because bits of it are cleared without a
 * new LSN of the page.  If such a page differs, WAL is read on and the page is
 * read again, a few times.  If the page was just being changed, the change is
 * in WAL a moment later, and they agree.  If it is damaged, it goes on
 * differing.
 *
 * A page is never taken to be equal because its LSN is: the server makes some
 * changes without setting the LSN (hint bits; an all-visible flag without
 * checksums), and a page can be damaged without its LSN being changed.  So it
 * is always the contents that are compared, and the LSNs of pages that differ
 * only serve to explain the difference in the detail.
 *
 * All of this is done in rounds.  A round reads WAL once, from its beginning,
 * and compares all forks that are left.  A fork, or the rest of it, is left
 * for the next round if its relation has got another file meanwhile, or if so
 * much WAL has been written since the round began that it is faster to read
 * all of WAL again than to read on in every window.  If relations keep getting
 * new files, because an application rewrites them all the time, that would
 * never end.  So after some rounds, one relation at a time is locked until it
 * has been compared.
 *
 * The caller's settings must not change what is read.  In particular, with
 * zero_damaged_pages the server would replace a damaged page by an empty one,
 * for all sessions, as the page stays in shared buffers.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "access/xlogrecord.h"
#include "catalog/pg_class.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/bases.h"
#include "page/cost_delay.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "page/verify.h"
#include "page/verify_compare.h"
#include "page/verify_fork.h"
#include "progress/progress.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"

/*
 * The number of rounds after which relations are locked until they have been
 * compared.  Not more than one is locked then, because to wait for a lock while
 * holding another could cause a deadlock.  Rounds that have paused because WAL
 * has grown do not count.
 */
#define MAX_UNLOCKED_ROUNDS		5

/* A fork that is left to be verified, from a block on. */
typedef struct LeftFork
{
	WalredoVerifyFork fork;
	BlockNumber next_block;		/* blocks before it have been reported */
	WalredoTag	tag;			/* ... of this file, if there are any */
} LeftFork;

/* A fork for which WAL is read in this round. */
typedef struct RoundFork
{
	WalredoVerifiedFork fork;
	BlockNumber next_block;		/* blocks before it have been reported */
	BlockNumber nblocks;		/* of the fork, for the progress view */
	bool		is_locked;		/* the relation, until it has been compared */
} RoundFork;

typedef struct Verification
{
	const char *directory;		/* with the server's own WAL */
	XLogRecPtr	since;			/* as in WalredoVerifyOptions */
	bool		from_disk;		/* the same */
	const WalredoKnownPage *known;	/* the same */
	WalredoBases *bases;
	const WalredoVerifySink *sink;
	bool		keep_locks;		/* relations are locked until compared */
} Verification;

/* ----------------------------------------
 * Forks for which WAL has to be read
 * ----------------------------------------
 */

/*
 * The argument of look_at_fork(), which is called by walredo_attempt().
 */
typedef struct LookAttempt
{
	Verification *v;
	RoundFork  *result;			/* relid, forknum and next_block are set */
	bool		is_logged;		/* set by the attempt: WAL is to be read */
} LookAttempt;

static void
report_fork(Verification *v, const WalredoVerifiedFork *fork,
			WalredoVerifyStatus status, const char *detail)
{
	walredo_report_fork(v->sink, fork->relid, fork->tag.forknum, status,
						WALREDO_DAMAGE_MISSING, detail);
}

/* Are blocks of a fork left out because WAL does not name them? */
static bool
is_only_named(const Verification *v, const WalredoVerifiedFork *fork)
{
	return v->since != InvalidXLogRecPtr &&
		!BlockNumberIsValid(fork->only_block);
}

/*
 * Reports the same result for all blocks of a fork, or for the one of it that
 * is verified, without reading them.
 */
static void
report_blocks(Verification *v, const WalredoVerifiedFork *fork,
			  BlockNumber nblocks, WalredoVerifyStatus status,
			  const char *detail)
{
	BlockNumber blkno = 0;
	WalredoVerifyResult result = {
		.relid = fork->relid,
		.forknum = fork->tag.forknum,
		.page_lsn = InvalidXLogRecPtr,
		.status = status,
		.detail = detail
	};

	if (is_only_named(v, fork))
		return;
	if (BlockNumberIsValid(fork->only_block))
	{
		blkno = fork->only_block;
		nblocks = blkno < nblocks ? blkno + 1 : 0;
	}
	for (result.blkno = blkno; result.blkno < nblocks; result.blkno++)
	{
		CHECK_FOR_INTERRUPTS();
		v->sink->report(&result, v->sink->arg);
	}
}

/*
 * Does WAL have to be read for a fork?  If it does not, reports its blocks, or
 * the fork as a whole.  rel is the fork's relation.
 */
static bool
takes_wal(Verification *v, Relation rel, const WalredoVerifiedFork *fork,
		  WalredoForkSize size)
{
	ForkNumber	forknum = fork->tag.forknum;
	char		persistence = rel->rd_rel->relpersistence;

	/* These forks need not exist, and there is nothing to report then. */
	if (!size.exists &&
		(forknum == FSM_FORKNUM ||
		 (forknum == INIT_FORKNUM && persistence != RELPERSISTENCE_UNLOGGED) ||
		 (forknum == VISIBILITYMAP_FORKNUM &&
		  !RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))))
		return false;

	/*
	 * The build of an index writes pages without using shared buffers.  If we
	 * read such a page into shared buffers before it is written, it would
	 * stay there as it was.
	 */
	if (rel->rd_rel->relkind == RELKIND_INDEX && !rel->rd_index->indisready)
	{
		if (forknum == MAIN_FORKNUM)
			report_fork(v, fork, WALREDO_VERIFY_UNVERIFIABLE,
						"The index is being built concurrently, or this has failed.");
		return false;
	}

	if (forknum == FSM_FORKNUM)
	{
		report_blocks(v, fork, size.nblocks, WALREDO_VERIFY_UNLOGGED,
					  "The free space map is not logged.");
		return false;
	}
	if (persistence != RELPERSISTENCE_PERMANENT && forknum != INIT_FORKNUM)
	{
		/* A standby has only the init fork until it is promoted. */
		if (!size.exists && forknum == MAIN_FORKNUM &&
			!RecoveryInProgress())
			report_fork(v, fork, WALREDO_VERIFY_MISMATCH,
						"The file of the fork is missing.");
		report_blocks(v, fork, size.nblocks, WALREDO_VERIFY_UNLOGGED,
					  "The relation is not logged.");
		return false;
	}
	if (size.exists && rel->rd_rel->relkind == RELKIND_SEQUENCE)
	{
		report_blocks(v, fork, size.nblocks, WALREDO_VERIFY_UNVERIFIABLE,
					  "A sequence is logged ahead of its use, so that its page never equals the one that WAL makes.");
		return false;
	}
	return true;
}

/*
 * Opens a fork's relation, which is locked, and finds out whether WAL has to be
 * read for the fork.
 */
static void
look_at_fork(void *arg)
{
	LookAttempt *work = arg;
	RoundFork  *result = work->result;
	ForkNumber	forknum = result->fork.tag.forknum;
	Relation	rel = try_relation_open(result->fork.relid, NoLock);
	WalredoForkSize size;

	/* It may have been dropped before it was locked. */
	work->is_logged = false;
	if (rel == NULL)
		return;
	size = walredo_measure_fork(rel, forknum);
	work->is_logged = takes_wal(work->v, rel, &result->fork, size);
	if (work->is_logged)
	{
		RelFileLocator locator = RelationGetLocator(rel);

		result->fork.tag = walredo_tag_of_block(&locator, forknum, 0);
		result->fork.rmid = walredo_mask_of_relation(rel);
		result->nblocks = size.nblocks;
	}
	relation_close(rel, NoLock);
}

/*
 * Looks at forks before WAL is read.  Fills in the array forks with those for
 * which it has to be read, and returns their number.  Reports the results of
 * all other forks.
 */
static int
look_at_forks(Verification *v, const LeftFork *left, int nleft,
			  RoundFork *forks)
{
	Oid			failed_relid = InvalidOid;
	int			nforks = 0;

	for (int i = 0; i < nleft; i++)
	{
		Oid			relid = left[i].fork.relid;
		ForkNumber	forknum = left[i].fork.forknum;
		RoundFork  *fork = &forks[nforks];
		LookAttempt work = {v, fork, false};
		ErrorData  *error;

		/* Report a relation only once.  Its forks follow each other. */
		if (relid == failed_relid)
			continue;

		CHECK_FOR_INTERRUPTS();
		memset(fork, 0, sizeof(RoundFork));
		fork->fork.relid = relid;
		fork->fork.tag.forknum = forknum;
		fork->fork.only_block = left[i].fork.blkno;
		fork->next_block = left[i].next_block;
		LockRelationOid(relid, AccessShareLock);
		error = walredo_attempt(look_at_fork, &work);
		fork->is_locked = v->keep_locks && error == NULL && work.is_logged;
		if (!fork->is_locked)
			UnlockRelationOid(relid, AccessShareLock);
		if (error != NULL)
		{
			walredo_report_unreadable(v->sink, relid, forknum, error);
			failed_relid = relid;
		}
		v->sink->end_fork(true, v->sink->arg);
		if (error == NULL && work.is_logged)
		{
			/*
			 * If the relation has got another file since some of its blocks
			 * were reported, walredo_verify_fork() has to notice, as the
			 * others are blocks of that file.
			 */
			if (fork->next_block > 0)
				fork->fork.tag = left[i].tag;
			nforks++;
		}
	}
	return nforks;
}

/* ----------------------------------------
 * The control file
 * ----------------------------------------
 */

ControlFileData *
walredo_read_control_file(void)
{
	ControlFileData *control;
	bool		crc_ok;

	LWLockAcquire(ControlFileLock, LW_SHARED);
	control = get_controlfile(DataDir, &crc_ok);
	LWLockRelease(ControlFileLock);
	if (!crc_ok)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("calculated CRC checksum does not match value stored in file \"%s\"",
						"global/pg_control")));
	return control;
}

XLogRecPtr
walredo_last_redo_lsn(void)
{
	ControlFileData *control = walredo_read_control_file();
	XLogRecPtr	lsn = control->checkPointCopy.redo;

	pfree(control);
	return lsn;
}

/* ----------------------------------------
 * Rounds
 * ----------------------------------------
 */

void
walredo_verify_check_reader(WalredoReader *reader)
{
	if (walredo_reader_is_local(reader))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot compare the server's pages with WAL of another timeline"),
			 errdetail("The WAL that is read is of timeline %u, which is not followed by the server.",
					   walredo_reader_timeline(reader)),
			 errhint("Set walredo.timeline to \"current\".")));
}

/* Shows that WAL is going to be read for some forks, or for one block. */
static void
show_reading(const RoundFork *forks, int nforks)
{
	uint64		nblocks = 0;

	for (int i = 0; i < nforks; i++)
		nblocks += BlockNumberIsValid(forks[i].fork.only_block) ?
			1 : forks[i].nblocks;
	walredo_progress_begin_phase(WALREDO_PHASE_READING_WAL,
								 nforks == 1 ?
								 forks[0].fork.relid : InvalidOid,
								 forks[0].fork.tag.forknum, nblocks);
}

/*
 * Reads all WAL that there is, or all since an LSN, for some forks.  Returns a
 * scan at its end.
 */
static WalredoPageScan *
read_wal_of_forks(Verification *v, const RoundFork *forks, int nforks,
				  const WalredoPageFilter *filter, WalredoVerifyWal *wal)
{
	WalredoPageScan *scan;
	XLogRecPtr	read_to;

	v->bases->backup = NULL;
	if (v->since != InvalidXLogRecPtr)
		scan = walredo_page_scan_begin(filter, wal->directory, v->since,
									   WALREDO_END_OF_WAL);
	else
		scan = walredo_page_scan_from(filter, wal->directory, v->bases,
									  WALREDO_END_OF_WAL);
	walredo_verify_check_reader(scan->reader);
	walredo_rebuild_set_backup(wal->rebuild, v->bases->backup, v->bases->lsn);
	read_to = walredo_reader_first_lsn(scan->reader);
	while (walredo_page_scan_add_some(scan, wal->rebuild))
	{
		XLogRecPtr	position = walredo_reader_end_lsn(scan->reader);

		walredo_cost_of_wal(position - Min(position, read_to));
		walredo_cost_delay_point();
		read_to = position;
	}
	return scan;
}

/* Takes note of a record that starts the page, for WalredoVerifyResult. */
static void
note_page_start(const WalredoPageScan *scan, WalredoVerifyWal *wal)
{
	const XLogRecord *record = walredo_reader_record(scan->reader);

	for (int i = 0; i < scan->num_changes; i++)
	{
		if (!scan->list[i].starts_page)
			continue;
		wal->page_start_lsn = record->xl_rmid == RM_XLOG_ID &&
			(record->xl_info & ~XLR_INFO_MASK) == XLOG_FPI ?
			InvalidXLogRecPtr : walredo_reader_end_lsn(scan->reader);
	}
}

/*
 * Reads what one block needs of WAL.  Returns a scan at the end of WAL.
 *
 * What is known of its page is what the rebuild begins with, unless WAL since
 * then is not all there, or makes the page anew.
 */
static WalredoPageScan *
read_wal_of_block(Verification *v, const WalredoPageFilter *filter,
				  WalredoVerifyWal *wal)
{
	const WalredoKnownPage *known = v->known;
	WalredoPageScan *scan;

	if (known != NULL && walredo_tag_compare(&known->tag, &filter->tag) != 0)
		known = NULL;
	v->bases->backup = NULL;
	scan = walredo_page_scan_back(filter, wal->directory,
								  known == NULL ? v->bases : NULL,
								  known == NULL ? InvalidXLogRecPtr :
								  known->end_lsn, WALREDO_END_OF_WAL,
								  WALREDO_END_OF_WAL);
	walredo_verify_check_reader(scan->reader);
	if (known != NULL &&
		walredo_reader_first_lsn(scan->reader) <= known->end_lsn)
		walredo_rebuild_copy_page(wal->rebuild, known->rebuild, &known->tag,
								  true);
	walredo_rebuild_set_backup(wal->rebuild, v->bases->backup, v->bases->lsn);
	while (walredo_page_scan_next(scan))
	{
		if (scan->has_restarted)
			walredo_rebuild_reset(wal->rebuild);
		scan->has_restarted = false;
		walredo_page_scan_add(scan, wal->rebuild);
		note_page_start(scan, wal);
	}
	if (scan->has_restarted)
		walredo_rebuild_reset(wal->rebuild);
	return scan;
}

/* Reads WAL for some forks, or for one block of one, and fills in *wal. */
static void
read_wal(Verification *v, const RoundFork *forks, int nforks,
		 WalredoVerifyWal *wal)
{
	BlockNumber only_block = forks[0].fork.only_block;
	WalredoPageFilter *filter;
	WalredoPageScan *scan;

	show_reading(forks, nforks);
	wal->rebuild = walredo_rebuild_create();
	wal->directory = v->directory;
	wal->page_start_lsn = InvalidXLogRecPtr;
	wal->from_disk = v->from_disk;
	wal->only_named = is_only_named(v, &forks[0].fork);
	if (BlockNumberIsValid(only_block))
	{
		WalredoTag	tag = forks[0].fork.tag;

		tag.number = only_block;
		filter = walredo_filter_page(&tag);
		scan = read_wal_of_block(v, filter, wal);
	}
	else
	{
		WalredoTag *tags = palloc(nforks * sizeof(WalredoTag));

		for (int i = 0; i < nforks; i++)
			tags[i] = forks[i].fork.tag;
		filter = walredo_filter_forks(tags, nforks, false);
		pfree(tags);
		scan = read_wal_of_forks(v, forks, nforks, filter, wal);
	}
	wal->backup = v->bases->backup;

	/* The beginning of WAL may have been removed while it was read. */
	wal->start_lsn = walredo_reader_first_lsn(scan->reader);
	wal->end_lsn = walredo_page_scan_end_lsn(scan);
	walredo_progress_set_wal(wal->start_lsn, wal->end_lsn, wal->end_lsn);
	walredo_page_scan_end(scan);
	walredo_filter_free(filter);
}

/*
 * Compares the forks for which WAL has been read.  Puts those that are left for
 * the next round into left, and returns their number.  *paused is set if one of
 * them is left because too much WAL has been written meanwhile.
 */
static int
compare_forks(Verification *v, const WalredoVerifyWal *wal, RoundFork *forks,
			  int nforks, LeftFork *left, bool *paused)
{
	bool		may_pause = !v->keep_locks;
	int			nleft = 0;

	for (int i = 0; i < nforks; i++)
	{
		RoundFork  *fork = &forks[i];
		WalredoForkOutcome outcome = WALREDO_FORK_PAUSED;

		/* Compare at least a part of the first fork, however fast WAL grows. */
		if (i == 0 || !may_pause || !walredo_later_wal_is_long(wal))
			outcome = walredo_verify_fork(&fork->fork, wal, v->sink,
										  may_pause, &fork->next_block);
		if (outcome == WALREDO_FORK_PAUSED)
			*paused = true;
		if (outcome != WALREDO_FORK_DONE)
		{
			left[nleft].fork.relid = fork->fork.relid;
			left[nleft].fork.forknum = fork->fork.tag.forknum;
			left[nleft].fork.blkno = fork->fork.only_block;
			left[nleft].next_block = fork->next_block;
			left[nleft].tag = fork->fork.tag;
			nleft++;
		}
		if (fork->is_locked)
			UnlockRelationOid(fork->fork.relid, AccessShareLock);
	}
	return nleft;
}

/*
 * How many of the forks in left does the next round verify?  WAL is read
 * together for whole forks that follow each other, but not for single blocks.
 */
static int
forks_of_round(const Verification *v, const LeftFork *left, int nleft)
{
	int			n = 0;

	if (v->keep_locks || BlockNumberIsValid(left[0].fork.blkno))
		return 1;
	while (n < nleft && !BlockNumberIsValid(left[n].fork.blkno))
		n++;
	return n;
}

/*
 * Does one round of the verification of the first forks in left.  Moves the
 * forks that are left for the next round to the front of the array, and returns
 * their number.  *paused is set as by compare_forks(), and *nagain to the
 * number of those that have to be verified again.
 */
static int
verify_round(Verification *v, LeftFork *left, int nleft, bool *paused,
			 int *nagain)
{
	RoundFork  *forks = MemoryContextAllocHuge(CurrentMemoryContext,
											   nleft * sizeof(RoundFork));
	int			nlooked = forks_of_round(v, left, nleft);
	int			nforks;

	*paused = false;
	*nagain = 0;
	nforks = look_at_forks(v, left, nlooked, forks);
	if (nforks > 0)
	{
		WalredoVerifyWal wal;

		read_wal(v, forks, nforks, &wal);
		*nagain = compare_forks(v, &wal, forks, nforks, left, paused);
		walredo_rebuild_free(wal.rebuild);
	}
	pfree(forks);

	memmove(left + *nagain, left + nlooked,
			(nleft - nlooked) * sizeof(LeftFork));
	return *nagain + nleft - nlooked;
}

void
walredo_verify_forks(const WalredoVerifyFork *forks, int nforks,
					 const WalredoVerifyOptions *options,
					 const WalredoVerifySink *sink)
{
	Verification *v = palloc0(sizeof(Verification));
	LeftFork   *left = palloc(Max(nforks, 1) * sizeof(LeftFork));
	int			nleft = nforks;
	bool		save_zero_damaged_pages = zero_damaged_pages;
	bool		save_ignore_checksum_failure = ignore_checksum_failure;

	v->directory = walredo_wal_with_local(options->directory);
	v->since = options->since;
	v->from_disk = options->from_disk;
	v->known = options->known;
	v->bases = walredo_bases_open();
	v->sink = sink;
	for (int i = 0; i < nforks; i++)
	{
		left[i].fork = forks[i];
		left[i].next_block = 0;
	}
	PG_TRY();
	{
		int			rounds = 0;

		zero_damaged_pages = false;
		ignore_checksum_failure = false;
		while (nleft > 0)
		{
			bool		paused;
			int			nagain;

			/*
			 * Only a round after which forks have to be verified again, from
			 * their beginning, counts.  One that has paused has made
			 * progress.
			 */
			v->keep_locks = rounds >= MAX_UNLOCKED_ROUNDS;
			nleft = verify_round(v, left, nleft, &paused, &nagain);
			if (nagain > 0 && !paused)
				rounds++;
		}
	}
	PG_FINALLY();
	{
		zero_damaged_pages = save_zero_damaged_pages;
		ignore_checksum_failure = save_ignore_checksum_failure;
	}
	PG_END_TRY();

	pfree(left);
	pfree(v);
}
