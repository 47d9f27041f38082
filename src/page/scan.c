/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Scanning WAL for the records that change certain pages.
 *
 * A scan reads one record after the other, and calls walredo_changes_of() to
 * find out what it does to the pages of the filter.  Nothing here depends on
 * the contents of a record.
 *
 * For one page, WAL is not read from its beginning.  walredo_page_scan_back()
 * goes back from the LSN that is asked for, a segment at a time, to the newest
 * record that makes older ones useless.  Records of a segment that may concern
 * the page are found in its index, or by reading the segment, and then only
 * they are read once more, in the order of WAL.
 *
 * An index decides only which records are looked at.  Each of them is read, and
 * walredo_changes_of() says what it does.  The indexes of segments that follow
 * each other must agree on the records at their boundary, and a segment whose
 * index is wrong is read.  Where there is no index, the server's summaries of
 * WAL may tell that no record of a segment concerns the page.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/scan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/summaries.h"
#include "miscadmin.h"
#include "page/scan.h"

/*
 * The number of records that one call of walredo_page_scan_add_some() reads.
 * It is large enough that what callers do between two calls, such as to show
 * their progress, takes no noticeable time.
 */
#define RECORDS_AT_ONCE		1024

/*
 * How many references a scan keeps that it has found while it read backwards.
 * If there are more, those of later segments are found once more.
 */
#define MAX_KNOWN_REFS		(1024 * 1024)

/* For how many forks their ends are looked up in an index. */
#define MAX_INDEXED_FORKS	64

static WalredoPageScan *
begin_scan(const WalredoPageFilter *filter, WalredoReader *reader)
{
	WalredoPageScan *scan = palloc0(sizeof(WalredoPageScan));

	scan->filter = filter;
	scan->reader = reader;
	scan->changes = walredo_changes_create(filter);
	scan->indexer = walredo_indexer_create(reader);
	return scan;
}

WalredoPageScan *
walredo_page_scan_begin(const WalredoPageFilter *filter, const char *directory,
						XLogRecPtr start_lsn, XLogRecPtr end_lsn)
{
	WalredoReader *reader = walredo_reader_begin(directory, start_lsn,
												 end_lsn);

	walredo_reader_allow_restart(reader);
	return begin_scan(filter, reader);
}

WalredoPageScan *
walredo_page_scan_from(const WalredoPageFilter *filter,
					   const char *directory, WalredoBases *bases,
					   XLogRecPtr lsn)
{
	WalredoReader *reader = walredo_bases_begin_reader(bases, directory, lsn);

	walredo_reader_allow_restart(reader);
	return begin_scan(filter, reader);
}

WalredoPageScan *
walredo_page_scan_seek(const WalredoPageFilter *filter,
					   const char *directory, XLogRecPtr start_lsn)
{
	return begin_scan(filter,
					  walredo_reader_begin_search(directory, start_lsn));
}

/* ----------------------------------------
 * Records that may concern the page
 * ----------------------------------------
 */

/*
 * Where the segment that lsn is in begins, as far as it is in the range, and
 * where the one after it begins.
 */
static inline XLogRecPtr
segment_of(WalredoPageScan *scan, XLogRecPtr lsn)
{
	int			segsize = walredo_reader_segsize(scan->reader);

	return Max(lsn / segsize * segsize,
			   walredo_reader_first_lsn(scan->reader));
}

static inline XLogRecPtr
segment_after(WalredoPageScan *scan, XLogRecPtr lsn)
{
	int			segsize = walredo_reader_segsize(scan->reader);

	return (lsn / segsize + 1) * segsize;
}

static void
add_ref(WalredoRefs *list, XLogRecPtr lsn, bool may_stop)
{
	if (list->nrefs == list->max_refs)
	{
		list->max_refs = Max(64, list->max_refs * 2);
		list->refs = list->refs == NULL ?
			palloc(list->max_refs * sizeof(WalredoIndexRef)) :
			repalloc_huge(list->refs,
						  list->max_refs * sizeof(WalredoIndexRef));
	}
	list->refs[list->nrefs].lsn = lsn;
	list->refs[list->nrefs].may_stop = may_stop;
	list->nrefs++;
}

