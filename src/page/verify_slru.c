/*-------------------------------------------------------------------------
 *
 * verify_slru.c
 *	  Comparing the pages of SLRUs with WAL.
 *
 * The pages of SLRUs have no full-page images in WAL, so each of them has to be
 * rebuilt from the record that has made it, an empty page, or from a backup.
 *
 * The server's buffers for these pages are private to it, so it is the files
 * that are compared.  They lag behind.  When a checkpoint is complete, the
 * files have all changes up to its redo point, and the control file has the
 * redo point.  So these steps bound what can be in a file:
 *
 *	1. Get the redo point R from the control file.
 *	2. Read WAL from its beginning to its end.
 *	3. Read a page from its file.
 *	4. If it is not as WAL says that has been read, read WAL on, up to its
 *	   end E, which may be later now.
 *	5. Compare the page with the one rebuilt as of E.
 *
 * Each entry of a page must then be as it is at E, unless a record between R
 * and E has set it.  To find these entries, the same records are applied to a
 * page of all ones (see slru_compare.h).  This is better than to compare with
 * the page rebuilt as of R, because what an image from a backup is as of is not
 * known so exactly.
 *
 * No record changes a page in a file before it has been inserted into WAL, and
 * all WAL that has been inserted is flushed before step 4, so that E is late
 * enough.  On a standby, the record that is being replayed may have changed the
 * file already, so step 4 waits until it has been replayed.
 *
 * Multixacts are an exception to what was said of checkpoints, because a
 * session inserts the record of a new one before it changes the buffers, and a
 * checkpoint does not wait for the session.  So if entries are still 0 whose
 * records are shortly before R, it is not known whether they have been lost, or
 * are going to be written by the next checkpoint.
 *
 * A page that differs is read and compared a few times before it is reported,
 * because it may have been read while it was being written.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/page/verify_slru.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/commit_ts.h"
#include "access/multixact.h"
#include "access/slru.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "common/hashfn.h"
#include "compat.h"
#include "index/index.h"
#include "miscadmin.h"
#include "page/bases.h"
#include "page/rebuild.h"
#include "page/slru_compare.h"
#include "page/verify_slru.h"
#include "progress/progress.h"
#include "record/slru.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "wal/changes.h"
#include "wal/reader.h"

/* Pages that are read from files, and then compared, at a time. */
#define PAGES_AT_ONCE		64

/* How often a page that differs is read, and the milliseconds between. */
#define MAX_ATTEMPTS		4
#define ATTEMPT_DELAY		50

/* How long to wait on a standby until a record has been replayed. */
#define MAX_REPLAY_WAITS	20
#define REPLAY_WAIT_DELAY	50

/* How far before a redo point records of multixacts are "shortly before". */
#define NEARBY_DISTANCE		(16 * 1024 * 1024)

/* Memory for the changes of one record, see walredo_changes_part(). */
#define MAX_CHANGES_SIZE	(1024 * 1024)

/* Records of WAL between two looks for a cancel request. */
#define RECORDS_AT_ONCE		1024

/*
 * The clock may have been set.  So commit timestamps are taken for possible if
 * they are so much before the first, or after now.
 */
#define TIME_TOLERANCE		(USECS_PER_HOUR)

/*
 * Pages that come after the page of the next multixact, or transaction, are
 * made empty when they are used first.  So what a crash has left in them does
 * no harm.  A crash cannot leave more than so many of them.
 */
#define MAX_UNUSED_PAGES	1024

/* A page of which WAL has a record. */
typedef struct SlruPage
{
	WalredoTag	tag;			/* hash key */
	char		status;			/* for simplehash */
	bool		is_recent;		/* there are records after the redo point */
	bool		is_nearby;		/* ... after nearby_lsn */

	/*
	 * The end LSN of the last record that has started the page, or
	 * InvalidXLogRecPtr, and the time of the last commit before it.
	 */
	XLogRecPtr	start_lsn;
	TimestampTz start_time;
} SlruPage;

#define SH_PREFIX				slrupages
#define SH_ELEMENT_TYPE			SlruPage
#define SH_KEY_TYPE				WalredoTag
#define SH_KEY					tag
#define SH_HASH_KEY(tb, key) \
	murmurhash32((uint32) (key).number ^ \
				 ((uint32) ((key).number >> 32) * 31) ^ \
				 ((uint32) (key).kind << 29))
#define SH_EQUAL(tb, a, b)		(memcmp(&(a), &(b), sizeof(WalredoTag)) == 0)
#define SH_SCOPE				static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * Multixacts of which WAL has only one half: either the record that creates it,
 * or the record of the one before it, which sets where its members begin.
 *
 * Sessions insert the records of new multixacts in any order, so for a moment
 * there are some of each sort.  After a crash there may be some for ever: if a
 * record has been lost, although later multixacts exist.
 */
