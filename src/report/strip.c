/*-------------------------------------------------------------------------
 *
 * strip.c
 *	  The history of a page as a strip of pictures, of which there are not too
 *	  many.
 *
 * It is not known in advance how many records there are, and WAL is to be read
 * only once.  So the first records have a picture each.  When there are as many
 * pictures as there can be, each two neighbours become one, which has the page
 * after the later one, and from then on each new picture stands for twice as
 * many records.  The page is made only where a picture ends: for n records,
 * that is in the order of log(n) times as often as there are pictures.
 *
 * Records in between are not lost: a picture counts them by their types, and
 * what is marked in it are all bytes that differ from the picture before.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/strip.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/bases.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "record/record.h"
#include "record/slru.h"
#include "redo/replay.h"
#include "report/strip.h"
#include "wal/names.h"
#include "wal/reader.h"
#include "wal/xact_end.h"

/* As in historyfuncs.c: bytes of records that wait to be replayed. */
#define MAX_WAITING			(4 * 1024 * 1024)

/* A longer description of a record is cut off. */
#define MAX_DESCRIPTION		600

/*
 * The most pages of pg_xact whose transactions are looked for one after the
 * other, and how much WAL is read after a record if there are more.
 */
#define MAX_CLOG_PAGES		2
#define NEAR_BYTES			(1024 * 1024)

/* A history that is being read. */
typedef struct StripScan
{
	WalredoStrip *strip;
	const WalredoPageFilter *filter;
	const char *directory;
	WalredoPageScan *scan;
	WalredoRebuild *rebuild;

	/*
	 * What is read next: a range as for walredo_reader_begin().  With
	 * from_page, WAL before it is read as well, for the page as of its start.
	 */
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
	bool		from_page;

	Size		waiting;
	bool		is_there;		/* there is a page, as far as is known */
	bool		was_page;		/* a record has changed it, or it was there */
	const char *failure;		/* why it cannot be replayed, or NULL */
	WalredoRebuiltPage page;	/* result of get_page() */
} StripScan;

/* ----------------------------------------
 * Pages
 * ----------------------------------------
 */

/* An attempt: makes the page. */
static void
get_page(void *arg)
{
	StripScan  *s = arg;

	walredo_rebuild_get(s->rebuild, &s->filter->tag, &s->page);
}

/* Why there is no page. */
static const char *
why_no_page(const WalredoRebuiltPage *page)
{
	const char *problem = walredo_rebuilt_page_problem(page);

	if (problem != NULL)
		return problem;
	switch (page->end)
	{
		case WALREDO_NOT_ENDED:
			break;
		case WALREDO_TRUNCATED:
			return page->num_records == 0 ? "It was truncated away." :
				"It was truncated away, and WAL has no image of it since.";
		case WALREDO_FILE_REMOVED:
			return page->num_records == 0 ? "Its file was removed." :
				"Its file was removed, and WAL has no image of it since.";
		case WALREDO_FILE_CREATED:
			return page->num_records == 0 ? "Its file was created here, empty." :
				"Its file was created, and WAL has no image of it since.";
		case WALREDO_FILE_COPIED:
			return "Its file was replaced by a copy, and WAL has no image of the page since.";
		case WALREDO_UNKNOWN_CHANGE:
			return "It was changed in a way that WAL does not describe.";
	}
	if (page->backup_problem != NULL)
		return page->backup_problem;
	return "WAL has no image of it from which it could be made, and no backup has.";
}

/*
 * Makes the page, and gives it to a picture.  If it cannot be replayed, it is
 * not tried again before a record starts the page anew, since each attempt
 * costs a child.
 */
