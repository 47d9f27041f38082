/*-------------------------------------------------------------------------
 *
 * current.c
 *	  The server's own pages, where WAL has not changed them since an LSN.
 *
 * A page that no record has changed since an LSN is now as it was then, but for
 * changes that are not logged, such as hint bits.  To know that, the page has
 * to be copied first, and WAL has to be read afterwards, from that LSN to where
 * WAL was inserted when the page had been copied.  Whoever changes a page holds
 * its lock until the record has been inserted, so that the record of any change
 * that is in the copy is in this WAL.
 *
 * The LSN of the page is checked, too, but it would not suffice: not all
 * records set it.
 *
 * Pages are copied in windows of some hundred blocks.  WAL is read on after
 * each window, and the blocks that it has changed so far are kept, as a bit for
 * each block that the fork has.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/current.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_tablespace_d.h"
#include "compat.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/current.h"
#include "page/scan.h"
#include "page/verify_compare.h"
#include "storage/buf_internals.h"
#include "storage/bufpage.h"
#include "storage/checksum.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/memutils.h"

/* The blocks in a window, of 4 MB. */
#define WINDOW_BLOCKS		512

/* A fork of which pages are wanted. */
typedef struct CurrentFork
{
	WalredoTag	tag;			/* of its block 0 */
	Oid			relid;			/* InvalidOid: its pages cannot be used */
	BlockNumber nblocks;		/* blocks after these are not used */
	BlockNumber end;			/* nor those from here on, which have ended */
	uint8	   *changed;		/* a bit for each of the nblocks */
} CurrentFork;

struct WalredoCurrent
{
	MemoryContext context;
	const char *directory;
	XLogRecPtr	lsn;			/* pages are wanted as of this LSN */
	XLogRecPtr	read_to;		/* up to where WAL has been read since */
	XLogRecPtr	inserted;		/* ... which was the end of WAL then */
	bool		is_lost;		/* WAL could not be read: use nothing */
	WalredoPageFilter *filter;
	WalredoSlice slice;			/* of the pages that will be asked for */
	CurrentFork *forks;
	CurrentFork **sorted;		/* the same in the order of their tags */
	int			nforks;
	int			max_window;

	/* The window. */
	int			window_fork;
	BlockNumber first_block;
	int			num_blocks;		/* 0 if there is none */
	bool	   *is_read;		/* the server could read the page */
	PGAlignedBlock *pages;
	bytea	   *result;
};

#define IsChanged(fork, blkno) \
	(((fork)->changed[(blkno) / BITS_PER_BYTE] & \
	  (1 << ((blkno) % BITS_PER_BYTE))) != 0)

/* Has a page the right checksum, if pages have checksums? */
static bool
has_checksum(const char *page, BlockNumber blkno)
{
	PGAlignedBlock copy;

	if (!DataChecksumsEnabled() || PageIsNew((Page) page))
		return true;

	/* pg_checksum_page() changes the page for a moment. */
	memcpy(copy.data, page, BLCKSZ);
	return pg_checksum_page(copy.data, blkno) ==
		((PageHeader) page)->pd_checksum;
}

/* Copies the page of a buffer that is locked. */
static void
copy_buffer(Buffer buffer, char *page)
{
	memcpy(page, BufferGetPage(buffer), BLCKSZ);

	/*
	 * With checksums, a session that sets a hint bit may log the page and
	 * give it a new LSN.  It holds only a share lock meanwhile, as we do.  So
	 * the LSN in the copy may consist of one half of the old LSN and one half
	 * of the new one.  Read it again under the buffer header's lock, which
	 * protects it.
	 */
	if (!PageIsNew((Page) page))
		PageSetLSN((Page) page, BufferGetLSNAtomic(buffer));
}

void
walredo_copy_live_page(Relation rel, ForkNumber forknum, BlockNumber blkno,
					   BufferAccessStrategy strategy, char *page)
{
	Buffer		buffer = ReadBufferExtended(rel, forknum, blkno, RBM_NORMAL,
											strategy);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	copy_buffer(buffer, page);
	UnlockReleaseBuffer(buffer);
}