typedef struct MultiXactHalf
{
	MultiXactId mid;			/* hash key */
	bool		is_created;		/* WAL has the record that creates it */
} MultiXactHalf;

struct WalredoMultiXactGaps
{
	HTAB	   *halves;
	int64		num_created;	/* of those in halves */
	bool		has_overflowed; /* there are too many to know them all */
};

/* The most that are remembered.  There are more only in WAL of an attacker. */
#define MAX_HALVES		100000

struct WalredoSlruVerification
{
	MemoryContext parent;		/* has all of it */
	int			slrus;			/* those that are reported */
	const char *directory;		/* with the server's own WAL */
	WalredoBases *bases;
	WalredoReportSlruPage report;
	void	   *arg;
	MemoryContext context;		/* reset after each group of pages */

	/*
	 * The redo point of a complete checkpoint, and the LSN from which on
	 * records of multixacts are "nearby": see the head of this file.
	 */
	XLogRecPtr	redo_lsn;
	XLogRecPtr	nearby_lsn;

	/* What has been read from WAL, which begins and ends at these LSNs. */
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
	WalredoPageFilter *filter;
	WalredoChanges *changes;
	slrupages_hash *pages;
	WalredoRebuild *rebuild;
	WalredoRebuild *recent;
	WalredoRebuild *nearby;
	WalredoMultiXactGaps gaps;
	TimestampTz first_time;		/* of the first commit; 0 if there is none */
	TimestampTz last_time;		/* of the last */

	/* A record was still being replayed when waiting for it had an end. */
	bool		is_replaying;

};

/* A page of a file, and the result. */
typedef struct FilePage
{
	WalredoTag	tag;
	char	   *data;			/* BLCKSZ bytes */
	bool		has_file;
	int			size;			/* bytes of it that are in the file */
	char	   *error;			/* why it cannot be read, or NULL */

	/*
	 * has_result is not set if the page is not there, and need not be.
	 * is_final is not set if the result can be another one when the page is
	 * read again.
	 */
	bool		has_result;
	bool		is_final;
	WalredoVerifyStatus status;
	const char *detail;
} FilePage;

/* ----------------------------------------
 * Gaps between multixacts
 * ----------------------------------------
 */