static void
take_page(StripScan *s, WalredoPicture *picture)
{
	ErrorData  *error = NULL;

	if (s->failure == NULL)
		error = walredo_attempt(get_page, s);
	if (error != NULL)
		s->failure = psprintf("It cannot be replayed: %s%s%s.", error->message,
							  error->detail != NULL ? ". " : "",
							  error->detail != NULL ? error->detail : "");
	s->waiting = 0;
	picture->is_taken = true;
	picture->is_absent = false;
	picture->page = NULL;
	picture->problem = s->failure;
	picture->rmid = -1;
	if (s->failure != NULL)
		return;
	picture->rmid = s->page.rmid;
	if (s->page.image == NULL)
	{
		picture->problem = why_no_page(&s->page);
		picture->is_absent = s->page.num_records == 0 &&
			(s->page.end == WALREDO_TRUNCATED ||
			 s->page.end == WALREDO_FILE_REMOVED ||
			 s->page.end == WALREDO_FILE_CREATED);
		return;
	}
	picture->full_size = VARSIZE_ANY_EXHDR(s->page.image);
	picture->size = Min(picture->full_size, BLCKSZ);
	picture->page = palloc(BLCKSZ);
	memcpy(picture->page, VARDATA_ANY(s->page.image), picture->size);
	pfree(s->page.image);
}

/* ----------------------------------------
 * Records
 * ----------------------------------------
 */

/* Counts records of a type in a picture. */
static void
count_type(WalredoPicture *picture, const WalredoRecordType *type)
{
	for (int i = 0; i < picture->ntypes; i++)
	{
		WalredoRecordType *known = &picture->types[i];

		if (strcmp(known->rmgr, type->rmgr) == 0 &&
			strcmp(known->type, type->type) == 0)
		{
			known->count += type->count;
			return;
		}
	}
	if (picture->ntypes < WALREDO_PICTURE_TYPES)
		picture->types[picture->ntypes++] = *type;
	else
		picture->num_others += type->count;
}

/* Makes one picture of two neighbours: adds the later one to the first. */
static void
merge_pictures(WalredoPicture *picture, WalredoPicture *later)
{
	if (picture->page != NULL)
		pfree(picture->page);
	if (picture->description != NULL)
		pfree(picture->description);
	if (later->description != NULL)
		pfree(later->description);
	picture->description = NULL;
	picture->last = later->last;
	picture->lsn = later->lsn;
	for (int i = 0; i < later->ntypes; i++)
		count_type(picture, &later->types[i]);
	picture->num_others += later->num_others;
	if (TransactionIdIsValid(later->xid))
		picture->xid = later->xid;
	picture->is_taken = later->is_taken;
	picture->is_absent = later->is_absent;
	picture->page = later->page;
	picture->size = later->size;
	picture->full_size = later->full_size;
	picture->rmid = later->rmid;
	picture->problem = later->problem;
}

/* Begins a new picture, for which there may have to be room. */
static WalredoPicture *
begin_picture(WalredoStrip *strip)
{
	WalredoPicture *picture;

	if (strip->npictures == WALREDO_MAX_PICTURES)
	{
		for (int i = 0; i < WALREDO_MAX_PICTURES / 2; i++)
		{
			merge_pictures(&strip->pictures[2 * i],
						   &strip->pictures[2 * i + 1]);
			strip->pictures[i] = strip->pictures[2 * i];
		}
		strip->npictures = WALREDO_MAX_PICTURES / 2;
		strip->step *= 2;
	}
	picture = &strip->pictures[strip->npictures++];
	memset(picture, 0, sizeof(WalredoPicture));
	picture->first = strip->nrecords + 1;
	return picture;
}

/* The argument of describe_record(). */
typedef struct DescribeAttempt
{
	WalredoRecord *record;
	char	   *description;
} DescribeAttempt;

/* An attempt: describes a record. */
static void
describe_record(void *arg)
{
	DescribeAttempt *work = arg;

	walredo_record_validate(work->record);
	work->description = walredo_describe_record(work->record);
}