void
walredo_copy_live_attempt(void *arg)
{
	WalredoLiveCopy *work = arg;

	walredo_copy_live_page(work->rel, work->forknum, work->blkno, NULL,
						   work->page);
}

static bool
is_dirty(Buffer buffer)
{
	BufferDesc *desc = GetBufferDescriptor(buffer - 1);

	return (walredo_read_buffer_state(desc) & BM_DIRTY) != 0;
}

/*
 * While we hold a share lock on a clean buffer, nobody can change the page but
 * for hint bits, which makes the buffer dirty, and nobody writes it before
 * that. So if hint bits are set, and the page is written, while we read the
 * file, we may get a torn page, whose checksum is wrong.  As pg_basebackup
 * does, read it once more then.  If the buffer has become dirty, what was read
 * does not count.
 */
bool
walredo_copy_live_and_disk(Relation rel, ForkNumber forknum,
						   BlockNumber blkno, BufferAccessStrategy strategy,
						   char *page, PGIOAlignedBlock *disk,
						   bool *bad_checksum, bool *is_disk_error)
{
	int64		num_hits = pgBufferUsage.shared_blks_hit;
	Buffer		buffer = ReadBufferExtended(rel, forknum, blkno, RBM_NORMAL,
											strategy);
	bool		has_disk = false;
	bool		is_right = false;

	*is_disk_error = false;
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (pgBufferUsage.shared_blks_hit != num_hits)
	{
		for (int i = 0; i < 2 && !is_right && !is_dirty(buffer); i++)
		{
			*is_disk_error = true;
			smgrread(RelationGetSmgr(rel), forknum, blkno, disk->data);
			*is_disk_error = false;
			is_right = has_checksum(disk->data, blkno);
			has_disk = is_right || !is_dirty(buffer);
		}
		if (!is_right && is_dirty(buffer))
			has_disk = false;
	}
	copy_buffer(buffer, page);
	UnlockReleaseBuffer(buffer);
	*bad_checksum = has_disk && !is_right;
	return has_disk;
}

/*
 * Calls a function, and returns whether it has succeeded.  A subtransaction
 * cannot be started while parallel workers are active.  Then an error is
 * raised.
 */
static bool
try_call(void (*function) (void *arg), void *arg)
{
	if (!IsInParallelMode())
		return walredo_attempt(function, arg) == NULL;
	function(arg);
	return true;
}

/* ----------------------------------------
 * Forks
 * ----------------------------------------
 */

/*
 * Opens the relation of a fork, which is locked.  Returns NULL if its pages
 * cannot be used.
 */
static Relation
open_fork(const CurrentFork *fork)
{
	RelFileLocator locator = walredo_tag_locator(&fork->tag);
	Relation	rel = try_relation_open(fork->relid, NoLock);

	if (rel == NULL)
		return NULL;
	if (RelFileLocatorEquals(RelationGetLocator(rel), locator) &&
		RELKIND_HAS_STORAGE(rel->rd_rel->relkind) &&
		rel->rd_rel->relkind != RELKIND_SEQUENCE &&
		rel->rd_rel->relpersistence ==
		(fork->tag.forknum == INIT_FORKNUM ?
		 RELPERSISTENCE_UNLOGGED : RELPERSISTENCE_PERMANENT) &&

	/*
	 * The build of an index writes pages without using shared buffers. If we
	 * read such a page into shared buffers before it is written, it would
	 * stay there as it was.
	 */
		(rel->rd_rel->relkind != RELKIND_INDEX ||
		 rel->rd_index->indisready) &&
		smgrexists(RelationGetSmgr(rel), fork->tag.forknum))
		return rel;
	relation_close(rel, NoLock);
	return NULL;
}

/* qsort() comparator: orders forks by their tags. */
static int
compare_forks(const void *a, const void *b)
{
	return walredo_tag_compare(&(*(CurrentFork *const *) a)->tag,
							   &(*(CurrentFork *const *) b)->tag);
}