/* qsort() comparator: orders references by their LSNs. */
static int
compare_refs(const void *a, const void *b)
{
	const WalredoIndexRef *ra = a;
	const WalredoIndexRef *rb = b;

	if (ra->lsn != rb->lsn)
		return ra->lsn < rb->lsn ? -1 : 1;
	return 0;
}

/*
 * Gets from the index of the segment that lsn is in the records that may
 * concern the pages of the filter, in ascending order, and what the index says
 * of the segment.  Returns false if there is no index that can be used.
 */
static bool
find_in_index(WalredoPageScan *scan, XLogRecPtr lsn, WalredoRefs *list,
			  WalredoIndexInfo *info)
{
	const WalredoPageFilter *filter = scan->filter;
	WalredoSource *source = walredo_reader_source(scan->reader);
	WalredoIndexSegment *index;
	const WalredoTag *tags = filter->forks;
	int			ntags = filter->nforks;

	if (filter->kind == WALREDO_FILTER_PAGE)
	{
		tags = &filter->tag;
		ntags = 1;
	}
	else if (filter->kind != WALREDO_FILTER_FILES ||
			 ntags > MAX_INDEXED_FORKS)
		return false;
	if (!walredo_index_find(source, lsn, info, &index))
		return false;

	list->nrefs = 0;
	for (int i = 0; i < ntags; i++)
	{
		WalredoIndexRef *refs;
		int			nrefs = filter->kind == WALREDO_FILTER_PAGE ?
			walredo_index_lookup(index, &tags[i], &refs) :
			walredo_index_lookup_ends(index, &tags[i], &refs);

		if (nrefs < 0)
			return false;
		for (int j = 0; j < nrefs; j++)
			add_ref(list, refs[j].lsn, refs[j].may_stop);
		if (nrefs > 0)
			pfree(refs);
	}

	/* A reference can be there more than once now. */
	if (ntags > 1)
	{
		int			n = 0;

		qsort(list->refs, list->nrefs, sizeof(WalredoIndexRef), compare_refs);
		for (int i = 0; i < list->nrefs; i++)
		{
			if (n == 0 || list->refs[n - 1].lsn != list->refs[i].lsn)
				list->refs[n++] = list->refs[i];
		}
		list->nrefs = n;
	}
	return true;
}

/* Removes the index of the segment that lsn is in, which has been wrong. */
static void
distrust_index(WalredoPageScan *scan, XLogRecPtr lsn)
{
	WalredoIndexInfo info;
	WalredoIndexSegment *index;

	if (walredo_index_find(walredo_reader_source(scan->reader), lsn, &info,
						   &index))
		walredo_index_distrust(index);
}

/*
 * Is a record that begins at lsn the next one after a record that ends at
 * end_lsn?  Between them may be the header of a page.
 */
static bool
follows(WalredoPageScan *scan, XLogRecPtr end_lsn, XLogRecPtr lsn)
{
	int			segsize = walredo_reader_segsize(scan->reader);

	if (end_lsn % XLOG_BLCKSZ == 0)
		end_lsn += XLogSegmentOffset(end_lsn, segsize) == 0 ?
			SizeOfXLogLongPHD : SizeOfXLogShortPHD;
	return end_lsn == lsn;
}

/* Finds the changes that the current record makes to pages of the filter. */
static inline void
find_changes(WalredoPageScan *scan)
{
	scan->num_changes =
		walredo_changes_of(scan->changes, walredo_reader_record(scan->reader),
						   walredo_reader_end_lsn(scan->reader), &scan->list);
}

/* ----------------------------------------
 * Reading backwards
 * ----------------------------------------
 */