/* The description of the current record, cut off, palloc'd, or NULL. */
static char *
describe(StripScan *s)
{
	const XLogRecord *xlogrecord = walredo_reader_record(s->scan->reader);
	DescribeAttempt work = {0};
	Size		length;

	work.record = walredo_record_make(WALREDO_POSTGRES,
									  walredo_reader_end_lsn(s->scan->reader),
									  xlogrecord->xl_tot_len);
	memcpy(work.record->u.data, xlogrecord, xlogrecord->xl_tot_len);
	if (walredo_attempt(describe_record, &work) != NULL)
		work.description = NULL;
	pfree(work.record);
	if (work.description == NULL)
		return NULL;
	length = strlen(work.description);
	if (length > MAX_DESCRIPTION)
		strcpy(work.description + MAX_DESCRIPTION - 4, " ...");
	return work.description;
}

/* Adds the current record to the rebuild. */
static void
collect_record(StripScan *s)
{
	const XLogRecord *record = walredo_reader_record(s->scan->reader);

	walredo_page_scan_add(s->scan, s->rebuild);
	for (int i = 0; i < s->scan->num_changes; i++)
	{
		const WalredoPageChange *change = &s->scan->list[i];

		if (change->what == WALREDO_CHANGE_END)
			s->is_there = false;
		else
		{
			s->was_page = true;
			s->is_there = s->is_there || change->starts_page;
		}
		if (change->what == WALREDO_CHANGE_END || change->starts_page)
		{
			s->waiting = 0;
			s->failure = NULL;
		}
		s->waiting += record->xl_tot_len;
	}
	if (s->waiting > MAX_WAITING)
	{
		WalredoPicture unused = {0};

		take_page(s, &unused);
		if (unused.page != NULL)
			pfree(unused.page);
	}
}

/*
 * The picture that the next record belongs to, or NULL if a new one begins.  If
 * the last one is complete, it gets its page, before the rebuild gets the next
 * record.
 */
static WalredoPicture *
open_picture(StripScan *s)
{
	WalredoStrip *strip = s->strip;
	WalredoPicture *picture;

	if (strip->npictures == 0)
		return NULL;
	picture = &strip->pictures[strip->npictures - 1];
	if (picture->last - picture->first + 1 < strip->step &&
		!picture->is_taken)
		return picture;
	if (!picture->is_taken)
		take_page(s, picture);
	return NULL;
}

/* Puts the current record, which is in the range, into the strip. */
static void
put_record(StripScan *s)
{
	WalredoStrip *strip = s->strip;
	const XLogRecord *record = walredo_reader_record(s->scan->reader);
	WalredoPicture *picture = open_picture(s);
	WalredoRecordType type;

	if (picture == NULL)
	{
		picture = begin_picture(strip);
		picture->start_lsn = walredo_reader_start_lsn(s->scan->reader);
		if (strip->step == 1)
			picture->description = describe(s);
	}
	collect_record(s);
	strip->nrecords++;
	picture->last = strip->nrecords;
	picture->lsn = walredo_reader_end_lsn(s->scan->reader);
	if (TransactionIdIsValid(record->xl_xid))
		picture->xid = record->xl_xid;
	type.rmgr = walredo_rmgr_name(record->xl_rmid);
	type.type = walredo_record_type(record);
	type.count = 1;
	count_type(picture, &type);
}

/* WAL was removed before it could be read: begin again after the gap. */
static void
forget_before_gap(StripScan *s)
{
	WalredoStrip *strip = s->strip;

	if (!s->scan->has_restarted)
		return;
	s->scan->has_restarted = false;
	walredo_rebuild_reset(s->rebuild);
	s->waiting = 0;
	s->is_there = false;
	s->failure = NULL;
	strip->has_gap = true;
	strip->npictures = 0;
	strip->nrecords = 0;
	strip->step = 1;
	memset(&strip->before, 0, sizeof(strip->before));
	strip->before.problem = "WAL was removed while it was read.";
}

/*
 * Is the current record one that creates the file of a page that was not there?
 * This is no change of the page.
 */
