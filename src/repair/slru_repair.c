/*-------------------------------------------------------------------------
 *
 * slru_repair.c
 *	  Making lost pages of SLRUs anew on a server that is running.
 *
 * The server's buffers for these pages are private to it.  It would not notice
 * if the file of a page that it has in a buffer were changed, and it would
 * overwrite the file later.  So pages that are in a file are not touched.
 *
 * A page that is in no file, because the file is missing or ends before it,
 * cannot get into a buffer.  It can still be in one since before the file was
 * lost.  Then it is no other page than the one that WAL makes; if a session
 * changes it, it will be written again.  So it does no harm to write to the
 * file what WAL makes, if these rules are kept:
 *
 * 1. The server must not read as zeroes what has not been written yet.  So a
 *	  file that is missing is written under no name at all, and gets its name
 *	  when it is complete, unless the server has made such a file meanwhile;
 *	  and pages are added to a file from the first one that is missing on.
 *
 * 2. Nothing may be overwritten that the server has written meanwhile.  That
 *	  is looked at just before each page.  If the server should write the page
 *	  in the very moment after that, the page that it has written can have
 *	  changes that were not in WAL yet when the page was made from WAL.  So WAL
 *	  is read on afterwards, and if it has changed the page, and the file still
 *	  has what was written here, the page is written once more.  When WAL has
 *	  no further change of the page, nothing can have been overwritten.
 *
 * The same cures what a checkpoint may have written to a file that it had open
 * when its name was removed.
 *
 * Repairs are not logged.  A standby has its own files.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/repair/slru_repair.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/slru.h"
#include "access/xlog.h"
#include "common/file_perm.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/verify_slru.h"
#include "repair/kept.h"
#include "repair/slru_repair.h"
#include "storage/fd.h"
#include "utils/wait_event.h"

#define SEGMENT_SIZE		(SLRU_PAGES_PER_SEGMENT * BLCKSZ)

/*
 * How often WAL is read on after pages were written.  A page that changes all
 * the time is in a buffer, from where it is written again.
 */
#define MAX_LATER_LOOKS		10

/* The result of a verification. */
typedef struct Finding
{
	WalredoTag	tag;
	WalredoVerifyStatus status;
	char	   *detail;			/* or NULL */
} Finding;

/* A segment file of which pages are missing. */
typedef struct Segment
{
	WalredoTag	tag;			/* of its first page */
	char	   *path;
	bool		has_file;
	int			size;			/* bytes that are in the file */

	/* The pages that are missing, and are to be written. */
	int			first;
	int			last;

	/* Of SEGMENT_SIZE bytes: what is in the file, and what should be. */
	char	   *old_contents;
	char	   *contents;
	XLogRecPtr	rebuilt_lsn;	/* end LSN of the last record in them */
} Segment;

typedef struct SlruRepair
{
	const WalredoSlruRepairRequest *request;
	WalredoReportSlruRepair report;
	void	   *arg;
	WalredoSlruVerification *verification;
	Finding    *findings;		/* of one SLRU, by page number */
	int			num_findings;
	int			max_findings;
	bool		has_reported;
} SlruRepair;

/* A WalredoReportSlruPage: notes a result. */
static void
note_finding(const WalredoTag *tag, WalredoVerifyStatus status,
			 const char *detail, void *arg)
{
	SlruRepair *repair = arg;
	Finding    *finding;

	if (repair->num_findings == repair->max_findings)
	{
		repair->max_findings = Max(repair->max_findings * 2, 64);
		repair->findings = repair->findings == NULL ?
			palloc(repair->max_findings * sizeof(Finding)) :
			repalloc_huge(repair->findings,
						  repair->max_findings * sizeof(Finding));
	}
	finding = &repair->findings[repair->num_findings++];
	finding->tag = *tag;
	finding->status = status;
	finding->detail = detail != NULL ? pstrdup(detail) : NULL;
}