/* Finds the fork that a block belongs to, or NULL. */
static CurrentFork *
find_fork(WalredoCurrent *current, const WalredoTag *tag)
{
	CurrentFork key;
	CurrentFork *key_ptr = &key;
	CurrentFork **found;

	key.tag = *tag;
	key.tag.number = 0;
	found = bsearch(&key_ptr, current->sorted, current->nforks,
					sizeof(CurrentFork *), compare_forks);
	return found ? *found : NULL;
}

/* Finds the relation of a fork, if there is one, and measures the fork. */
static void
find_relation(CurrentFork *fork)
{
	const WalredoTag *tag = &fork->tag;
	Relation	rel;

	if (tag->kind != WALREDO_TAG_REL ||
		(tag->forknum != MAIN_FORKNUM && tag->forknum != INIT_FORKNUM) ||
		tag->dbOid !=
		(tag->spcOid == GLOBALTABLESPACE_OID ? InvalidOid : MyDatabaseId))
		return;
	fork->relid = RelidByRelfilenumber(tag->spcOid, tag->relNumber);
	if (!OidIsValid(fork->relid))
		return;

	/* Do not wait: the page is only what is taken if there is no other. */
	if (!ConditionalLockRelationOid(fork->relid, AccessShareLock))
	{
		fork->relid = InvalidOid;
		return;
	}
	rel = open_fork(fork);
	if (rel != NULL)
	{
		fork->nblocks = RelationGetNumberOfBlocksInFork(rel, tag->forknum);
		relation_close(rel, NoLock);
	}
	UnlockRelationOid(fork->relid, AccessShareLock);
	if (fork->nblocks == 0)
		fork->relid = InvalidOid;
	else
		fork->changed = palloc0(fork->nblocks / BITS_PER_BYTE + 1);
}

WalredoCurrent *
walredo_current_begin(const WalredoTag *forks, int nforks, bool only_page,
					  const char *directory, WalredoReader *reader,
					  XLogRecPtr lsn)
{
	WalredoCurrent *current;

	/* With less WAL, pages can have been filled without it. */
	if (RecoveryInProgress() || !XLogIsNeeded() ||
		!walredo_reader_is_of_server(reader))
		return NULL;

	current = palloc0(sizeof(WalredoCurrent));
	current->context = CurrentMemoryContext;
	current->directory = walredo_wal_with_local(directory);
	current->lsn = lsn;
	current->read_to = current->lsn;
	current->filter = only_page ? walredo_filter_page(&forks[0]) :
		walredo_filter_forks(forks, nforks, false);
	current->nforks = nforks;
	current->forks = palloc0(Max(nforks, 1) * sizeof(CurrentFork));
	current->sorted = palloc(Max(nforks, 1) * sizeof(CurrentFork *));
	for (int i = 0; i < nforks; i++)
	{
		current->forks[i].tag = forks[i];
		current->forks[i].tag.number = 0;
		current->forks[i].end = InvalidBlockNumber;
		find_relation(&current->forks[i]);
		current->sorted[i] = &current->forks[i];
	}
	qsort(current->sorted, nforks, sizeof(CurrentFork *), compare_forks);
	current->max_window = only_page ? 1 : WINDOW_BLOCKS;
	current->is_read = palloc(current->max_window * sizeof(bool));
	current->pages = palloc(current->max_window * sizeof(PGAlignedBlock));
	current->result = palloc(VARHDRSZ + BLCKSZ);
	SET_VARSIZE(current->result, VARHDRSZ + BLCKSZ);
	return current;
}

void
walredo_current_set_slice(WalredoCurrent *current, const WalredoSlice *slice)
{
	current->slice = *slice;
}

BlockNumber
walredo_current_blocks(WalredoCurrent *current, int i)
{
	return current->forks[i].nblocks;
}

/* ----------------------------------------
 * Windows
 * ----------------------------------------
 */

/*
 * Copies the pages of the window.  Those that are known to have changed, those
 * that the server cannot read, and those of other slices are left out.
 */