static void
clear_gaps(WalredoMultiXactGaps *gaps)
{
	HASHCTL		ctl;

	if (gaps->halves != NULL)
		hash_destroy(gaps->halves);
	ctl.keysize = sizeof(MultiXactId);
	ctl.entrysize = sizeof(MultiXactHalf);
	ctl.hcxt = CurrentMemoryContext;
	gaps->halves = hash_create("walredo multixacts", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	gaps->num_created = 0;
	gaps->has_overflowed = false;
}

/*
 * Notes that WAL has the record that creates a multixact or, if is_created is
 * not set, the one that creates the multixact before it.
 */
static void
note_multixact(WalredoMultiXactGaps *gaps, MultiXactId mid, bool is_created)
{
	MultiXactHalf *half;
	bool		found;

	half = hash_search(gaps->halves, &mid, HASH_FIND, NULL);
	if (half != NULL && half->is_created == is_created)
		return;
	if (half != NULL)
	{
		if (half->is_created)
			gaps->num_created--;
		(void) hash_search(gaps->halves, &mid, HASH_REMOVE, NULL);
		return;
	}
	if (hash_get_num_entries(gaps->halves) >= MAX_HALVES)
	{
		gaps->has_overflowed = true;
		return;
	}
	half = hash_search(gaps->halves, &mid, HASH_ENTER, &found);
	half->is_created = is_created;
	if (is_created)
		gaps->num_created++;
}

bool
walredo_multixact_is_gap(const WalredoMultiXactGaps *gaps, MultiXactId mid)
{
	MultiXactHalf *half = hash_search(gaps->halves, &mid, HASH_FIND, NULL);

	return gaps->has_overflowed || (half != NULL && !half->is_created);
}

/* The record before the first one that was read is missing in any case. */
bool
walredo_multixact_has_gaps(const WalredoMultiXactGaps *gaps)
{
	return gaps->has_overflowed || gaps->num_created > 1;
}

/* ----------------------------------------
 * Reading WAL
 * ----------------------------------------
 */

/* Gets the redo point of the last complete checkpoint, or restartpoint. */
static void
get_redo_lsn(WalredoSlruVerification *v)
{
	ControlFileData *control = walredo_read_control_file();
	bool		is_quiet;

	/*
	 * No session creates multixacts in recovery, and none has while the
	 * server was shut down.
	 */
	is_quiet = RecoveryInProgress() ||
		control->checkPoint == control->checkPointCopy.redo;
	v->redo_lsn = control->checkPointCopy.redo;
	v->nearby_lsn = v->redo_lsn;
	if (!is_quiet)
		v->nearby_lsn -= Min(v->nearby_lsn, NEARBY_DISTANCE);
	pfree(control);
}

/* Forgets all that has been read from WAL, because there is a gap after it. */
static void
forget_wal(WalredoSlruVerification *v)
{
	slrupages_reset(v->pages);
	walredo_rebuild_reset(v->rebuild);	/* forgets the backup, too */
	v->bases->backup = NULL;
	walredo_rebuild_reset(v->recent);
	walredo_rebuild_reset(v->nearby);
	clear_gaps(&v->gaps);
	v->first_time = v->last_time = 0;
	get_redo_lsn(v);
}

/* Adds the end of a page to everything that knows the page. */
static void
end_page(WalredoSlruVerification *v, SlruPage *page,
		 const WalredoPageChange *change, const XLogRecord *record,
		 XLogRecPtr end_lsn)
{
	WalredoPageChange end_of_page = *change;

	end_of_page.tag = page->tag;
	page->start_lsn = InvalidXLogRecPtr;
	walredo_rebuild_add(v->rebuild, &end_of_page, record, end_lsn);
	if (page->is_recent)
		walredo_rebuild_add(v->recent, &end_of_page, record, end_lsn);
	if (page->is_nearby)
		walredo_rebuild_add(v->nearby, &end_of_page, record, end_lsn);
}

/*
 * Adds a change to one of the rebuilds whose pages consist of ones at first.
 * *is_known tells whether the page has been added already.
 */
static void
add_to_ones(WalredoRebuild *rebuild, bool *is_known,
			const WalredoPageChange *change, const XLogRecord *record,
			XLogRecPtr end_lsn)
{
	if (!*is_known)
	{
		bytea	   *ones = palloc(VARHDRSZ + BLCKSZ);

		SET_VARSIZE(ones, VARHDRSZ + BLCKSZ);
		memset(VARDATA(ones), 0xFF, BLCKSZ);
		walredo_rebuild_set_base(rebuild, &change->tag, ones,
								 InvalidXLogRecPtr);
		pfree(ones);
	}
	*is_known = true;
	walredo_rebuild_add(rebuild, change, record, end_lsn);
}

/* The page with this tag, which is added if it is not known. */
static SlruPage *
add_page(WalredoSlruVerification *v, WalredoTag tag)
{
	bool		found;
	SlruPage   *page = slrupages_insert(v->pages, tag, &found);

	if (!found)
	{
		page->is_recent = page->is_nearby = false;
		page->start_lsn = InvalidXLogRecPtr;
		page->start_time = 0;
	}
	return page;
}

/*
 * Adds a change.  nth_offset counts the changes of pg_multixact/offsets that
 * the record has made so far: it sets the offset of the multixact that it
 * creates first, and then that of the next one.
 */
static void
add_change(WalredoSlruVerification *v, const WalredoPageChange *change,
		   const XLogRecord *record, XLogRecPtr end_lsn, int *nth_offset)
{
	SlruPage   *page;

	if (change->what == WALREDO_CHANGE_END)
	{
		slrupages_iterator iter;

		CHECK_FOR_INTERRUPTS();
		slrupages_start_iterate(v->pages, &iter);
		while ((page = slrupages_iterate(v->pages, &iter)) != NULL)
		{
			if (page->tag.kind == change->tag.kind &&
				walredo_change_ends(change, &page->tag))
				end_page(v, page, change, record, end_lsn);
		}
		return;
	}

	page = add_page(v, change->tag);
	if (change->starts_page)
	{
		page->start_lsn = end_lsn;
		page->start_time = v->last_time;
	}

	walredo_rebuild_add(v->rebuild, change, record, end_lsn);
	if (end_lsn > v->redo_lsn)
		add_to_ones(v->recent, &page->is_recent, change, record, end_lsn);
	if (end_lsn > v->nearby_lsn && v->nearby_lsn < v->redo_lsn &&
		(change->tag.kind == WALREDO_TAG_MULTIXACT_OFFSETS ||
		 change->tag.kind == WALREDO_TAG_MULTIXACT_MEMBERS))
		add_to_ones(v->nearby, &page->is_nearby, change, record, end_lsn);

	switch (change->native->kind)
	{
		case WALREDO_MULTIXACT_OFFSET_CREATE:
			note_multixact(&v->gaps, change->native->u.mxact_offset.mid,
						   *nth_offset == 0);
			(*nth_offset)++;
			break;
		case WALREDO_COMMIT_TS_SET:
			v->last_time = change->native->u.commit_ts.timestamp;
			if (v->first_time == 0)
				v->first_time = v->last_time;
			break;
		default:
			break;
	}
}

/* Adds what the reader's current record does to pages of the SLRUs. */
static void
add_record(WalredoSlruVerification *v, WalredoReader *reader)
{
	const XLogRecord *record = walredo_reader_record(reader);
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(reader);
	uint64		first = 0;
	int			nth_offset = 0;
	bool		more;

	do
	{
		WalredoPageChange *list;
		int			n = walredo_changes_part(v->changes, record, end_lsn,
											 first, MAX_CHANGES_SIZE, &list,
											 &more);

		for (int i = 0; i < n; i++)
			add_change(v, &list[i], record, end_lsn, &nth_offset);
		first += n;
	} while (more);
}

/* A list of page numbers. */
typedef struct PageNumbers
{
	uint64	   *numbers;
	Size		count;
	Size		max;
} PageNumbers;

static void
add_number(PageNumbers *list, uint64 number)
{
	if (list->count == list->max)
	{
		list->max = Max(list->max * 2, 64);
		list->numbers = list->numbers == NULL ?
			palloc(list->max * sizeof(uint64)) :
			repalloc_huge(list->numbers, list->max * sizeof(uint64));
	}
	list->numbers[list->count++] = number;
}

/* Adds the numbers of the pages that are in a file of a directory. */
static void
add_pages_of_file(PageNumbers *list, WalredoTagKind kind,
				  const char *directory, const char *name)
{
	char		path[MAXPGPATH];
	WalredoTag	tag = {.kind = kind};
	char	   *end;
	uint64		segment;
	struct stat st;

	if (strspn(name, "0123456789ABCDEF") != strlen(name) || strlen(name) > 15)
		return;
	segment = strtou64(name, &end, 16);
	tag.number = segment * SLRU_PAGES_PER_SEGMENT;
	if (!walredo_tag_is_valid(&tag) ||
		strcmp(walredo_slru_segment_name(&tag), name) != 0)
		return;

	/* It may just have been removed. */
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
		return;
	for (int i = 0; i < SLRU_PAGES_PER_SEGMENT &&
		 (off_t) i * BLCKSZ < st.st_size && walredo_tag_is_valid(&tag); i++)
	{
		add_number(list, tag.number);
		tag.number++;
	}
}

/* The same for all files of a directory.  It need not be there. */
static void
add_pages_of_directory(PageNumbers *list, WalredoTagKind kind,
					   const char *directory)
{
	DIR		   *dir = AllocateDir(directory);
	struct dirent *de;

	if (dir == NULL && errno == ENOENT)
		return;
	while ((de = ReadDir(dir, directory)) != NULL)
		add_pages_of_file(list, kind, directory, de->d_name);
	FreeDir(dir);
}

/*
 * Adds the pages that the backup has, of which WAL need not have a record, so
 * that a record that ends them finds them.
 */
static void
add_pages_of_backup(WalredoSlruVerification *v)
{
	for (int kind = WALREDO_TAG_CLOG; kind <= WALREDO_TAG_COMMIT_TS; kind++)
	{
		PageNumbers list = {0};

		if ((v->slrus & WALREDO_KIND_BIT(kind)) == 0)
			continue;
		add_pages_of_directory(&list, kind,
							   psprintf("%s/%s", v->bases->backup->directory,
										walredo_slru_directory(kind)));
		for (Size i = 0; i < list.count; i++)
		{
			WalredoTag	tag = {.kind = kind,.number = list.numbers[i]};

			(void) add_page(v, tag);
		}
	}
}

/*
 * Begins to read WAL from the start of a backup, or from where WAL begins.
 */
static WalredoReader *
begin_first_reader(WalredoSlruVerification *v)
{
	WalredoReader *reader;
	ListCell   *lc;

	/*
	 * On a standby, the last restartpoint may be older than a backup of the
	 * primary.  Then it would not be known what was changed since.
	 */
	foreach(lc, v->bases->backups)
	{
		WalredoBackup *backup = lfirst(lc);

		if (backup->start_lsn > v->redo_lsn)
			v->bases->backups = foreach_delete_current(v->bases->backups, lc);
	}
	walredo_progress_begin_phase(WALREDO_PHASE_READING_WAL, InvalidOid,
								 MAIN_FORKNUM, 0);
	reader = walredo_bases_begin_reader(v->bases, v->directory,
										WALREDO_END_OF_WAL);
	walredo_verify_check_reader(reader);
	walredo_rebuild_set_backup(v->rebuild, v->bases->backup, v->bases->lsn);
	if (v->bases->backup != NULL)
		add_pages_of_backup(v);
	return reader;
}

/*
 * Reads WAL to its end: all of it, or if is_first is not set, from where it
 * ended when it was read last.
 */
static void
read_wal(WalredoSlruVerification *v, bool is_first)
{
	WalredoReader *reader = is_first ? begin_first_reader(v) :
		walredo_reader_begin(v->directory, v->end_lsn, WALREDO_END_OF_WAL);
	WalredoIndexer *indexer = walredo_indexer_create(reader);
	uint64		nrecords = 0;

	if (is_first)
		walredo_reader_allow_restart(reader);
	for (;;)
	{
		bool		found = walredo_reader_next(reader);

		if (walredo_reader_has_restarted(reader))
			forget_wal(v);
		if (!found)
			break;
		walredo_indexer_add(indexer, walredo_reader_start_lsn(reader));
		add_record(v, reader);
		if (++nrecords % RECORDS_AT_ONCE == 0)
			CHECK_FOR_INTERRUPTS();
	}
	if (is_first)
		v->start_lsn = walredo_reader_first_lsn(reader);
	v->end_lsn = walredo_reader_end_lsn(reader);
	walredo_indexer_free(indexer);
	walredo_reader_end(reader);
}

static void
wait_for_ms(long milliseconds)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 milliseconds, PG_WAIT_TIMEOUT);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Reads the WAL that was written since the last time, so that it includes all
 * changes that files can have by now.
 */
