/*-------------------------------------------------------------------------
 *
 * index_test.c
 *	  Functions for tests of the index of a segment.
 *
 *	index_check(wal_directory text, path text, every int) RETURNS text
 *		Makes the index of each segment, in files of which the names begin with
 *		path, and compares what it says of each page, or of one page in so many,
 *		with what the records of that segment do to that page.  Returns totals,
 *		in one line.
 *	index_damage(path text, check bool) RETURNS text
 *		Changes each byte of an index, one at a time, and cuts it, and looks
 *		pages up.  With check, each lookup must find what it found before, or
 *		that the index is damaged, and some lookup must find the latter.
 *	index_time(wal_directory text, build bool) RETURNS float8
 *		Reads WAL, makes indexes if that is wanted, and returns the seconds of
 *		processor time that this took.
 *
 * The module has copies of the sources that it tests, because a server hides
 * the symbols of one module from others.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * test/index_test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "fmgr.h"
#include "index/builder.h"
#include "index/format.h"
#include "miscadmin.h"
#include "record/tag.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "wal/changes.h"
#include "wal/reader.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(index_check);
PG_FUNCTION_INFO_V1(index_damage);
PG_FUNCTION_INFO_V1(index_time);

/* A record of a segment. */
typedef struct TestRecord
{
	const XLogRecord *record;
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
} TestRecord;

/* The records of one segment, and the pages that they are about. */
typedef struct TestSegment
{
	XLogRecPtr	start;
	int			segsize;
	TestRecord *records;
	int			num_records;
	int			max_records;
	WalredoTag *tags;
	int			num_tags;
	int			max_tags;
} TestSegment;

/* What index_check() has found in all segments. */
typedef struct TestTotals
{
	int			segments;
	int64		records;
	int64		pages;
	int64		refs;
	int64		others;
	int64		stops;
	int64		ends;
	int64		index_size;
} TestTotals;

static void
add_tag(TestSegment *segment, const WalredoTag *tag)
{
	if (segment->num_tags == segment->max_tags)
	{
		segment->max_tags = Max(1024, 2 * segment->max_tags);
		segment->tags = segment->tags ?
			repalloc_huge(segment->tags,
						  segment->max_tags * sizeof(WalredoTag)) :
			palloc(segment->max_tags * sizeof(WalredoTag));
	}
	segment->tags[segment->num_tags++] = *tag;
}

static int
compare_tags(const void *a, const void *b)
{
	return walredo_tag_compare(a, b);
}

/*
 * Lists the pages that records change, and some that they only end: one of
 * each fork of each relation of which files come or go, and one of each kind.
 */
static void
list_tags(TestSegment *segment)
{
	WalredoChanges *all = walredo_changes_create(walredo_filter_all());
	WalredoChanges *files =
		walredo_changes_create(walredo_filter_file_changes());
	WalredoTag	tag = {0};
	int			n = 0;

	for (int i = 0; i < segment->num_records; i++)
	{
		const TestRecord *r = &segment->records[i];
		WalredoPageChange *list;
		int			nchanges = walredo_changes_of(all, r->record, r->end_lsn,
												  &list);

		for (int j = 0; j < nchanges; j++)
			add_tag(segment, &list[j].tag);
		if (r->record->xl_rmid == RM_SMGR_ID ||
			r->record->xl_rmid == RM_XACT_ID)
		{
			const char *data = (const char *) r->record + SizeOfXLogRecord;
			Size		size = r->record->xl_tot_len - SizeOfXLogRecord;

			/* Whatever it has that looks like a relation. */
			for (Size at = 0; at + sizeof(RelFileLocator) <= size; at++)
			{
				RelFileLocator locator;

				memcpy(&locator, data + at, sizeof(locator));
				if (LocatorSpcOid(locator) < 1663 ||
					LocatorSpcOid(locator) > 100000 ||
					LocatorDbOid(locator) > 100000 ||
					LocatorRelNumber(locator) < 1000 ||
					LocatorRelNumber(locator) > 1000000)
					continue;
				for (int fork = 0; fork <= MAX_FORKNUM; fork++)
				{
					tag = walredo_tag_of_block(&locator, fork, 0);
					add_tag(segment, &tag);
					tag.number = 7;
					add_tag(segment, &tag);
				}
			}
			if (r->record->xl_rmid == RM_XACT_ID)
			{
				memset(&tag, 0, sizeof(tag));
				tag.kind = WALREDO_TAG_TWOPHASE;
				for (Size at = 0; at + sizeof(TransactionId) <= size; at++)
				{
					TransactionId xid;

					memcpy(&xid, data + at, sizeof(xid));
					tag.number = xid;
					if (xid > FirstNormalTransactionId && xid < 1000000)
						add_tag(segment, &tag);
				}
			}
		}
	}
	walredo_changes_free(all);
	walredo_changes_free(files);

	/* Pages that nothing may be known of. */
	memset(&tag, 0, sizeof(tag));
	for (tag.kind = WALREDO_TAG_CLOG; tag.kind <= WALREDO_TAG_COMMIT_TS;
		 tag.kind++)
	{
		for (tag.number = 0; tag.number < 80; tag.number++)
			add_tag(segment, &tag);
	}
	memset(&tag, 0, sizeof(tag));
	tag.kind = WALREDO_TAG_RELMAP;
	for (tag.spcOid = 1663; tag.spcOid <= 1664; tag.spcOid++)
	{
		for (tag.dbOid = 0; tag.dbOid < 6; tag.dbOid++)
			add_tag(segment, &tag);
	}

	qsort(segment->tags, segment->num_tags, sizeof(WalredoTag), compare_tags);
	for (int i = 0; i < segment->num_tags; i++)
	{
		if (n == 0 || walredo_tag_compare(&segment->tags[n - 1],
										  &segment->tags[i]) != 0)
			segment->tags[n++] = segment->tags[i];
	}
	segment->num_tags = n;
}