/* Reports a page, with what is to be said of it beside the finding. */
static void
report(SlruRepair *repair, const Finding *finding, WalredoRepairStatus status,
	   const char *more)
{
	WalredoSlruRepairResult result = {.tag = finding->tag,.status = status};

	if (status == WALREDO_REPAIR_REPAIRABLE ||
		status == WALREDO_REPAIR_REPAIRED)
		result.source = walredo_slru_source(repair->verification);
	result.detail = finding->detail;
	if (more != NULL)
		result.detail = finding->detail == NULL ? more :
			psprintf("%s %s", finding->detail, more);
	repair->report(&result, repair->arg);
	repair->has_reported = true;
}

/* ----------------------------------------
 * Files
 * ----------------------------------------
 */

static WalredoTag
page_of_segment(const Segment *segment, int page)
{
	WalredoTag	tag = segment->tag;

	tag.number += page;
	return tag;
}

static void
write_page(const Segment *segment, int fd, int page, const char *contents)
{
	ssize_t		written;

	errno = 0;
	pgstat_report_wait_start(WAIT_EVENT_SLRU_WRITE);
	written = pg_pwrite(fd, contents, BLCKSZ, (off_t) page * BLCKSZ);
	pgstat_report_wait_end();
	if (written == BLCKSZ)
		return;

	/* If nothing says why, there is no space. */
	if (errno == 0)
		errno = ENOSPC;
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not write file \"%s\": %m", segment->path)));
}

static void
flush_and_close(const Segment *segment, int fd)
{
	pgstat_report_wait_start(WAIT_EVENT_SLRU_SYNC);
	if (pg_fsync(fd) != 0)
		ereport(data_sync_elevel(ERROR),
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", segment->path)));
	pgstat_report_wait_end();
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", segment->path)));
}

/* Opens the file; -1 if it is not there. */
static int
open_segment(const Segment *segment, int flags)
{
	int			fd = OpenTransientFile(segment->path, flags | PG_BINARY);

	if (fd < 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", segment->path)));
	return fd;
}

/* The file's length, or SEGMENT_SIZE if it is longer. */
static int
size_of_segment(const Segment *segment, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", segment->path)));
	return (int) Min(st.st_size, (off_t) SEGMENT_SIZE);
}

/*
 * Reads what there is of the segment of a page.  The result is palloc'd, with
 * all that it points to.
 */
static Segment *
read_segment(const WalredoTag *tag)
{
	Segment    *segment = palloc0(sizeof(Segment));
	int			fd;
	ssize_t		nread;

	segment->tag = *tag;
	segment->tag.number -= tag->number % SLRU_PAGES_PER_SEGMENT;
	segment->path = psprintf("%s/%s", walredo_slru_directory(tag->kind),
							 walredo_slru_segment_name(tag));
	segment->old_contents = palloc0(SEGMENT_SIZE);
	segment->contents = palloc0(SEGMENT_SIZE);
	fd = open_segment(segment, O_RDONLY);
	if (fd < 0)
		return segment;

	segment->has_file = true;
	pgstat_report_wait_start(WAIT_EVENT_SLRU_READ);
	nread = pg_pread(fd, segment->old_contents, SEGMENT_SIZE, 0);
	pgstat_report_wait_end();

	/* If it cannot be read, its length tells which pages are missing. */
	segment->size = nread >= 0 ? (int) nread : size_of_segment(segment, fd);
	(void) CloseTransientFile(fd);
	segment->first = segment->size / BLCKSZ;
	memcpy(segment->contents, segment->old_contents, segment->first * BLCKSZ);
	return segment;
}

/*
 * Writes a file that is missing, and gives it its name.  Returns false if there
 * is one by now.
 */
static bool
make_file(const Segment *segment)
{
	const char *directory = walredo_slru_directory(segment->tag.kind);
	int			fd = OpenTransientFilePerm(directory,
										   O_TMPFILE | O_RDWR | PG_BINARY,
										   pg_file_create_mode);
	char		path[MAXPGPATH];
	bool		is_made;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create a file without a name in directory \"%s\": %m",
						directory)));
	for (int page = 0; page <= segment->last; page++)
		write_page(segment, fd, page, segment->contents + page * BLCKSZ);
	pgstat_report_wait_start(WAIT_EVENT_SLRU_SYNC);
	if (pg_fsync(fd) != 0)
		ereport(data_sync_elevel(ERROR),
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", segment->path)));
	pgstat_report_wait_end();

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	is_made = linkat(AT_FDCWD, path, AT_FDCWD, segment->path,
					 AT_SYMLINK_FOLLOW) == 0;
	if (!is_made && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not link file \"%s\": %m", segment->path)));
	(void) CloseTransientFile(fd);
	return is_made;
}