static void
read_later_wal(WalredoSlruVerification *v)
{
	v->is_replaying = false;
	if (RecoveryInProgress())
	{
		XLogRecPtr	replaying = GetCurrentReplayRecPtr(NULL);
		int			nwaits = 0;

		while (GetXLogReplayRecPtr(NULL) < replaying &&
			   RecoveryInProgress() && !v->is_replaying)
		{
			if (nwaits++ == MAX_REPLAY_WAITS)
				v->is_replaying = true;
			else
				wait_for_ms(REPLAY_WAIT_DELAY);
		}
	}
	read_wal(v, false);
}

/* ----------------------------------------
 * Reading files
 * ----------------------------------------
 */

/* The name of the file that has, or should have, a page. */
static char *
file_name(const WalredoTag *tag)
{
	return psprintf("%s/%s", walredo_slru_directory(tag->kind),
					walredo_slru_segment_name(tag));
}

/* Reads a page of a file of the server. */
static void
read_file_page(FilePage *page)
{
	char	   *path = file_name(&page->tag);
	off_t		offset = (off_t) (page->tag.number % SLRU_PAGES_PER_SEGMENT) *
		BLCKSZ;
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	ssize_t		nread;

	page->has_file = fd >= 0 || errno != ENOENT;
	page->size = 0;
	page->error = NULL;
	if (fd < 0)
	{
		if (page->has_file)
			page->error = psprintf("could not open file \"%s\": %m", path);
		return;
	}
	pgstat_report_wait_start(WAIT_EVENT_SLRU_READ);
	nread = pg_pread(fd, page->data, BLCKSZ, offset);
	pgstat_report_wait_end();
	if (nread < 0)
		page->error = psprintf("could not read file \"%s\": %m", path);
	else
		page->size = (int) nread;
	(void) CloseTransientFile(fd);
}