/* The search for where to begin to read for one page. */
typedef struct Backwards
{
	WalredoPageScan *scan;
	WalredoBases *bases;		/* or NULL */
	XLogRecPtr	floor;			/* nothing that begins before it is wanted */
	XLogRecPtr	lsn;			/* the page is wanted as of this LSN */
	bool		use_indexes;

	/* The records of the segment that is looked at, in ascending order. */
	WalredoRefs segment;
	bool		is_indexed;		/* they are from its index */
	WalredoIndexInfo info;		/* of that index */
	bool		is_ruled_out;	/* there is no index, and there are none */

	/*
	 * The first record that begins in the segment after it, as far as that is
	 * known, and where the record before that begins; else 0.
	 */
	XLogRecPtr	first_lsn;
	XLogRecPtr	first_prev;

	WalredoRefs found;			/* those of all segments, newest first */
} Backwards;

/*
 * Does the current record make what was in the page before useless, so that
 * older records need not be looked for?  An end of the page does that, too,
 * unless a backup may have the page as it was after that.
 */
static bool
is_stop(const Backwards *search)
{
	const WalredoPageScan *scan = search->scan;

	if (walredo_reader_end_lsn(scan->reader) > search->lsn)
		return false;
	for (int i = 0; i < scan->num_changes; i++)
	{
		const WalredoPageChange *change = &scan->list[i];

		if (change->what == WALREDO_CHANGE_END ||
			change->what == WALREDO_CHANGE_UNKNOWN)
		{
			if (search->bases == NULL)
				return true;
		}
		else if (change->starts_page)
			return true;
	}
	return false;
}

/*
 * Reads a segment for its records that concern the page.  Returns false if it
 * does not go on as the index of the segment after it says.  If it is removed
 * meanwhile, the reader's range begins later.
 */
static bool
read_segment(Backwards *search, XLogRecPtr segment)
{
	WalredoPageScan *scan = search->scan;
	WalredoReader *reader = scan->reader;
	XLogRecPtr	segment_end = segment_after(scan, segment);
	XLogRecPtr	first_lsn = InvalidXLogRecPtr;
	XLogRecPtr	first_prev = InvalidXLogRecPtr;

	search->segment.nrefs = 0;
	walredo_reader_begin_again(reader, segment);
	walredo_reader_allow_restart(reader);
	while (walredo_reader_next(reader))
	{
		XLogRecPtr	lsn = walredo_reader_start_lsn(reader);

		if (walredo_reader_first_lsn(reader) > segment)
			return true;
		walredo_indexer_add(scan->indexer, lsn);
		if (lsn >= segment_end)
		{
			if (search->first_lsn != InvalidXLogRecPtr &&
				search->first_lsn != lsn)
				return false;
			break;
		}
		if (first_lsn == InvalidXLogRecPtr)
		{
			first_lsn = lsn;
			first_prev = walredo_reader_record(reader)->xl_prev;
		}
		find_changes(scan);
		if (scan->num_changes > 0)
			add_ref(&search->segment, lsn, is_stop(search));
	}

	/* Perhaps none begins in it, as a long record goes through it. */
	if (first_lsn != InvalidXLogRecPtr)
	{
		search->first_lsn = first_lsn;
		search->first_prev = first_prev;
	}
	return true;
}

/*
 * Looks for the index of a segment, and gets the records from it.  If there is
 * none, the server's summaries may tell that there are no records.
 */
static void
look_into_index(Backwards *search, XLogRecPtr segment)
{
	WalredoPageScan *scan = search->scan;

	if (!search->use_indexes)
		return;
	search->is_indexed = find_in_index(scan, segment, &search->segment,
									   &search->info);
	search->is_ruled_out = !search->is_indexed &&
		walredo_summaries_rule_out(walredo_reader_source(scan->reader),
								   segment, &scan->filter->tag);
}

/*
 * Moves to the segment before the one that was looked at, if it is there.  That
 * it has an index shows that it is.
 */
