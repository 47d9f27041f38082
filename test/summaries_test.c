/*-------------------------------------------------------------------------
 *
 * summaries_test.c
 *	  A function for tests of what WAL summaries say of pages.
 *
 *	summaries_check(every int) RETURNS text
 *		Reads all of the server's WAL.  For each segment, and each page, or one
 *		page in so many, that WAL changes or that is in a file that WAL ends,
 *		asks whether summaries rule out that the segment changes or ends the
 *		page.  ERROR if they do, and it does.  Returns how many segments and
 *		pages there are, and of all pairs of them, how many are ruled out, and
 *		how many could be and are not; and in how many the page is changed, and
 *		ended.
 *
 * The module has copies of the sources that it tests, because a server hides
 * the symbols of one module from others.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * test/summaries_test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "index/summaries.h"
#include "miscadmin.h"
#include "record/tag.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "wal/changes.h"
#include "wal/reader.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(summaries_check);

/* A list of tags. */
typedef struct TagList
{
	WalredoTag *tags;
	Size		n;
	Size		max;
} TagList;

/* What the records that begin in a segment do. */
typedef struct TestSegment
{
	XLogRecPtr	start;
	TagList		changed;
	XLogRecord *ending[4096];	/* records that end files */
	int			num_ending;
} TestSegment;

static int
compare_tags(const void *a, const void *b)
{
	return walredo_tag_compare(a, b);
}

static void
add_tag(TagList *list, const WalredoTag *tag)
{
	if (list->n == list->max)
	{
		list->max = Max(1024, 2 * list->max);
		list->tags = list->tags == NULL ?
			palloc(list->max * sizeof(WalredoTag)) :
			repalloc_huge(list->tags, list->max * sizeof(WalredoTag));
	}
	list->tags[list->n++] = *tag;
}

static void
sort_tags(TagList *list)
{
	Size		n = 0;

	if (list->n > 0)
		qsort(list->tags, list->n, sizeof(WalredoTag), compare_tags);
	for (Size i = 0; i < list->n; i++)
	{
		if (n == 0 ||
			walredo_tag_compare(&list->tags[n - 1], &list->tags[i]) != 0)
			list->tags[n++] = list->tags[i];
	}
	list->n = n;
}

static bool
has_tag(const TagList *list, const WalredoTag *tag)
{
	return list->n > 0 &&
		bsearch(tag, list->tags, list->n, sizeof(WalredoTag),
				compare_tags) != NULL;
}

/* Does a record of the segment end the page? */
static bool
ends_page(TestSegment *segment, WalredoChanges *changes)
{
	WalredoPageChange *list;

	for (int i = 0; i < segment->num_ending; i++)
	{
		if (walredo_changes_of(changes, segment->ending[i], segment->start,
							   &list) > 0)
			return true;
	}
	return false;
}

Datum
summaries_check(PG_FUNCTION_ARGS)
{
	int			every = PG_GETARG_INT32(0);
	WalredoReader *reader = walredo_reader_begin(NULL, WALREDO_START_OF_WAL,
												 WALREDO_END_OF_WAL);
	WalredoSource *source = walredo_reader_source(reader);
	WalredoChanges *all = walredo_changes_create(walredo_filter_all());
	WalredoChanges *index = walredo_changes_create(walredo_filter_index());
	TestSegment **segments = palloc(4096 * sizeof(TestSegment *));
	int			num_segments = 0;
	TagList		pages = {0};
	int64		num_pages = 0;
	int64		ruled_out = 0;
	int64		left = 0;
	int64		changed = 0;
	int64		ended = 0;

	/* What WAL does to pages. */
	while (walredo_reader_next(reader))
	{
		XLogRecPtr	lsn = walredo_reader_start_lsn(reader);
		XLogRecPtr	end_lsn = walredo_reader_end_lsn(reader);
		const XLogRecord *record = walredo_reader_record(reader);
		TestSegment *segment;
		WalredoPageChange *list;
		int			n;
		bool		is_end = false;

		CHECK_FOR_INTERRUPTS();
		lsn -= lsn % wal_segment_size;
		if (num_segments == 0 || segments[num_segments - 1]->start != lsn)
		{
			if (num_segments == 4096)
				elog(ERROR, "too many segments");
			segments[num_segments] = palloc0(sizeof(TestSegment));
			segments[num_segments++]->start = lsn;
		}
		segment = segments[num_segments - 1];
		n = walredo_changes_of(all, record, end_lsn, &list);
		for (int i = 0; i < n; i++)
		{
			add_tag(&segment->changed, &list[i].tag);
			add_tag(&pages, &list[i].tag);
		}
		n = walredo_changes_of(index, record, end_lsn, &list);
		for (int i = 0; i < n; i++)
		{
			if (list[i].what != WALREDO_CHANGE_END)
				continue;
			is_end = true;
			if (!list[i].ends_kind && list[i].tag.kind == WALREDO_TAG_REL)
			{
				for (list[i].tag.number = 0; list[i].tag.number < 8;
					 list[i].tag.number++)
					add_tag(&pages, &list[i].tag);
			}
		}
		if (is_end)
		{
			if (segment->num_ending == 4096)
				elog(ERROR, "too many ends");
			segment->ending[segment->num_ending] = palloc(record->xl_tot_len);
			memcpy(segment->ending[segment->num_ending++], record,
				   record->xl_tot_len);
		}
	}
	sort_tags(&pages);
	for (int i = 0; i < num_segments; i++)
		sort_tags(&segments[i]->changed);

	/* What summaries say of that. */
	for (Size i = 0; i < pages.n; i += every)
	{
		const WalredoTag *tag = &pages.tags[i];
		WalredoPageFilter *filter = walredo_filter_page(tag);
		WalredoChanges *changes = walredo_changes_create(filter);

		CHECK_FOR_INTERRUPTS();
		num_pages++;
		for (int j = 0; j < num_segments; j++)
		{
			bool		is_changed = has_tag(&segments[j]->changed, tag);
			bool		is_ended = ends_page(segments[j], changes);

			changed += is_changed;
			ended += is_ended;
			if (!walredo_summaries_rule_out(source, segments[j]->start, tag))
				left += !is_changed && !is_ended;
			else if (is_changed || is_ended)
				elog(ERROR, "segment at %X/%X changes %s",
					 LSN_FORMAT_ARGS(segments[j]->start),
					 walredo_tag_to_cstring(tag));
			else
				ruled_out++;
		}
		walredo_changes_free(changes);
		walredo_filter_free(filter);
	}
	walredo_reader_end(reader);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("segments %d pages " INT64_FORMAT
											  " ruled_out " INT64_FORMAT
											  " left " INT64_FORMAT
											  " changed " INT64_FORMAT
											  " ended " INT64_FORMAT,
											  num_segments, num_pages,
											  ruled_out, left, changed,
											  ended)));
}