/* Does a record, as the index must see it, do nothing but to name pages? */
static bool
ends_nothing(WalredoChanges *index, const TestRecord *r)
{
	WalredoPageChange *list;
	int			n = walredo_changes_of(index, r->record, r->end_lsn, &list);

	for (int i = 0; i < n; i++)
	{
		if (list[i].what == WALREDO_CHANGE_END)
			return false;
	}
	return true;
}

/* Compares what the index says of one page with the truth. */
static void
check_page(TestSegment *segment, WalredoIndexFile *file, int fd,
		   const WalredoTag *tag, TestTotals *totals)
{
	WalredoPageFilter *filter = walredo_filter_page(tag);
	WalredoChanges *changes = walredo_changes_create(filter);
	WalredoChanges *index = walredo_changes_create(walredo_filter_index());
	WalredoIndexRef *refs;
	WalredoIndexRef *ends = NULL;
	int			n = walredo_index_file_lookup(file, fd, tag, &refs);
	int			num_ends = 0;
	int			at = 0;
	int			at_end = 0;

	if (n < 0)
		elog(ERROR, "index is damaged: %s", walredo_tag_to_cstring(tag));
	if (tag->kind == WALREDO_TAG_REL)
		num_ends = walredo_index_file_lookup_ends(file, fd, tag, &ends);
	if (num_ends < 0)
		elog(ERROR, "index is damaged: %s", walredo_tag_to_cstring(tag));
	for (int i = 1; i < n; i++)
	{
		if (refs[i].lsn <= refs[i - 1].lsn)
			elog(ERROR, "references do not ascend");
	}
	for (int i = 0; i < segment->num_records; i++)
	{
		const TestRecord *r = &segment->records[i];
		WalredoPageChange *list;
		int			nchanges = walredo_changes_of(changes, r->record,
												  r->end_lsn, &list);
		bool		found = at < n && refs[at].lsn == r->start_lsn;
		bool		is_end = at_end < num_ends &&
			ends[at_end].lsn == r->start_lsn;
		bool		stops = false;
		bool		created = false;

		for (int j = 0; j < nchanges; j++)
		{
			stops |= list[j].starts_page ||
				list[j].what == WALREDO_CHANGE_END ||
				list[j].what == WALREDO_CHANGE_UNKNOWN;
			created |= list[j].what == WALREDO_CHANGE_END &&
				list[j].end != WALREDO_UNKNOWN_CHANGE;
		}
		if (nchanges > 0 && !found)
			elog(ERROR, "record at %X/%X is missing for %s",
				 LSN_FORMAT_ARGS(r->start_lsn), walredo_tag_to_cstring(tag));
		if (stops && !refs[at].may_stop)
			elog(ERROR, "record at %X/%X may stop, but is not said to for %s",
				 LSN_FORMAT_ARGS(r->start_lsn), walredo_tag_to_cstring(tag));
		if (created && tag->kind == WALREDO_TAG_REL && !is_end)
			elog(ERROR, "end at %X/%X is missing for %s",
				 LSN_FORMAT_ARGS(r->start_lsn), walredo_tag_to_cstring(tag));
		if (found && nchanges > 0 && !stops && refs[at].may_stop &&
			ends_nothing(index, r) && tag->kind != WALREDO_TAG_COMMIT_TS)
			elog(ERROR, "record at %X/%X is said to stop %s",
				 LSN_FORMAT_ARGS(r->start_lsn), walredo_tag_to_cstring(tag));
		if (found && nchanges == 0)
		{
			/* See walredo_index_file_lookup(). */
			if (tag->kind != WALREDO_TAG_COMMIT_TS && ends_nothing(index, r))
				elog(ERROR, "record at %X/%X has nothing to do with %s",
					 LSN_FORMAT_ARGS(r->start_lsn),
					 walredo_tag_to_cstring(tag));
			totals->others++;
		}
		if (found)
		{
			totals->refs++;
			totals->stops += refs[at].may_stop;
			at++;
		}
		if (is_end)
		{
			totals->ends++;
			at_end++;
		}
	}
	if (at != n || at_end != num_ends)
		elog(ERROR, "references to records that are none: %s",
			 walredo_tag_to_cstring(tag));
	if (refs != NULL)
		pfree(refs);
	if (ends != NULL)
		pfree(ends);
	walredo_changes_free(index);
	walredo_changes_free(changes);
	walredo_filter_free(filter);
}