/* qsort() comparator */
static int
compare_numbers(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/*
 * Returns the numbers of the pages of an SLRU that are in files, also of the
 * backup, or of which there are records in WAL.
 */
static PageNumbers
list_pages(WalredoSlruVerification *v, WalredoTagKind kind)
{
	PageNumbers list = {0};
	slrupages_iterator iter;
	SlruPage   *page;
	Size		count = 0;

	add_pages_of_directory(&list, kind, walredo_slru_directory(kind));
	slrupages_start_iterate(v->pages, &iter);
	while ((page = slrupages_iterate(v->pages, &iter)) != NULL)
	{
		if (page->tag.kind == kind)
			add_number(&list, page->tag.number);
	}

	if (list.count > 0)
		qsort(list.numbers, list.count, sizeof(uint64), compare_numbers);
	for (Size i = 0; i < list.count; i++)
	{
		if (i == 0 || list.numbers[i] != list.numbers[i - 1])
			list.numbers[count++] = list.numbers[i];
	}
	list.count = count;
	return list;
}

/* ----------------------------------------
 * Comparing pages
 * ----------------------------------------
 */

static void
set_result(FilePage *page, WalredoVerifyStatus status, const char *detail)
{
	page->has_result = true;
	page->is_final = status == WALREDO_VERIFY_OK;
	page->status = status;
	page->detail = detail;
}

/*
 * Is a page after the one that the server uses now, so that the server is going
 * to make it empty before it uses it?
 */
static bool
is_unused_page(const WalredoSlruPages *pages)
{
	uint64		number = pages->tag.number;
	uint64		last_page;
	uint64		current;

	switch ((WalredoTagKind) pages->tag.kind)
	{
		case WALREDO_TAG_CLOG:
			last_page = walredo_clog_page(MaxTransactionId);
			current = walredo_clog_page(pages->next_xid);
			break;
		case WALREDO_TAG_COMMIT_TS:
			last_page = walredo_commit_ts_page(MaxTransactionId);
			current = walredo_commit_ts_page(pages->next_xid);
			break;
		case WALREDO_TAG_MULTIXACT_OFFSETS:
			last_page = walredo_mxact_offset_page(MaxMultiXactId);
			current = walredo_mxact_offset_page(pages->next_multixact);
			break;
		case WALREDO_TAG_MULTIXACT_MEMBERS:
			last_page = walredo_mxact_member_page((MultiXactOffset) ~0);
			current = walredo_mxact_member_page(pages->next_member);
			break;
		default:
			return false;
	}
	if (number <= current)
		number += last_page + 1;
	return number - current <= MAX_UNUSED_PAGES && number != current;
}

/*
 * Must the server have a page in a file?  That is so if it existed at the redo
 * point, and has not ended since.  page is NULL if there is no record of it.
 */
static bool
must_be_in_file(WalredoSlruVerification *v, const SlruPage *page,
				const WalredoRebuiltPage *rebuilt)
{
	if (rebuilt->end != WALREDO_NOT_ENDED)
		return false;
	if (page != NULL && !XLogRecPtrIsInvalid(page->start_lsn))
		return page->start_lsn <= v->redo_lsn;

	/* The backup has the page, and is older than the redo point. */
	if (rebuilt->image != NULL)
		return true;

	/*
	 * The page is older than the first record that was read.  But a record of
	 * a commit does not tell whether the server has commit timestamps, and
	 * before the record that makes a page of pg_multixact/offsets, older
	 * minor releases set its first entry.
	 */
	return v->start_lsn <= v->redo_lsn && rebuilt->num_records > 0 &&
		rebuilt->backup_problem == NULL && !rebuilt->is_not_in_backup &&
		page->tag.kind != WALREDO_TAG_COMMIT_TS &&
		(page->tag.kind != WALREDO_TAG_MULTIXACT_OFFSETS ||
		 rebuilt->num_records > 1);
}

/*
 * Compares a page that is in a file with the image that WAL makes.  page is
 * NULL if there is no record of it, so that the image is the backup's.
 */
static void
compare_images(WalredoSlruVerification *v, FilePage *file_page,
			   const SlruPage *page, const WalredoRebuiltPage *rebuilt)
{
	WalredoSlruPages pages = {.tag = file_page->tag};
	WalredoRebuiltPage recent = {0};
	WalredoRebuiltPage nearby = {0};
	MultiXactId oldest_multixact;
	Oid			oldest_multixact_db;
	TimestampTz earliest = v->first_time;
	WalredoVerifyStatus status;
	const char *detail;

	if (page != NULL && page->start_time != 0)
		earliest = page->start_time;
	if (page != NULL && page->is_recent)
		walredo_rebuild_get(v->recent, &file_page->tag, &recent);
	if (page != NULL && page->is_nearby)
		walredo_rebuild_get(v->nearby, &file_page->tag, &nearby);
	pages.server = file_page->data;
	pages.wal = VARDATA(rebuilt->image);
	pages.recent = recent.image ? VARDATA(recent.image) : NULL;
	pages.nearby = nearby.image ? VARDATA(nearby.image) : NULL;
	pages.gaps = &v->gaps;
	pages.next_xid = ReadNextTransactionId();
	MultiXactGetCheckptMulti(false, &pages.next_multixact, &pages.next_member,
							 &oldest_multixact, &oldest_multixact_db);
	pages.earliest = earliest > 0 ? earliest - TIME_TOLERANCE : earliest;
	pages.latest = GetCurrentTimestamp() + TIME_TOLERANCE;

	status = walredo_slru_compare(&pages, &detail);
	if (status == WALREDO_VERIFY_MISMATCH)
	{
		const char *reason = NULL;

		if (page != NULL && page->start_lsn > v->redo_lsn)
			reason = psprintf("The page was created at %X/%X, so the server need not have written it yet.",
							  LSN_FORMAT_ARGS(page->start_lsn));
		else if (is_unused_page(&pages))
			reason = "The server has not come to this page yet, and will make it empty.";
		else if (pages.tag.kind == WALREDO_TAG_COMMIT_TS &&
				 wal_level == WAL_LEVEL_MINIMAL)
			reason = "With wal_level = minimal, switching track_commit_timestamp is not logged.";
		else if (v->is_replaying)
			reason = "A record is being replayed that may have changed the page.";
		if (reason != NULL)
		{
			status = WALREDO_VERIFY_UNVERIFIABLE;
			detail = psprintf("%s %s", detail, reason);
		}
	}
	set_result(file_page, status, detail);
}

/* Says why WAL does not tell what is in a page. */
static char *
why_unverifiable(WalredoSlruVerification *v, const WalredoRebuiltPage *rebuilt)
{
	if (rebuilt->end != WALREDO_NOT_ENDED)
		return psprintf("The file of the page was removed at %X/%X, and WAL has no record that starts the page since.",
						LSN_FORMAT_ARGS(rebuilt->end_lsn));
	return psprintf("WAL, which begins at %X/%X, has no record that starts the page.%s%s",
					LSN_FORMAT_ARGS(v->start_lsn),
					rebuilt->backup_problem ? " " :
					rebuilt->is_not_in_backup ?
					" The backup does not have it." : "",
					rebuilt->backup_problem ? rebuilt->backup_problem : "");
}

/* Compares a page with WAL, and sets the result. */
static void
compare_page(WalredoSlruVerification *v, FilePage *file_page)
{
	SlruPage   *page = slrupages_lookup(v->pages, file_page->tag);
	WalredoRebuiltPage rebuilt;

	file_page->has_result = false;
	file_page->is_final = true;
	file_page->detail = NULL;
	walredo_rebuild_get(v->rebuild, &file_page->tag, &rebuilt);

	if (file_page->error != NULL)
		set_result(file_page, WALREDO_VERIFY_MISMATCH,
				   psprintf("The server cannot read it: %s.",
							file_page->error));
	else if (file_page->size < BLCKSZ)
	{
		char	   *name = file_name(&file_page->tag);

		if (must_be_in_file(v, page, &rebuilt))
			set_result(file_page,
					   v->is_replaying ? WALREDO_VERIFY_UNVERIFIABLE :
					   WALREDO_VERIFY_MISMATCH,
					   psprintf(!file_page->has_file ?
								"The page is missing: there is no file \"%s\"." :
								file_page->size == 0 ?
								"The page is missing: file \"%s\" ends before it." :
								"The page is cut: file \"%s\" ends in it.",
								name));
		else if (file_page->size > 0)
			set_result(file_page, WALREDO_VERIFY_UNVERIFIABLE,
					   psprintf("The page is cut: file \"%s\" ends in it.",
								name));
	}
	else if (rebuilt.image != NULL)
		compare_images(v, file_page, page, &rebuilt);
	else
	{
		/* There is nothing to compare with, and will be nothing. */
		set_result(file_page, WALREDO_VERIFY_UNVERIFIABLE,
				   why_unverifiable(v, &rebuilt));
		file_page->is_final = true;
	}
}

/*
 * Verifies some pages.  Most are as WAL says that has been read already.  Those
 * that differ may have been changed since, so they are read again, and then WAL
 * is read on.
 */
static void
verify_pages(WalredoSlruVerification *v, FilePage *pages, int npages)
{
	bool		is_final = false;

	for (int attempt = 0; attempt < MAX_ATTEMPTS && !is_final; attempt++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(v->context);

		for (int i = 0; i < npages; i++)
		{
			if (!pages[i].is_final)
				read_file_page(&pages[i]);
		}
		MemoryContextSwitchTo(old_context);

		if (attempt > 0)
			read_later_wal(v);

		(void) MemoryContextSwitchTo(v->context);
		is_final = true;
		for (int i = 0; i < npages; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (!pages[i].is_final)
				compare_page(v, &pages[i]);
			is_final = is_final && pages[i].is_final;
		}
		MemoryContextSwitchTo(old_context);
		if (attempt > 0 && !is_final)
			wait_for_ms(ATTEMPT_DELAY);
	}
	for (int i = 0; i < npages; i++)
	{
		if (pages[i].has_result)
			v->report(&pages[i].tag, pages[i].status, pages[i].detail, v->arg);
	}
	MemoryContextReset(v->context);
}

/* Verifies all pages of an SLRU. */
static void
verify_slru(WalredoSlruVerification *v, WalredoTagKind kind)
{
	PageNumbers list = list_pages(v, kind);
	char	   *data = palloc(PAGES_AT_ONCE * BLCKSZ);
	FilePage	pages[PAGES_AT_ONCE];

	/* Pages that have been listed may have been made since WAL was read. */
	read_later_wal(v);

	walredo_progress_set_wal(v->start_lsn, v->end_lsn, v->end_lsn);
	walredo_progress_begin_phase(WALREDO_PHASE_COMPARING_PAGES, InvalidOid,
								 MAIN_FORKNUM, list.count);
	for (Size i = 0, n; i < list.count; i += n)
	{
		n = Min(PAGES_AT_ONCE, list.count - i);

		memset(pages, 0, sizeof(pages));
		for (Size j = 0; j < n; j++)
		{
			pages[j].tag.kind = kind;
			pages[j].tag.number = list.numbers[i + j];
			pages[j].data = data + j * BLCKSZ;
		}
		verify_pages(v, pages, (int) n);
		walredo_progress_set_blocks(i + n, list.count);
	}
	pfree(data);
	if (list.numbers != NULL)
		pfree(list.numbers);
}

WalredoSlruVerification *
walredo_slru_begin(int slrus, const char *directory,
				   WalredoReportSlruPage report, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo SLRUs",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	WalredoSlruVerification *v = palloc0(sizeof(WalredoSlruVerification));
	int			read_slrus = slrus;

	/* Pages of members are compared with what offsets tell of multixacts. */
	if ((slrus & WALREDO_KIND_BIT(WALREDO_TAG_MULTIXACT_MEMBERS)) != 0)
		read_slrus |= WALREDO_KIND_BIT(WALREDO_TAG_MULTIXACT_OFFSETS);

	v->parent = context;
	v->slrus = slrus;
	v->directory = walredo_wal_with_local(directory);
	v->bases = walredo_bases_open();
	v->report = report;
	v->arg = arg;
	v->context = AllocSetContextCreate(context, "walredo SLRU pages",
									   ALLOCSET_DEFAULT_SIZES);
	v->filter = walredo_filter_slrus(read_slrus);
	v->changes = walredo_changes_create(v->filter);
	v->pages = slrupages_create(context, 64, NULL);
	v->rebuild = walredo_rebuild_create();
	v->recent = walredo_rebuild_create();
	v->nearby = walredo_rebuild_create();
	clear_gaps(&v->gaps);

	get_redo_lsn(v);
	read_wal(v, true);
	MemoryContextSwitchTo(old_context);
	return v;
}

void
walredo_slru_end(WalredoSlruVerification *v)
{
	walredo_rebuild_free(v->nearby);
	walredo_rebuild_free(v->recent);
	walredo_rebuild_free(v->rebuild);
	MemoryContextDelete(v->parent);
}

void
walredo_slru_verify(WalredoSlruVerification *v, WalredoTagKind kind)
{
	MemoryContext old_context = MemoryContextSwitchTo(v->parent);

	verify_slru(v, kind);
	MemoryContextSwitchTo(old_context);
}

void
walredo_slru_read_on(WalredoSlruVerification *v)
{
	MemoryContext old_context = MemoryContextSwitchTo(v->parent);

	read_later_wal(v);
	MemoryContextSwitchTo(old_context);
}

bool
walredo_slru_rebuilt_page(WalredoSlruVerification *v, const WalredoTag *tag,
						  char *page, XLogRecPtr *last_lsn)
{
	MemoryContext old_context = MemoryContextSwitchTo(v->context);
	WalredoRebuiltPage rebuilt;
	bool		is_known;

	walredo_rebuild_get(v->rebuild, tag, &rebuilt);
	is_known = rebuilt.image != NULL;
	if (is_known)
	{
		memcpy(page, VARDATA(rebuilt.image), BLCKSZ);
		*last_lsn = rebuilt.last_lsn;
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(v->context);
	return is_known;
}

char *
walredo_slru_why_unknown(WalredoSlruVerification *v, const WalredoTag *tag)
{
	WalredoRebuiltPage rebuilt;

	walredo_rebuild_get(v->rebuild, tag, &rebuilt);
	return why_unverifiable(v, &rebuilt);
}

const char *
walredo_slru_source(const WalredoSlruVerification *v)
{
	if (v->bases->backup == NULL)
		return "WAL";
	return psprintf("backup \"%s\" and WAL", v->bases->backup->directory);
}

void
walredo_verify_slrus(int slrus, const char *directory,
					 WalredoReportSlruPage report, void *arg)
{
	WalredoSlruVerification *v = walredo_slru_begin(slrus, directory, report,
													arg);

	for (int kind = WALREDO_TAG_CLOG; kind <= WALREDO_TAG_COMMIT_TS; kind++)
	{
		if ((slrus & WALREDO_KIND_BIT(kind)) != 0)
			walredo_slru_verify(v, kind);
	}
	walredo_slru_end(v);
}