static bool
go_back(Backwards *search)
{
	WalredoReader *reader = search->scan->reader;
	XLogRecPtr	segment = walredo_reader_back_lsn(reader);

	if (segment == InvalidXLogRecPtr)
		return false;
	look_into_index(search, segment);
	return walredo_reader_go_back(reader, search->is_indexed);
}

/*
 * Finds the records of a segment that may concern the page, unless they are
 * from its index, or there are none.  Returns false if its index, or that of
 * the segment after it, is wrong.
 */
static bool
look_at_segment(Backwards *search, XLogRecPtr segment)
{
	if (search->is_ruled_out)
	{
		search->segment.nrefs = 0;
		search->first_lsn = InvalidXLogRecPtr;
		search->first_prev = InvalidXLogRecPtr;
		return true;
	}
	if (!search->is_indexed)
		return read_segment(search, segment);

	if (search->first_lsn != InvalidXLogRecPtr &&
		(search->first_prev != search->info.last_lsn ||
		 !follows(search->scan, search->info.end_lsn, search->first_lsn)))
		return false;
	search->first_lsn = search->info.first_lsn;
	search->first_prev = search->info.first_prev;
	return true;
}

/*
 * Adds the records of the segment that was looked at, from its end back to the
 * first that makes older ones useless, or to the floor.  *stopped is set if
 * there is such a record.  Returns false if an index is wrong.
 */
static bool
add_segment(Backwards *search, bool *stopped)
{
	WalredoPageScan *scan = search->scan;

	*stopped = false;
	for (int i = search->segment.nrefs - 1; i >= 0 && !*stopped; i--)
	{
		const WalredoIndexRef *ref = &search->segment.refs[i];

		if (ref->lsn < search->floor)
			break;
		if (ref->lsn >= walredo_reader_last_lsn(scan->reader))
			continue;
		add_ref(&search->found, ref->lsn, ref->may_stop);
		if (!search->is_indexed)
			*stopped = ref->may_stop;
		else if (ref->may_stop && ref->lsn < search->lsn)
		{
			if (walredo_reader_read_at(scan->reader, ref->lsn))
			{
				find_changes(scan);
				*stopped = is_stop(search);
			}
			else if (!walredo_reader_is_at_end(scan->reader))
				return false;
		}
	}
	return true;
}

/*
 * Goes back from segment to segment.  Returns false if an index is wrong.
 */
static bool
search_backwards(Backwards *search)
{
	WalredoPageScan *scan = search->scan;
	WalredoReader *reader = scan->reader;
	XLogRecPtr	base_floor = search->floor;
	XLogRecPtr	segment;
	bool		stopped = false;
	bool		is_last = true;

	/* The open end of WAL is found by reading up to it. */
	search->is_indexed = false;
	search->is_ruled_out = false;
	if (!walredo_reader_is_to_end(reader))
		look_into_index(search, walredo_reader_first_lsn(reader));

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		segment = walredo_reader_first_lsn(reader);
		if (!look_at_segment(search, segment))
			return false;

		/* WAL that was removed meanwhile is not there any more. */
		if (walredo_reader_first_lsn(reader) > segment)
			break;
		if (is_last)
		{
			scan->read_to = search->is_indexed || search->is_ruled_out ?
				walredo_reader_last_lsn(reader) :
				walredo_reader_end_lsn(reader);
			if (search->is_indexed)
			{
				scan->last_lsn = search->info.last_lsn;
				scan->last_end_lsn = search->info.end_lsn;
			}
		}
		is_last = false;

		if (search->bases != NULL)
			search->floor = Max(base_floor,
								walredo_bases_reached(search->bases, reader,
													  scan->read_to,
													  segment));
		if (!add_segment(search, &stopped))
			return false;
		if (stopped || search->floor >= segment)
			break;

		/* Find those of later segments once more, if there are too many. */
		if (search->found.nrefs > MAX_KNOWN_REFS)
		{
			search->found.nrefs = 0;
			scan->refs_to_end = false;
			scan->resume_lsn = segment;
			scan->last_lsn = InvalidXLogRecPtr;
		}
		if (!go_back(search))
			break;
	}
	if (search->bases != NULL)
	{
		walredo_bases_settle(search->bases, reader, scan->read_to,
							 search->lsn, stopped);
		if (search->bases->backup != NULL)
			search->floor = Max(base_floor,
								search->bases->backup->start_lsn);
	}
	return true;
}