/*
 * Adds the pages that are missing to a file that was cut.  Returns how many
 * were added: fewer if somebody else changes the length of the file.
 */
static int
add_pages(const Segment *segment)
{
	int			fd = open_segment(segment, O_RDWR);
	int			expected = segment->size;
	int			count = 0;

	if (fd < 0)
		return 0;
	for (int page = segment->first; page <= segment->last; page++)
	{
		if (size_of_segment(segment, fd) != expected)
			break;
		write_page(segment, fd, page, segment->contents + page * BLCKSZ);
		expected = (page + 1) * BLCKSZ;
		count++;
	}
	flush_and_close(segment, fd);
	return count;
}

/*
 * Reads WAL on, and writes those pages once more that it has changed, unless
 * the server has written them itself: see the head of this file.  Returns
 * whether there were any.
 */
static bool
write_later_changes(SlruRepair *repair, Segment *segment)
{
	int			fd = open_segment(segment, O_RDWR);
	char	   *page = palloc(BLCKSZ);
	char	   *in_file = palloc(BLCKSZ);
	bool		has_changed = false;

	if (fd < 0)
		return false;			/* it has been truncated away */
	walredo_slru_read_on(repair->verification);
	for (int i = segment->first; i <= segment->last; i++)
	{
		char	   *written = segment->contents + i * BLCKSZ;
		WalredoTag	tag = page_of_segment(segment, i);
		XLogRecPtr	lsn;

		if (!walredo_slru_rebuilt_page(repair->verification, &tag, page,
									   &lsn) ||
			memcmp(page, written, BLCKSZ) == 0)
			continue;
		if (pg_pread(fd, in_file, BLCKSZ, (off_t) i * BLCKSZ) == BLCKSZ &&
			memcmp(in_file, written, BLCKSZ) == 0)
			write_page(segment, fd, i, page);
		memcpy(written, page, BLCKSZ);
		has_changed = true;
	}
	flush_and_close(segment, fd);
	pfree(page);
	pfree(in_file);
	return has_changed;
}

/* ----------------------------------------
 * Segments
 * ----------------------------------------
 */

/*
 * Rebuilds the pages that are missing, up to the last one that is known, and at
 * least to min_last.  Returns NULL, or a sentence that says which of them is
 * not known; palloc'd.
 */
static const char *
rebuild_segment(SlruRepair *repair, Segment *segment, int min_last)
{
	int			first_unknown = -1;
	WalredoTag	tag;

	segment->last = min_last;
	for (int i = segment->first; i < SLRU_PAGES_PER_SEGMENT; i++)
	{
		XLogRecPtr	lsn;

		tag = page_of_segment(segment, i);
		if (!walredo_tag_is_valid(&tag))
			break;
		if (!walredo_slru_rebuilt_page(repair->verification, &tag,
									   segment->contents + i * BLCKSZ, &lsn))
		{
			if (first_unknown < 0)
				first_unknown = i;
			continue;
		}
		segment->last = Max(segment->last, i);
		segment->rebuilt_lsn = Max(segment->rebuilt_lsn, lsn);
	}
	if (first_unknown < 0 || first_unknown > segment->last)
		return NULL;
	tag = page_of_segment(segment, first_unknown);
	return psprintf("The pages that are missing in file \"%s\" can only be made together, but what is in %s is not known. %s",
					segment->path, walredo_tag_to_cstring(&tag),
					walredo_slru_why_unknown(repair->verification, &tag));
}