static bool
is_beginning(const StripScan *s)
{
	return s->scan->num_changes == 1 &&
		s->scan->list[0].end == WALREDO_FILE_CREATED && !s->is_there;
}

/*
 * Handles such a record.  If all that was there before are ends of files, these
 * were files of others, which contained the page's, such as a database.
 */
static void
begin_file(StripScan *s)
{
	WalredoStrip *strip = s->strip;

	(void) open_picture(s);
	collect_record(s);
	if (s->was_page)
		return;
	strip->npictures = 0;
	strip->nrecords = 0;
	strip->step = 1;
	strip->before.is_absent = true;
	strip->before.problem =
		psprintf("there was no page, as its file was created at %X/%X.",
				 LSN_FORMAT_ARGS(walredo_reader_end_lsn(s->scan->reader)));
}

/*
 * An attempt: finds where to begin to read, which is at start_lsn, or, if WAL
 * does not reach back to it, where WAL begins.  Errors as
 * walredo_reader_begin(), such as for a start that is after the end of the
 * range, or of WAL.  If an archive has the start, but not all that follows, it
 * is read from there on as far as possible.
 */
static void
where_to_begin(void *arg)
{
	StripScan  *s = arg;
	WalredoReader *reader;
	XLogRecPtr	first_lsn;
	bool		is_before_gap;

	if (s->start_lsn == WALREDO_START_OF_WAL)
		return;
	reader = walredo_reader_begin(s->directory, WALREDO_START_OF_WAL,
								  s->end_lsn);
	first_lsn = walredo_reader_first_lsn(reader);
	is_before_gap = !walredo_reader_is_local(reader) &&
		walredo_reader_has_segment(reader, s->start_lsn);
	walredo_reader_end(reader);
	if (s->start_lsn < first_lsn && !is_before_gap)
		s->start_lsn = WALREDO_START_OF_WAL;

	/* A scan would take a range that ends before it begins as empty. */
	else
		walredo_reader_end(walredo_reader_begin(s->directory, s->start_lsn,
												s->end_lsn));
}

/* Takes the page as of the start of the range. */
static void
take_page_before(StripScan *s)
{
	WalredoPicture *before = &s->strip->before;

	take_page(s, before);
	before->lsn = s->start_lsn;
	s->is_there = before->page != NULL;
	s->was_page = s->is_there;
}

/* Reads a range, and adds its records to the strip.  Can be an attempt. */
static void
read_range(void *arg)
{
	StripScan  *s = arg;
	WalredoStrip *strip = s->strip;
	WalredoPageScan *scan;
	bool		in_range = false;

	if (s->from_page)
	{
		WalredoBases *bases = walredo_bases_open();

		s->scan = walredo_page_scan_back(s->filter, s->directory, bases,
										 InvalidXLogRecPtr,
										 Min(s->start_lsn, s->end_lsn),
										 s->end_lsn);
		walredo_rebuild_set_backup(s->rebuild, bases->backup, bases->lsn);
	}
	else
		s->scan = walredo_page_scan_begin(s->filter, s->directory,
										  s->start_lsn, s->end_lsn);
	scan = s->scan;
	while (walredo_page_scan_next(scan))
	{
		CHECK_FOR_INTERRUPTS();
		forget_before_gap(s);
		if (walredo_reader_start_lsn(scan->reader) < s->start_lsn)
		{
			collect_record(s);
			continue;
		}
		if (!in_range && s->from_page && s->start_lsn != WALREDO_START_OF_WAL)
			take_page_before(s);
		in_range = true;
		if (is_beginning(s))
			begin_file(s);
		else
			put_record(s);
	}
	forget_before_gap(s);
	if (strip->npictures > 0 &&
		!strip->pictures[strip->npictures - 1].is_taken)
		take_page(s, &strip->pictures[strip->npictures - 1]);
	else if (!in_range && s->from_page &&
			 s->start_lsn != WALREDO_START_OF_WAL)
		take_page_before(s);
	if (strip->wal_end == InvalidXLogRecPtr || strip->has_gap)
		strip->wal_start = walredo_reader_first_lsn(scan->reader);
	strip->wal_end = walredo_page_scan_end_lsn(scan);
	strip->of_server = walredo_reader_is_of_server(scan->reader);
	strip->timeline = walredo_reader_timeline(scan->reader);
	strip->system = walredo_reader_system(scan->reader);
	walredo_page_scan_end(scan);
	s->scan = NULL;
}

