/*-------------------------------------------------------------------------
 *
 * logged.c
 *	  Damage that WAL has, too.
 *
 * If a write of a page is lost, and the server changes the page afterwards, it
 * logs an image of it, and from there on WAL makes the page as it is now.  But
 * the image does not continue what WAL had before: see page/links.c.  What the
 * page should be is not known then, as both what was lost and what came later
 * may be wanted.  So such a page is not repaired, unless the caller says what
 * it is to be.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/repair/logged.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dirent.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/links.h"
#include "repair/kept.h"
#include "repair/logged.h"
#include "storage/fd.h"
#include "wal/reader.h"

void
walredo_append_block(WalredoBlockList *list, BlockNumber blkno)
{
	if (list->count == list->max_count)
	{
		list->max_count = Max(list->max_count * 2, 64);
		list->blocks = list->blocks == NULL ?
			MemoryContextAlloc(list->context,
							   list->max_count * sizeof(BlockNumber)) :
			repalloc_huge(list->blocks,
						  list->max_count * sizeof(BlockNumber));
	}
	list->blocks[list->count++] = blkno;
}

int
walredo_compare_blocks(const void *a, const void *b)
{
	BlockNumber x = *(const BlockNumber *) a;
	BlockNumber y = *(const BlockNumber *) b;

	return (x > y) - (x < y);
}

void
walredo_sort_blocks(WalredoBlockList *list)
{
	uint64		count = 0;

	if (list->count == 0)
		return;
	qsort(list->blocks, list->count, sizeof(BlockNumber),
		  walredo_compare_blocks);
	for (uint64 i = 0; i < list->count; i++)
	{
		if (i == 0 || list->blocks[i] != list->blocks[count - 1])
			list->blocks[count++] = list->blocks[i];
	}
	list->count = count;
}

/* The newest broken link of a page, if lsn is not 0/0. */
typedef struct NewestLink
{
	XLogRecPtr	lsn;			/* of the image */
	XLogRecPtr	expected_lsn;	/* of the record before */
	char	   *detail;
} NewestLink;

/* A WalredoLinkCallback. */
static void
note_newest_link(const WalredoBrokenLink *link, void *arg)
{
	NewestLink *newest = arg;

	newest->lsn = link->lsn;
	newest->expected_lsn = link->expected_lsn;
	newest->detail = pstrdup(link->detail);
}

/* Where the server's own WAL begins, as far as the names of its files tell. */
static XLogRecPtr
oldest_local_wal(void)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *entry;
	XLogRecPtr	oldest = WALREDO_START_OF_WAL;

	while ((entry = ReadDir(dir, XLOGDIR)) != NULL)
	{
		TimeLineID	tli;
		XLogSegNo	segno;
		XLogRecPtr	lsn;

		if (!IsXLogFileName(entry->d_name))
			continue;
		XLogFromFileName(entry->d_name, &tli, &segno, wal_segment_size);
		XLogSegNoOffsetToRecPtr(segno, 0, wal_segment_size, lsn);
		if (oldest == WALREDO_START_OF_WAL || lsn < oldest)
			oldest = lsn;
	}
	FreeDir(dir);
	return oldest;
}

/* Has a page been replaced by a repair since an LSN? */
static bool
was_repaired_since(const WalredoTag *tag, XLogRecPtr lsn)
{
	List	   *ids = walredo_kept_ids();
	bool		result = false;
	ListCell   *lc;

	foreach(lc, ids)
	{
		WalredoKept *kept = walredo_kept_read(*(int64 *) lfirst(lc));

		if (kept != NULL && kept->is_done && kept->image_lsn >= lsn &&
			walredo_tag_compare(&kept->tag, tag) == 0)
			result = (kept->undo_of == 0);
	}
	return result;
}

/* The argument of look_for_link(). */
typedef struct LinkAttempt
{
	WalredoTag	tag;
	NewestLink	newest;
	WalredoLinksResult result;
} LinkAttempt;

static void
look_for_link(void *arg)
{
	LinkAttempt *work = arg;

	walredo_links_check_page(&work->tag, NULL, oldest_local_wal(),
							 note_newest_link, &work->newest, &work->result);
}

const char *
walredo_logged_damage(const WalredoRepairFork *fork, BlockNumber blkno,
					  XLogRecPtr *last_lsn)
{
	LinkAttempt work = {.tag = fork->verified.tag};

	work.tag.number = blkno;
	if (walredo_attempt(look_for_link, &work) != NULL ||
		work.newest.lsn == InvalidXLogRecPtr ||
		work.newest.lsn < work.result.made_lsn ||
		was_repaired_since(&work.tag, work.newest.lsn))
		return NULL;
	*last_lsn = work.newest.expected_lsn;
	return psprintf("%s The image ends at %X/%X, so WAL has the damage, too. walredo_page_history() shows what was changed since. With lsn => '%X/%X', the page becomes what it was before, without these changes.",
					work.newest.detail, LSN_FORMAT_ARGS(work.newest.lsn),
					LSN_FORMAT_ARGS(work.newest.expected_lsn));
}

/* A WalredoLinkCallback. */
static void
note_broken_link(const WalredoBrokenLink *link, void *arg)
{
	walredo_append_block(arg, (BlockNumber) link->tag.number);
}

/* The argument of look_for_links(). */
typedef struct LinksAttempt
{
	WalredoTag	tag;
	WalredoBlockList list;
} LinksAttempt;

static void
look_for_links(void *arg)
{
	LinksAttempt *work = arg;
	WalredoLinksResult result;

	walredo_links_check(NULL, oldest_local_wal(), WALREDO_END_OF_WAL,
						&work->tag, 1, note_broken_link, &work->list, &result);
}

void
walredo_find_logged_damage(const WalredoRepairFork *fork,
						   WalredoBlockList *list)
{
	LinksAttempt work = {.tag = fork->verified.tag,.list = *list};

	if (!RecoveryInProgress() &&
		walredo_attempt(look_for_links, &work) == NULL)
		*list = work.list;
}