/*
 * Makes what the search has found, which is in descending order, what the scan
 * returns first.
 */
static void
keep_found(WalredoPageScan *scan, WalredoRefs *found, XLogRecPtr from)
{
	scan->refs.nrefs = 0;
	for (int i = found->nrefs - 1; i >= 0; i--)
	{
		if (found->refs[i].lsn >= from)
			add_ref(&scan->refs, found->refs[i].lsn, false);
	}
	scan->in_refs = true;
	scan->next_ref = 0;
}

WalredoPageScan *
walredo_page_scan_back(const WalredoPageFilter *filter, const char *directory,
					   WalredoBases *bases, XLogRecPtr floor, XLogRecPtr lsn,
					   XLogRecPtr end_lsn)
{
	Backwards	search = {.use_indexes = true};
	WalredoPageScan *scan;

	Assert(filter->kind == WALREDO_FILTER_PAGE && lsn <= end_lsn);

	/* There is nothing to go back to. */
	if (lsn == InvalidXLogRecPtr)
		return walredo_page_scan_begin(filter, directory,
									   WALREDO_START_OF_WAL, end_lsn);

	if (bases != NULL && walredo_bases_rank(bases, &filter->tag, lsn))
		search.bases = bases;
	for (;;)
	{
		WalredoReader *reader = walredo_reader_begin_last(directory, lsn,
														  end_lsn);

		scan = begin_scan(filter, reader);
		search.scan = scan;
		search.floor = floor;
		search.lsn = lsn;
		search.first_lsn = InvalidXLogRecPtr;
		search.found.nrefs = 0;
		scan->read_to = Min(lsn, walredo_reader_last_lsn(reader));
		scan->refs_to_end = (lsn == end_lsn);
		scan->resume_lsn =
			segment_after(scan, walredo_reader_first_lsn(reader));
		if (search_backwards(&search))
			break;

		/*
		 * Indexes contradict each other, or WAL.  What WAL says counts.
		 */
		ereport(DEBUG1,
				(errmsg_internal("indexes contradict each other, or WAL, and are not used")));
		walredo_page_scan_end(scan);
		search.use_indexes = false;
	}
	keep_found(scan, &search.found,
			   Max(search.floor, walredo_reader_first_lsn(scan->reader)));
	if (search.found.refs != NULL)
		pfree(search.found.refs);
	if (search.segment.refs != NULL)
		pfree(search.segment.refs);
	return scan;
}

/* ----------------------------------------
 * Reading forwards
 * ----------------------------------------
 */

/*
 * Goes on by reading all records from the one at lsn on, or the first after it,
 * except those that begin at or before after_lsn.  Indexes are used again in
 * segments that begin at or after segment_end.
 */
static void
read_all_from(WalredoPageScan *scan, XLogRecPtr lsn, XLogRecPtr after_lsn,
			  XLogRecPtr segment_end)
{
	WalredoReader *reader = scan->reader;

	scan->in_refs = false;
	scan->after_lsn = after_lsn;
	scan->segment_end = segment_end;
	walredo_reader_begin_again(reader, lsn);
	walredo_reader_allow_restart(reader);
	if (walredo_reader_first_lsn(reader) > lsn)
		scan->has_restarted = true;
}

/*
 * Makes the index of a segment, from which scan->refs are, what the scan goes
 * on by.  The index has all records that begin in the segment, so nothing is
 * left after it if the range ends there.
 */