/* Begins the strip, also after what was read of it does not count. */
static void
begin_strip(StripScan *s)
{
	WalredoStrip *strip = s->strip;
	bool		to_end = strip->to_end;
	XLogRecPtr	start_lsn = strip->start_lsn;

	memset(strip, 0, sizeof(WalredoStrip));
	strip->step = 1;
	strip->to_end = to_end;
	strip->start_lsn = start_lsn;
	strip->before.problem = "it is not known what the page was.";
	if (s->rebuild != NULL)
		walredo_rebuild_free(s->rebuild);

	/* Not in an attempt, which it has to outlive. */
	s->rebuild = walredo_rebuild_create();
	s->scan = NULL;
	s->waiting = 0;
	s->is_there = false;
	s->was_page = false;
	s->failure = NULL;
}

/* An attempt: reads a range, only to see if that is possible. */
static void
try_range(void *arg)
{
	StripScan  *s = arg;

	s->scan = NULL;
	s->scan = walredo_page_scan_begin(s->filter, s->directory, s->start_lsn,
									  s->end_lsn);
	while (walredo_page_scan_next(s->scan))
		CHECK_FOR_INTERRUPTS();
}

/*
 * How far an attempt has come that has failed: where the record begins that it
 * could not read.
 */
static XLogRecPtr
lsn_of_failure(const StripScan *s)
{
	return s->scan == NULL ? s->start_lsn :
		Max(s->start_lsn, walredo_page_scan_end_lsn(s->scan));
}

/*
 * Reads what can be read of a range that has failed with an error.  First it is
 * found out how far WAL can be read, and then only that is read, so that
 * nothing has to be undone.  After a break it is not known what the page is.
 */
static void
read_pieces(StripScan *s, ErrorData *error)
{
	WalredoStrip *strip = s->strip;
	WalredoBreaks *breaks = &strip->breaks;
	XLogRecPtr	end_lsn = s->end_lsn;
	XLogRecPtr	next;
	ErrorData  *first_error = error;
	bool		was_read = false;

	walredo_expect_wal_error(error);
	begin_strip(s);
	s->from_page = (strip->start_lsn != WALREDO_START_OF_WAL);
	next = walredo_start_of_rest(s->directory, strip->start_lsn);
	if (next > strip->start_lsn)
		s->from_page = false;
	while (next != InvalidXLogRecPtr && next <= end_lsn)
	{
		s->start_lsn = next;
		s->end_lsn = end_lsn;
		error = walredo_attempt(try_range, s);
		next = InvalidXLogRecPtr;
		if (error != NULL)
		{
			s->end_lsn = lsn_of_failure(s);
			next = walredo_break_at(breaks, s->start_lsn, s->end_lsn, end_lsn,
									error, s->directory);
		}
		if (s->end_lsn > s->start_lsn)
		{
			error = s->from_page ? walredo_attempt(read_range, s) : NULL;
			if (error != NULL)
			{
				/* So WAL before the range cannot be read. */
				WalredoBreaks save_breaks = *breaks;

				walredo_expect_wal_error(error);
				begin_strip(s);
				*breaks = save_breaks;
				strip->before.problem =
					psprintf("WAL from which it could be made cannot be read. %s",
							 walredo_words_of_error(error));
			}
			if (error != NULL || !s->from_page)
			{
				s->from_page = false;
				read_range(s);
			}
			was_read = true;
		}

		/* What comes before a break says nothing of what comes after it. */
		s->from_page = false;
		if (s->end_lsn == end_lsn)
			continue;
		breaks->list[breaks->num - 1].after_record = strip->nrecords;
		walredo_rebuild_reset(s->rebuild);
		s->waiting = 0;
		s->is_there = false;
		s->was_page = true;
		s->failure = NULL;
	}
	if (!was_read)
		ReThrowError(first_error);
}