static bytea *
make_bytea(const char *data, int size)
{
	bytea	   *result = palloc(VARHDRSZ + size);

	SET_VARSIZE(result, VARHDRSZ + size);
	memcpy(VARDATA(result), data, size);
	return result;
}

/* Keeps what is in the file, and what will be.  Returns the repair's ID. */
static int64
keep(SlruRepair *repair, const Segment *segment)
{
	WalredoKept kept;

	walredo_kept_begin(&kept, &segment->tag);
	kept.source = walredo_slru_source(repair->verification);
	kept.rebuilt_lsn = segment->rebuilt_lsn;
	if (segment->has_file)
		kept.old_contents = make_bytea(segment->old_contents, segment->size);
	kept.new_contents = make_bytea(segment->contents,
								   (segment->last + 1) * BLCKSZ);
	return walredo_kept_add(&kept);
}

/*
 * Writes the pages that are missing.  Returns how many were written: fewer than
 * are missing if somebody else has written to the file meanwhile.
 */
static int
repair_segment(SlruRepair *repair, Segment *segment)
{
	int64		id = keep(repair, segment);
	volatile int count = 0;

	PG_TRY();
	{
		if (segment->has_file)
			count = add_pages(segment);
		else if (make_file(segment))
			count = segment->last + 1;
	}
	PG_CATCH();
	{
		/*
		 * A new file was not made, but to a file that was cut, pages may have
		 * been added.
		 */
		if (!segment->has_file)
			walredo_kept_forget(id);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (count == 0)
	{
		walredo_kept_forget(id);
		return 0;
	}
	walredo_kept_finish(id, InvalidXLogRecPtr);

	/* A cancel request must wait until it is certain that all is well. */
	segment->last = segment->first + count - 1;
	HOLD_CANCEL_INTERRUPTS();
	for (int i = 0; i < MAX_LATER_LOOKS; i++)
	{
		if (!write_later_changes(repair, segment))
			break;
	}
	RESUME_CANCEL_INTERRUPTS();
	if (!segment->has_file)
		fsync_fname(walredo_slru_directory(segment->tag.kind), true);
	return count;
}

/* Repairs some pages of one segment that are missing in its file. */
static void
repair_lost_pages(SlruRepair *repair, Segment *segment,
				  const Finding *findings, int n)
{
	const WalredoSlruRepairRequest *request = repair->request;
	int			min_last = findings[n - 1].tag.number - segment->tag.number;
	const char *problem = rebuild_segment(repair, segment, min_last);
	int			num_pages = segment->last - segment->first + 1;
	int			num_written = 0;
	const char *done;

	if (problem != NULL)
	{
		problem = psprintf("%s A backup that has it can be given as walredo.backup_directory, and older WAL as wal_directory.",
						   problem);
		for (int i = 0; i < n; i++)
			report(repair, &findings[i], WALREDO_REPAIR_REFUSED, problem);
		return;
	}
	if (RecoveryInProgress())
	{
		for (int i = 0; i < n; i++)
			report(repair, &findings[i], WALREDO_REPAIR_REFUSED,
				   "Recovery is in progress. Stop this server and copy the file from the primary, or make this standby anew.");
		return;
	}

	if (!request->dry_run)
		num_written = repair_segment(repair, segment);
	done = psprintf(segment->has_file ?
					(request->dry_run ?
					 "%d pages would be added to file \"%s\"." :
					 "%d pages were added to file \"%s\".") :
					(request->dry_run ?
					 "A file of %d pages would be made as \"%s\"." :
					 "A file of %d pages was made as \"%s\"."),
					request->dry_run ? num_pages : num_written,
					segment->path);
	for (int i = 0; i < n; i++)
	{
		int			page = findings[i].tag.number - segment->tag.number;

		if (request->dry_run)
			report(repair, &findings[i], WALREDO_REPAIR_REPAIRABLE, done);
		else if (page < segment->first + num_written)
			report(repair, &findings[i], WALREDO_REPAIR_REPAIRED, done);
		else
			report(repair, &findings[i], WALREDO_REPAIR_REFUSED,
				   "The server has written to the file meanwhile. Look at the page again.");
	}
}

/* ----------------------------------------
 * SLRUs
 * ----------------------------------------
 */

/* Is a page one that was asked for? */
static bool
is_wanted(SlruRepair *repair, const Finding *finding)
{
	return repair->request->pageno < 0 ||
		finding->tag.number == (uint64) repair->request->pageno;
}

/* Reports a page that is not missing in its file. */
static void
report_page(SlruRepair *repair, const Finding *finding)
{
	if (!is_wanted(repair, finding))
		return;
	switch (finding->status)
	{
		case WALREDO_VERIFY_MISMATCH:
			report(repair, finding, WALREDO_REPAIR_REFUSED,
				   "The server may have the page in memory, so that it cannot be replaced while the server runs. Stop the server, and write the page to its file: see the documentation of walredo_repair_slru().");
			break;
		case WALREDO_VERIFY_UNVERIFIABLE:
			report(repair, finding, WALREDO_REPAIR_UNVERIFIABLE, NULL);
			break;
		default:
			if (repair->request->pageno >= 0)
				report(repair, finding, WALREDO_REPAIR_OK, NULL);
			break;
	}
}

/*
 * Repairs the pages of one segment, of which there are n findings.
 */
static void
repair_findings(SlruRepair *repair, const Finding *findings, int n)
{
	Segment    *segment = read_segment(&findings[0].tag);
	int			num_sound = 0;
	bool		has_lost = false;
	bool		wants_lost = false;

	/* Those that are missing are the last ones. */
	while (num_sound < n &&
		   findings[num_sound].tag.number - segment->tag.number <
		   segment->first)
		num_sound++;
	for (int i = num_sound; i < n; i++)
	{
		has_lost = has_lost || findings[i].status == WALREDO_VERIFY_MISMATCH;
		wants_lost = wants_lost || is_wanted(repair, &findings[i]);
	}

	/* What is not sure to be missing is not repaired either. */
	if (!has_lost || !wants_lost)
		num_sound = n;
	for (int i = 0; i < num_sound; i++)
		report_page(repair, &findings[i]);
	if (num_sound < n)
		repair_lost_pages(repair, segment, findings + num_sound,
						  n - num_sound);
	pfree(segment->old_contents);
	pfree(segment->contents);
	pfree(segment->path);
	pfree(segment);
}

static void
repair_slru(SlruRepair *repair, WalredoTagKind kind)
{
	repair->num_findings = 0;
	walredo_slru_verify(repair->verification, kind);
	for (int i = 0, n; i < repair->num_findings; i += n)
	{
		uint64		segment = repair->findings[i].tag.number /
			SLRU_PAGES_PER_SEGMENT;

		CHECK_FOR_INTERRUPTS();
		for (n = 1; i + n < repair->num_findings &&
			 repair->findings[i + n].tag.number / SLRU_PAGES_PER_SEGMENT ==
			 segment; n++)
			;
		repair_findings(repair, &repair->findings[i], n);
	}
	if (repair->request->pageno >= 0 && !repair->has_reported)
	{
		Finding		none = {.tag.kind = kind};

		none.tag.number = repair->request->pageno;
		report(repair, &none, WALREDO_REPAIR_OK,
			   "There is no such page, and according to WAL there need not be.");
	}
}

void
walredo_repair_slrus(const WalredoSlruRepairRequest *request,
					 WalredoReportSlruRepair report_result, void *arg)
{
	SlruRepair	repair = {
		.request = request,
		.report = report_result,
		.arg = arg
	};

	repair.verification = walredo_slru_begin(request->slrus,
											 request->directory,
											 note_finding, &repair);
	for (int kind = WALREDO_TAG_CLOG; kind <= WALREDO_TAG_COMMIT_TS; kind++)
	{
		if ((request->slrus & WALREDO_KIND_BIT(kind)) != 0)
			repair_slru(&repair, kind);
	}
	walredo_slru_end(repair.verification);
}