static void
go_on_by_index(WalredoPageScan *scan, const WalredoIndexInfo *info)
{
	scan->in_refs = true;
	scan->next_ref = 0;
	scan->resume_lsn = scan->last_lsn = info->last_lsn;
	scan->read_to = scan->last_end_lsn = info->end_lsn;
	scan->refs_to_end = walredo_reader_last_lsn(scan->reader) <=
		segment_after(scan, info->last_lsn);
}

/*
 * Goes on by the index of the segment in which the current record begins, if
 * there is one, and if it fits to the record.
 */
static bool
enter_indexed_segment(WalredoPageScan *scan)
{
	WalredoReader *reader = scan->reader;
	XLogRecPtr	lsn = walredo_reader_start_lsn(reader);
	XLogRecPtr	prev = walredo_reader_record(reader)->xl_prev;
	bool		is_first;
	WalredoIndexInfo info;

	scan->segment_end = segment_after(scan, lsn);
	if (walredo_reader_is_to_end(reader) ||
		!find_in_index(scan, lsn, &scan->refs, &info))
		return false;

	/* The first record in a segment is the one after one that is not in it. */
	is_first = prev < scan->segment_end - walredo_reader_segsize(reader);
	if (lsn < info.first_lsn || lsn > info.last_lsn ||
		is_first != (lsn == info.first_lsn) ||
		(is_first && prev != info.first_prev))
	{
		distrust_index(scan, lsn);
		return false;
	}
	go_on_by_index(scan, &info);
	while (scan->next_ref < scan->refs.nrefs &&
		   scan->refs.refs[scan->next_ref].lsn < lsn)
		scan->next_ref++;
	return true;
}

/*
 * After all references of some segments, goes on with the next segment: by its
 * index if that follows the one before, else by reading.
 */
static void
leave_indexed_segment(WalredoPageScan *scan)
{
	WalredoReader *reader = scan->reader;
	XLogRecPtr	last_lsn = scan->last_lsn;
	WalredoIndexInfo info;

	/* Is that all that is known, or all that there is? */
	if (last_lsn == InvalidXLogRecPtr ||
		walredo_reader_last_lsn(reader) <= segment_after(scan, last_lsn))
	{
		read_all_from(scan, scan->resume_lsn, last_lsn, scan->resume_lsn);
		return;
	}
	if (find_in_index(scan, scan->last_end_lsn, &scan->refs, &info) &&
		info.first_prev == last_lsn &&
		follows(scan, scan->last_end_lsn, info.first_lsn))
	{
		go_on_by_index(scan, &info);
		return;
	}

	/*
	 * If there is no such record as the index has for its last one, the index
	 * is wrong, and may have led past others.
	 */
	if (walredo_reader_read_at(reader, last_lsn) &&
		walredo_reader_end_lsn(reader) == scan->last_end_lsn)
	{
		read_all_from(scan, last_lsn, last_lsn, segment_after(scan, last_lsn));
		return;
	}
	if (!walredo_reader_is_at_end(reader))
		distrust_index(scan, last_lsn);
	read_all_from(scan, segment_of(scan, last_lsn), scan->returned_lsn,
				  segment_after(scan, last_lsn));
}

/* Takes note that no record is left.  Returns false. */
static bool
finish(WalredoPageScan *scan)
{
	scan->is_finished = true;
	scan->num_changes = 0;
	return false;
}

/*
 * Moves to the next record, whether it changes a page of the filter or not.
 * Returns false at the end of the range.
 */