bool
walredo_strip_reaches_end(const WalredoStrip *strip)
{
	const WalredoBreaks *breaks = &strip->breaks;
	const WalredoBreak *last;

	if (!strip->to_end || breaks->num == 0)
		return strip->to_end;
	last = &breaks->list[breaks->num - 1];
	return last->to != InvalidXLogRecPtr &&
		strip->nrecords > last->after_record;
}

WalredoStrip *
walredo_strip_read(const WalredoTag *tag, XLogRecPtr start_lsn,
				   XLogRecPtr end_lsn, const char *directory)
{
	WalredoStrip *strip = palloc0(sizeof(WalredoStrip));
	StripScan	s = {.strip = strip,.directory = directory};
	WalredoPageFilter *filter = walredo_filter_page(tag);
	const WalredoPicture *newest;
	ErrorData  *error;

	strip->start_lsn = start_lsn;
	strip->to_end = (end_lsn == WALREDO_END_OF_WAL);
	s.filter = filter;
	s.start_lsn = start_lsn;
	s.end_lsn = end_lsn;
	s.from_page = true;
	begin_strip(&s);
	error = walredo_attempt(where_to_begin, &s);
	if (error == NULL)
		error = walredo_attempt(read_range, &s);
	if (error != NULL)
		read_pieces(&s, error);
	newest = strip->npictures > 0 ?
		&strip->pictures[strip->npictures - 1] : &strip->before;
	if (walredo_strip_reaches_end(strip) && newest->page != NULL)
		strip->rebuild = s.rebuild;
	else
		walredo_rebuild_free(s.rebuild);
	walredo_filter_free(filter);
	return strip;
}

/* ----------------------------------------
 * Ends of transactions
 * ----------------------------------------
 */

/* A picture, by its transaction. */
typedef struct WantedXid
{
	TransactionId xid;
	WalredoPicture *picture;
} WantedXid;

typedef struct WantedXids
{
	WantedXid	xids[WALREDO_MAX_PICTURES];
	int			nxids;
	int			nmissing;
} WantedXids;

/* qsort() comparator: by transaction, and then by LSN. */
static int
compare_wanted(const void *a, const void *b)
{
	const WantedXid *x = a;
	const WantedXid *y = b;

	if (x->xid != y->xid)
		return x->xid < y->xid ? -1 : 1;
	return x->picture->lsn < y->picture->lsn ? -1 :
		x->picture->lsn > y->picture->lsn;
}

/* Takes what a record says, if it is the end of transactions. */
static void
note_ends(WantedXids *wanted, WalredoReader *reader)
{
	const XLogRecord *record = walredo_reader_record(reader);
	XLogRecPtr	lsn = walredo_reader_end_lsn(reader);
	XactEnd		end;

	if (record->xl_rmid != RM_XACT_ID ||
		!walredo_record_xact_end(record, lsn, &end))
		return;
	for (int i = 0; i <= end.nsubxacts; i++)
	{
		TransactionId xid = walredo_xact_end_xid(&end, record, i);
		int			low = 0;
		int			high = wanted->nxids;

		/* The first one that is not less. */
		while (low < high)
		{
			int			middle = (low + high) / 2;

			if (wanted->xids[middle].xid < xid)
				low = middle + 1;
			else
				high = middle;
		}
		for (; low < wanted->nxids && wanted->xids[low].xid == xid; low++)
		{
			WalredoPicture *picture = wanted->xids[low].picture;

			if (picture->has_end || lsn < picture->lsn)
				continue;
			picture->has_end = true;
			picture->is_commit = end.is_commit;
			picture->time = end.xact_time;
			picture->end_of_xact = lsn;
			wanted->nmissing--;
		}
	}
}