static void
check_segment(TestSegment *segment, WalredoIndexBuilder *builder,
			  const char *path, int every, TestTotals *totals)
{
	WalredoIndexInfo info = {0};
	WalredoIndexInfo other;
	const WalredoIndexInfo *found;
	WalredoIndexFile *file;
	WalredoSegmentId *id = &info.id;
	struct stat st;
	int			fd;

	id->system_identifier = 42;
	id->tli = 3;
	id->segno = segment->start / segment->segsize;
	id->segsize = segment->segsize;
	strlcpy(id->directory, "/somewhere", MAXPGPATH);
	strlcpy(id->name, "a folder/a name", MAXPGPATH);
	id->size = id->segsize;
	id->mtime = INT64CONST(1700000000123456789);
	id->inode = 4711;
	id->valid_end = PG_UINT64_MAX;

	fd = open(psprintf("%s%d", path, totals->segments),
			  O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		elog(ERROR, "could not create file: %m");
	walredo_index_builder_begin(builder, segment->start, segment->segsize);
	for (int i = 0; i < segment->num_records; i++)
		walredo_index_builder_add(builder, segment->records[i].record,
								  segment->records[i].start_lsn,
								  segment->records[i].end_lsn);
	if (!walredo_index_builder_finish(builder, &info, fd))
		elog(ERROR, "could not make an index: %m");

	/* It is used for this segment file, and for no other. */
	file = walredo_index_file_open(fd, id);
	if (file == NULL)
		elog(ERROR, "could not open the index");
	found = walredo_index_file_info(file);
	if (memcmp(found, &info, sizeof(info)) != 0 ||
		info.first_lsn != segment->records[0].start_lsn ||
		info.first_prev != segment->records[0].record->xl_prev ||
		info.last_lsn != segment->records[segment->num_records - 1].start_lsn ||
		info.end_lsn != segment->records[segment->num_records - 1].end_lsn)
		elog(ERROR, "wrong header");
#define CHECK_OTHER(change) \
	do { \
		other = info; \
		change; \
		if (walredo_index_file_open(fd, &other.id) != NULL) \
			elog(ERROR, "index of another file: %s", #change); \
	} while (0)
	CHECK_OTHER(other.id.system_identifier++);
	CHECK_OTHER(other.id.tli++);
	CHECK_OTHER(other.id.segno++);
	CHECK_OTHER(other.id.segsize *= 2);
	CHECK_OTHER(other.id.size--);
	CHECK_OTHER(other.id.mtime++);
	CHECK_OTHER(other.id.inode++);
	CHECK_OTHER(other.id.valid_end--);
	CHECK_OTHER(other.id.directory[1] = 'S');
	CHECK_OTHER(other.id.name[3] = 'O');

	list_tags(segment);
	for (int i = totals->segments % every; i < segment->num_tags; i += every)
	{
		CHECK_FOR_INTERRUPTS();
		check_page(segment, file, fd, &segment->tags[i], totals);
		totals->pages++;
	}
	walredo_index_file_free(file);
	if (fstat(fd, &st) != 0)
		elog(ERROR, "could not stat file: %m");
	close(fd);
	totals->segments++;
	totals->records += segment->num_records;
	totals->index_size += st.st_size;
}

Datum
index_check(PG_FUNCTION_ARGS)
{
	char	   *directory = PG_ARGISNULL(0) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	WalredoReader *reader = walredo_reader_begin(directory,
												 WALREDO_START_OF_WAL,
												 WALREDO_END_OF_WAL);
	WalredoIndexBuilder *builder = walredo_index_builder_create();
	MemoryContext old_context = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old_context, "index test",
												  ALLOCSET_DEFAULT_SIZES);
	TestSegment segment = {0};
	TestTotals	totals = {0};
	bool		found;

	do
	{
		XLogRecPtr	start;
		TestRecord *r;
		uint32		length;

		found = walredo_reader_next(reader);
		start = walredo_reader_start_lsn(reader);
		start -= start % wal_segment_size;
		if (segment.num_records > 0 && (!found || start != segment.start))
		{
			MemoryContextSwitchTo(context);
			check_segment(&segment, builder, path, PG_GETARG_INT32(2), &totals);
			MemoryContextSwitchTo(old_context);
			MemoryContextReset(context);
			memset(&segment, 0, sizeof(segment));
		}
		if (!found)
			break;
		segment.start = start;
		segment.segsize = wal_segment_size;
		MemoryContextSwitchTo(context);
		if (segment.num_records == segment.max_records)
		{
			segment.max_records = Max(1024, 2 * segment.max_records);
			segment.records = segment.records ?
				repalloc_huge(segment.records,
							  segment.max_records * sizeof(TestRecord)) :
				palloc(segment.max_records * sizeof(TestRecord));
		}
		r = &segment.records[segment.num_records++];
		r->start_lsn = walredo_reader_start_lsn(reader);
		r->end_lsn = walredo_reader_end_lsn(reader);
		length = walredo_reader_record(reader)->xl_tot_len;
		r->record = MemoryContextAllocHuge(context, length);
		memcpy((void *) r->record, walredo_reader_record(reader), length);
		MemoryContextSwitchTo(old_context);
	} while (found);

	PG_RETURN_TEXT_P(cstring_to_text(psprintf("segments %d records " INT64_FORMAT
											  " pages " INT64_FORMAT
											  " refs " INT64_FORMAT
											  " others " INT64_FORMAT
											  " stops " INT64_FORMAT
											  " ends " INT64_FORMAT
											  " bytes " INT64_FORMAT,
											  totals.segments, totals.records,
											  totals.pages, totals.refs,
											  totals.others, totals.stops,
											  totals.ends,
											  totals.index_size)));
}

/*
 * Looks up one page in an index that may be damaged.  Returns a hash of what
 * it has found, or 0 if it is damaged.
 */
static uint32
hash_lookup(WalredoIndexFile *file, int fd, const WalredoTag *tag)
{
	WalredoIndexRef *refs;
	int			n = walredo_index_file_lookup(file, fd, tag, &refs);
	uint32		hash = 1;

	if (n < 0)
		return 0;
	for (int i = 0; i < n; i++)
		hash = (hash * 31 + (uint32) (refs[i].lsn >> 3)) * 2 +
			refs[i].may_stop + (uint32) (refs[i].lsn >> 35);
	if (refs != NULL)
		pfree(refs);
	return hash == 0 ? 1 : hash;
}

Datum
index_damage(PG_FUNCTION_ARGS)
{
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		check = PG_GETARG_BOOL(1);
	int			fd = open(path, O_RDWR);
	WalredoIndexFile *file;
	WalredoTag *tags;
	uint32	   *hashes;
	int			num_tags = 0;
	int			max_tags = 0;
	struct stat st;
	int			opened = 0;
	int			noticed = 0;

	if (fd < 0 || fstat(fd, &st) != 0)
		elog(ERROR, "could not open file: %m");
	file = walredo_index_file_open(fd, NULL);
	if (file == NULL)
		elog(ERROR, "could not open the index");

	/* Some pages that may be in it; whether they are does not matter. */
	max_tags = 40000;
	tags = MemoryContextAllocZero(CurrentMemoryContext,
								  max_tags * sizeof(WalredoTag));
	hashes = palloc(max_tags * sizeof(uint32));
	for (int i = 0; i < max_tags; i++)
	{
		WalredoTag *tag = &tags[num_tags];

		if (i < 7)
			tag->kind = i;
		else
		{
			tag->spcOid = 1663;
			tag->dbOid = i % 3 == 0 ? 5 : 16384;
			tag->relNumber = i % 3 == 0 ? 1200 + i / 3 % 2000 :
				16384 + i / 3 % 600;
			tag->number = i / 1800 % 8;
		}
		hashes[num_tags] = hash_lookup(file, fd, tag);
		if (hashes[num_tags] != 1 || i < 7 || i % 50 == 0)
			num_tags++;
		else
			memset(tag, 0, sizeof(WalredoTag));
	}
	walredo_index_file_free(file);

	for (off_t at = 0; at < 2 * st.st_size; at++)
	{
		bool		cut = at >= st.st_size;
		char		byte;
		char		changed;
		bool		is_noticed = false;

		CHECK_FOR_INTERRUPTS();
		if (cut && (at - st.st_size) % 97 != 0)
			continue;
		if (!cut)
		{
			if (pread(fd, &byte, 1, at) != 1)
				elog(ERROR, "could not read file: %m");
			changed = byte ^ (1 << (at % 8));
			if (!check)
				changed = at % 3 == 0 ? 0 : at % 3 == 1 ? 0xFF : changed;
			if (pwrite(fd, &changed, 1, at) != 1)
				elog(ERROR, "could not write file: %m");
		}
		else
		{
			char	   *copy = psprintf("%s.cut", path);
			char	   *data = palloc(st.st_size);
			int			fd2 = open(copy, O_RDWR | O_CREAT | O_TRUNC, 0600);

			if (fd2 < 0 || pread(fd, data, st.st_size, 0) != st.st_size ||
				write(fd2, data, at - st.st_size) != at - st.st_size)
				elog(ERROR, "could not write file: %m");
			if (check && walredo_index_file_open(fd2, NULL) != NULL)
				elog(ERROR, "an index of %d bytes was opened",
					 (int) (at - st.st_size));
			close(fd2);
			pfree(data);
			continue;
		}

		file = walredo_index_file_open(fd, NULL);
		if (file != NULL)
		{
			opened++;
			for (int i = 0; i < num_tags && !is_noticed; i++)
			{
				int			n = (i + at * 7) % num_tags;
				uint32		hash = hash_lookup(file, fd, &tags[n]);

				is_noticed = hash == 0;
				if (check && hash != 0 && hash != hashes[n])
					elog(ERROR, "byte %d: %s has other records", (int) at,
						 walredo_tag_to_cstring(&tags[n]));
				if (!check && i > 20)
					break;
			}
			walredo_index_file_free(file);
		}
		else
			is_noticed = true;
		noticed += is_noticed;
		if (check && !is_noticed)
			elog(ERROR, "byte %d of %d: nothing was noticed", (int) at,
				 (int) st.st_size);
		if (pwrite(fd, &byte, 1, at) != 1)
			elog(ERROR, "could not write file: %m");
	}
	close(fd);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("bytes %d pages %d opened %d noticed %d",
											  (int) st.st_size, num_tags,
											  opened, noticed)));
}