static bool
next_record(WalredoPageScan *scan)
{
	WalredoReader *reader = scan->reader;

	for (;;)
	{
		if (scan->is_finished)
			return finish(scan);
		if (!scan->in_refs)
		{
			bool		found = walredo_reader_next(reader);
			XLogRecPtr	lsn;

			if (walredo_reader_has_restarted(reader))
				scan->has_restarted = true;
			if (!found)
				return finish(scan);
			lsn = walredo_reader_start_lsn(reader);
			walredo_indexer_add(scan->indexer, lsn);
			if (lsn <= scan->after_lsn)
				continue;
			if (lsn >= scan->segment_end &&
				enter_indexed_segment(scan))
				continue;
			find_changes(scan);
			return true;
		}

		CHECK_FOR_INTERRUPTS();
		if (scan->next_ref < scan->refs.nrefs)
		{
			XLogRecPtr	lsn = scan->refs.refs[scan->next_ref++].lsn;

			if (lsn >= walredo_reader_last_lsn(reader))
				return finish(scan);
			if (walredo_reader_read_at(reader, lsn))
			{
				scan->returned_lsn = lsn;
				find_changes(scan);
				return true;
			}

			/*
			 * The record goes on after the end of the range, or the index is
			 * wrong, or WAL was removed or is damaged.  To read the segment
			 * is right in all of these cases.
			 */
			if (!walredo_reader_is_at_end(reader))
				distrust_index(scan, lsn);
			read_all_from(scan, segment_of(scan, lsn), scan->returned_lsn,
						  segment_after(scan, lsn));
		}
		else if (scan->refs_to_end)
			return finish(scan);
		else
			leave_indexed_segment(scan);
	}
}

XLogRecPtr
walredo_page_scan_end_lsn(WalredoPageScan *scan)
{
	if (scan->is_finished && scan->in_refs)
		return Min(scan->read_to, walredo_reader_last_lsn(scan->reader));
	return walredo_reader_end_lsn(scan->reader);
}

bool
walredo_page_scan_next(WalredoPageScan *scan)
{
	while (next_record(scan))
	{
		if (scan->num_changes > 0)
			return true;
	}
	return false;
}

void
walredo_page_scan_add(WalredoPageScan *scan, WalredoRebuild *rebuild)
{
	const XLogRecord *record = walredo_reader_record(scan->reader);
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(scan->reader);

	for (int i = 0; i < scan->num_changes; i++)
		walredo_rebuild_add(rebuild, &scan->list[i], record, end_lsn);
}

bool
walredo_page_scan_add_some(WalredoPageScan *scan, WalredoRebuild *rebuild)
{
	for (int i = 0; i < RECORDS_AT_ONCE; i++)
	{
		bool		found = next_record(scan);

		if (scan->has_restarted)
			walredo_rebuild_reset(rebuild);
		scan->has_restarted = false;
		if (!found)
			return false;
		walredo_page_scan_add(scan, rebuild);
	}
	walredo_rebuild_advance(rebuild, walredo_reader_end_lsn(scan->reader));
	return true;
}

void
walredo_page_scan_end(WalredoPageScan *scan)
{
	walredo_indexer_free(scan->indexer);
	walredo_changes_free(scan->changes);
	walredo_reader_end(scan->reader);
	if (scan->refs.refs != NULL)
		pfree(scan->refs.refs);
	pfree(scan);
}

bool
walredo_find_created_file(const WalredoTag *tags, int ntags,
						  const char *directory, XLogRecPtr start_lsn,
						  WalredoTag *found, XLogRecPtr *created_lsn)
{
	WalredoPageFilter *filter = walredo_filter_forks(tags, ntags, true);
	WalredoPageScan *scan;
	bool		is_found = false;

	scan = walredo_page_scan_begin(filter, directory, start_lsn,
								   WALREDO_END_OF_WAL);
	while (walredo_page_scan_next(scan))
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < scan->num_changes; i++)
		{
			const WalredoPageChange *change = &scan->list[i];

			/*
			 * Other forks than the main fork are created for a relation that
			 * already has a file.  They say nothing about that file.
			 */
			if (change->of_fork_only ||
				(change->end != WALREDO_FILE_CREATED &&
				 change->end != WALREDO_FILE_COPIED))
				continue;
			*found = change->tag;
			*created_lsn = walredo_reader_end_lsn(scan->reader);
			is_found = true;
		}
	}
	walredo_page_scan_end(scan);
	walredo_filter_free(filter);
	return is_found;
}