/*
 * Looks for the ends of transactions of one page of pg_xact: the records that
 * change this page, which an index of WAL knows.
 */
static void
find_on_clog_page(WantedXids *wanted, uint32 page, const WalredoStrip *strip,
				  const char *directory)
{
	XLogRecPtr	start_lsn = strip->pictures[0].start_lsn;
	WalredoTag	tag = {0};
	WalredoPageFilter *filter;
	WalredoPageScan *scan;

	tag.kind = WALREDO_TAG_CLOG;
	tag.number = page;
	filter = walredo_filter_page(&tag);

	/* Such a scan ends where WAL cannot be read, so go on after that. */
	for (int i = -1; i < strip->breaks.num; i++)
	{
		if (i >= 0)
			start_lsn = strip->breaks.list[i].to;
		if (start_lsn < strip->pictures[0].start_lsn)
			continue;
		scan = walredo_page_scan_seek(filter, directory, start_lsn);
		while (wanted->nmissing > 0 && walredo_page_scan_next(scan))
		{
			CHECK_FOR_INTERRUPTS();
			note_ends(wanted, scan->reader);
		}
		walredo_page_scan_end(scan);
	}
	walredo_filter_free(filter);
}

/* Looks for the ends of transactions shortly after the records. */
static void
find_near_records(WantedXids *wanted, WalredoStrip *strip,
				  const char *directory)
{
	XLogRecPtr	read_to = InvalidXLogRecPtr;
	WalredoReader *reader;

	reader = walredo_reader_begin_search(directory,
										 strip->pictures[0].start_lsn);
	strip->near_only = true;
	for (int i = 0; i < strip->npictures && wanted->nmissing > 0; i++)
	{
		WalredoPicture *picture = &strip->pictures[i];

		if (!TransactionIdIsValid(picture->xid) || picture->has_end)
			continue;
		if (read_to < picture->lsn)
			walredo_reader_begin_again(reader, picture->lsn);
		while (!picture->has_end && walredo_reader_next(reader))
		{
			CHECK_FOR_INTERRUPTS();
			note_ends(wanted, reader);
			read_to = walredo_reader_end_lsn(reader);
			if (read_to > picture->lsn + NEAR_BYTES)
				break;
		}
	}
	walredo_reader_end(reader);
}

void
walredo_strip_find_ends(WalredoStrip *strip, const char *directory)
{
	WantedXids	wanted = {.nxids = 0};
	int			npages = 0;
	uint32		page = 0;

	for (int i = 0; i < strip->npictures; i++)
	{
		if (!TransactionIdIsNormal(strip->pictures[i].xid))
			continue;
		wanted.xids[wanted.nxids].xid = strip->pictures[i].xid;
		wanted.xids[wanted.nxids++].picture = &strip->pictures[i];
	}
	wanted.nmissing = wanted.nxids;
	if (wanted.nxids == 0)
		return;
	qsort(wanted.xids, wanted.nxids, sizeof(WantedXid), compare_wanted);
	for (int i = 0; i < wanted.nxids; i++)
	{
		uint32		next = wanted.xids[i].xid / WALREDO_CLOG_XACTS_PER_PAGE;

		if (npages == 0 || next != page)
			npages++;
		page = next;
	}
	if (npages > MAX_CLOG_PAGES)
	{
		find_near_records(&wanted, strip, directory);
		return;
	}
	for (int i = 0; i < wanted.nxids; i++)
	{
		uint32		next = wanted.xids[i].xid / WALREDO_CLOG_XACTS_PER_PAGE;

		if (i == 0 || next != page)
			find_on_clog_page(&wanted, next, strip, directory);
		page = next;
	}
}