Datum
index_time(PG_FUNCTION_ARGS)
{
	char	   *directory = PG_ARGISNULL(0) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		build = PG_GETARG_BOOL(1);
	WalredoReader *reader;
	WalredoIndexBuilder *builder = walredo_index_builder_create();
	WalredoIndexInfo info = {0};
	int			fd = open("/dev/null", O_RDWR);
	XLogRecPtr	segment_start = 0;
	clock_t		begin = clock();

	reader = walredo_reader_begin(directory, WALREDO_START_OF_WAL,
								  WALREDO_END_OF_WAL);
	while (walredo_reader_next(reader))
	{
		XLogRecPtr	lsn = walredo_reader_start_lsn(reader);

		if (!build)
			continue;
		if (lsn - segment_start >= wal_segment_size)
		{
			walredo_index_builder_finish(builder, &info, fd);
			segment_start = lsn - lsn % wal_segment_size;
			walredo_index_builder_begin(builder, segment_start,
										wal_segment_size);
		}
		walredo_index_builder_add(builder, walredo_reader_record(reader), lsn,
								  walredo_reader_end_lsn(reader));
	}
	walredo_index_builder_finish(builder, &info, fd);
	close(fd);
	PG_RETURN_FLOAT8((double) (clock() - begin) / CLOCKS_PER_SEC);
}