static void
copy_window(WalredoCurrent *current)
{
	CurrentFork *fork = &current->forks[current->window_fork];
	bool		save_zero_damaged_pages = zero_damaged_pages;
	bool		save_ignore_checksum_failure = ignore_checksum_failure;
	Relation	rel;
	BlockNumber nblocks;

	memset(current->is_read, 0, current->num_blocks * sizeof(bool));
	if (!ConditionalLockRelationOid(fork->relid, AccessShareLock))
		return;
	rel = open_fork(fork);
	if (rel == NULL)
	{
		UnlockRelationOid(fork->relid, AccessShareLock);
		return;
	}
	nblocks = RelationGetNumberOfBlocksInFork(rel, fork->tag.forknum);

	/* The caller's settings must not change what is read: see verify.c. */
	PG_TRY();
	{
		zero_damaged_pages = false;
		ignore_checksum_failure = false;
		for (int i = 0; i < current->num_blocks; i++)
		{
			WalredoLiveCopy work = {rel, fork->tag.forknum,
			current->first_block + i, current->pages[i].data};
			WalredoTag	tag = fork->tag;

			CHECK_FOR_INTERRUPTS();
			tag.number = work.blkno;
			if (work.blkno < Min(nblocks, fork->end) &&
				!IsChanged(fork, work.blkno) &&
				walredo_slice_has(&current->slice, &tag))
				current->is_read[i] = try_call(walredo_copy_live_attempt,
											   &work);
		}
	}
	PG_FINALLY();
	{
		zero_damaged_pages = save_zero_damaged_pages;
		ignore_checksum_failure = save_ignore_checksum_failure;
	}
	PG_END_TRY();
	relation_close(rel, NoLock);
	UnlockRelationOid(fork->relid, AccessShareLock);
}

/* Notes what a change does to the blocks of a fork. */
static void
note_change(WalredoCurrent *current, const WalredoPageChange *change)
{
	CurrentFork *fork = find_fork(current, &change->tag);
	BlockNumber blkno = (BlockNumber) change->tag.number;

	if (fork == NULL)
		return;
	if (change->what == WALREDO_CHANGE_END)
		fork->end = Min(fork->end, blkno);
	else if (blkno < fork->nblocks)
		fork->changed[blkno / BITS_PER_BYTE] |= 1 << (blkno % BITS_PER_BYTE);
}

/* Reads WAL on to where it has been inserted. */
static void
read_on(void *arg)
{
	WalredoCurrent *current = arg;
	WalredoPageScan *scan;

	scan = walredo_page_scan_begin(current->filter, current->directory,
								   current->read_to, current->inserted);
	while (walredo_page_scan_next(scan))
	{
		for (int i = 0; i < scan->num_changes; i++)
			note_change(current, &scan->list[i]);
	}
	current->read_to = walredo_reader_end_lsn(scan->reader);
	walredo_page_scan_end(scan);
}

/* Makes the window one that begins with a block. */
static void
begin_window(WalredoCurrent *current, int i, BlockNumber blkno)
{
	MemoryContext old_context = MemoryContextSwitchTo(current->context);
	XLogRecPtr	inserted;

	current->window_fork = i;
	current->first_block = blkno;
	current->num_blocks = Min(current->max_window,
							  current->forks[i].nblocks - blkno);
	copy_window(current);

	inserted = GetXLogInsertRecPtr();
	if (inserted != current->inserted && inserted > current->read_to)
	{
		current->inserted = inserted;
		if (!try_call(read_on, current))
			current->is_lost = true;
	}
	MemoryContextSwitchTo(old_context);
}

bytea *
walredo_current_page(WalredoCurrent *current, int i, BlockNumber blkno)
{
	CurrentFork *fork = &current->forks[i];
	const char *page;

	if (!OidIsValid(fork->relid) || blkno >= fork->nblocks ||
		current->is_lost)
		return NULL;
	if (current->window_fork != i || blkno < current->first_block ||
		blkno - current->first_block >= current->num_blocks)
		begin_window(current, i, blkno);

	page = current->pages[blkno - current->first_block].data;
	if (current->is_lost ||
		!current->is_read[blkno - current->first_block] ||
		blkno >= fork->end || IsChanged(fork, blkno) ||
		walredo_is_unlogged_page(fork->tag.forknum, page) ||
		PageGetLSN((Page) page) > current->lsn)
		return NULL;
	memcpy(VARDATA(current->result), page, BLCKSZ);
	return current->result;
}
