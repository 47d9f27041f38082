/*-------------------------------------------------------------------------
 *
 * walredo_fuzz.c
 *	  Coverage-guided fuzzing of what walredo takes from outside.
 *
 * Most code that reads hostile bytes allocates memory with palloc() and reports
 * errors with ereport(), so it cannot be linked into a program without a
 * server.  This module consists of walredo's sources, compiled with libFuzzer's
 * instrumentation, and libFuzzer itself, and is loaded into a server in
 * single-user mode.  No other process uses that server, so whatever happens to
 * it was caused by an input.
 *
 * An input must lead to success, or to one of the errors that are documented
 * for it; that is the first thing that is checked.  What has been accepted must
 * then be as the headers say: it can be written and read again, for instance,
 * or applied to a page.  AddressSanitizer checks accesses to memory, for which
 * the memory context of an input gives each larger chunk a block of its own,
 * and UndefinedBehaviorSanitizer the rest.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * fuzz/walredo_fuzz.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog_internal.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "fuzz.h"
#include "mb/pg_wchar.h"
#include "native/native.h"
#include "record/record.h"
#include "record/tag.h"
#include "record/xlogrecord.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "wal/changes.h"
#include "wal/reader.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(walredo_fuzz);
PG_FUNCTION_INFO_V1(walredo_fuzz_seeds);

/* From libFuzzer; the header that declares it is for C++ only. */
extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*callback) (const uint8_t *data,
												 size_t size));

/* Seeds for each sort of record, and the most bytes of a seed and a record. */
#define SEEDS_PER_SORT		2
#define SEED_MAX_SIZE		(128 * 1024)
#define SEED_MAX_RECORD		(24 * 1024)

/* The directory that the reader reads, relative to the data directory. */
#define FUZZ_WAL_DIR		"walredo_fuzz_wal"

/* WAL pages in a seed. */
#define SEED_WAL_PAGES		10

bool		fuzz_accepted;

static const FuzzTarget *target;
static MemoryContext input_context;

/* The directory that seeds are written to, and how many there are. */
static const char *seed_directory;
static int	num_seeds;

void
fuzz_fail(const char *fmt,...)
{
	va_list		args;

	fprintf(stderr, "== %s: ", target->name);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\n");
	abort();
}

/*
 * Copies an input to a chunk of its own, so that AddressSanitizer notices
 * accesses beyond its end.
 */
static char *
copy_input(const char *data, Size size)
{
	char	   *copy = palloc(Max(size, 1));

	memcpy(copy, data, size);
	return copy;
}

static StringInfo
copy_message(const char *data, Size size)
{
	StringInfo	buf = palloc(sizeof(StringInfoData));

	/* A StringInfo that holds a message always has a zero byte after it. */
	buf->data = palloc(size + 1);
	memcpy(buf->data, data, size);
	buf->data[size] = '\0';
	buf->len = size;
	buf->maxlen = size + 1;
	buf->cursor = 0;
	return buf;
}

/* ----------------------------------------
 * types: input of walredo_tag and walredo_record
 * ----------------------------------------
 */

/* What an input is: its first byte, modulo TYPES_NUM. */
enum
{
	TYPES_TAG_TEXT,
	TYPES_TAG_BINARY,
	TYPES_RECORD_TEXT,
	TYPES_RECORD_BINARY,
	TYPES_NUM
};

static const int types_errors[] = {
	ERRCODE_INVALID_TEXT_REPRESENTATION,
	ERRCODE_INVALID_BINARY_REPRESENTATION,
	ERRCODE_INVALID_PARAMETER_VALUE,
	ERRCODE_PROGRAM_LIMIT_EXCEEDED,
	ERRCODE_DATA_CORRUPTED,
	0
};

/*
 * Checks a tag that was accepted.  binary is the binary form that it was read
 * from, NULL if it was read from text.
 */
static void
check_tag(const WalredoTag *tag, StringInfo binary)
{
	StringInfoData buf;
	WalredoTag *again;

	fuzz_accepted = true;
	if (!walredo_tag_is_valid(tag))
		fuzz_fail("an invalid tag was accepted");
	again = walredo_tag_from_cstring(walredo_tag_to_cstring(tag));
	if (memcmp(tag, again, sizeof(WalredoTag)) != 0)
		fuzz_fail("another tag is read than was written as text");
	initStringInfo(&buf);
	walredo_tag_write(&buf, tag);
	if (binary != NULL && (buf.len != binary->len ||
						   memcmp(buf.data, binary->data, buf.len) != 0))
		fuzz_fail("a tag has two binary forms");
	again = walredo_tag_read(copy_message(buf.data, buf.len));
	if (memcmp(tag, again, sizeof(WalredoTag)) != 0)
		fuzz_fail("another tag is read than was written in binary");
}

static void
check_record(const WalredoRecord *rec, StringInfo binary)
{
	StringInfoData buf;
	WalredoRecord *again;

	fuzz_accepted = true;
	walredo_record_validate(rec);
	again = walredo_record_from_cstring(walredo_record_to_cstring(rec));
	if (VARSIZE(rec) != VARSIZE(again) ||
		memcmp(rec, again, VARSIZE(rec)) != 0)
		fuzz_fail("another record is read than was written as text");
	initStringInfo(&buf);
	walredo_record_write(&buf, rec);
	if (binary != NULL && (buf.len != binary->len ||
						   memcmp(buf.data, binary->data, buf.len) != 0))
		fuzz_fail("a record has two binary forms");
	again = walredo_record_read(copy_message(buf.data, buf.len));
	if (VARSIZE(rec) != VARSIZE(again) ||
		memcmp(rec, again, VARSIZE(rec)) != 0)
		fuzz_fail("another record is read than was written in binary");
}

static void
types_run(const char *data, Size size)
{
	int			sort;
	char	   *text = NULL;
	StringInfo	binary = NULL;

	if (size == 0)
		return;
	sort = (uint8) data[0] % TYPES_NUM;
	data++;
	size--;

	if (sort == TYPES_TAG_TEXT || sort == TYPES_RECORD_TEXT)
	{
		text = palloc(size + 1);
		memcpy(text, data, size);
		text[size] = '\0';

		/* The server has verified the encoding of every text that it passes. */
		if (!pg_verifymbstr(text, strlen(text), true))
			return;
	}
	else
		binary = copy_message(data, size);

	switch (sort)
	{
		case TYPES_TAG_TEXT:
			check_tag(walredo_tag_from_cstring(text), NULL);
			break;
		case TYPES_TAG_BINARY:
			check_tag(walredo_tag_read(binary), binary);
			break;
		case TYPES_RECORD_TEXT:
			check_record(walredo_record_from_cstring(text), NULL);
			break;
		case TYPES_RECORD_BINARY:
			check_record(walredo_record_read(binary), binary);
			break;
	}
}

static void
types_seed_one(int sort, const char *data, Size size)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, sort);
	appendBinaryStringInfo(&buf, data, size);
	fuzz_seed(buf.data, buf.len);
}

static void
types_seed(const XLogRecord *record, XLogRecPtr end_lsn)
{
	WalredoChanges *changes = walredo_changes_create(walredo_filter_all());
	WalredoPageChange *list;
	int			n;

	n = walredo_changes_of(changes, record, end_lsn, &list);
	for (int i = 0; i < n; i++)
	{
		WalredoRecord *rec = walredo_change_record(changes, &list[i]);
		char	   *text = walredo_tag_to_cstring(&list[i].tag);
		StringInfoData buf;

		types_seed_one(TYPES_TAG_TEXT, text, strlen(text));
		initStringInfo(&buf);
		walredo_tag_write(&buf, &list[i].tag);
		types_seed_one(TYPES_TAG_BINARY, buf.data, buf.len);

		text = walredo_record_to_cstring(rec);
		types_seed_one(TYPES_RECORD_TEXT, text, strlen(text));
		resetStringInfo(&buf);
		walredo_record_write(&buf, rec);
		types_seed_one(TYPES_RECORD_BINARY, buf.data, buf.len);
	}
	walredo_changes_free(changes);
}

/* ----------------------------------------
 * changes: from a WAL record to the pages that it changes
 *
 * An input is the record's end LSN and the record.  The length in the record's
 * header is set to what it must be.
 * ----------------------------------------
 */

static const int changes_errors[] = {
	ERRCODE_DATA_CORRUPTED,
	0
};

/*
 * Applies those of the records that are for a page, and returns its image.
 * Accepted records must not raise an error.
 */
static bytea *
apply_native(const WalredoTag *tag, const WalredoPageChange *list, int n)
{
	bytea	   *image = palloc(VARHDRSZ + BLCKSZ);

	memset(VARDATA(image), 0x55, BLCKSZ);
	SET_VARSIZE(image, VARHDRSZ + BLCKSZ);
	for (int i = 0; i < n; i++)
	{
		if (memcmp(tag, &list[i].tag, sizeof(WalredoTag)) != 0 ||
			list[i].what != WALREDO_CHANGE_NATIVE)
			continue;
		image = walredo_native_apply(tag, list[i].native, image);
		if (WalredoTagIsPage(tag) && VARSIZE(image) != VARHDRSZ + BLCKSZ)
			fuzz_fail("a page of %u bytes", VARSIZE(image) - VARHDRSZ);
	}
	return image;
}

/*
 * Asks for a few changes at a time.  All together, they must be the same as
 * those that are returned at once.
 */
static void
check_parts(const XLogRecord *record, XLogRecPtr end_lsn,
			WalredoChanges *whole, const WalredoPageChange *list, int n)
{
	WalredoChanges *changes = walredo_changes_create(walredo_filter_all());
	WalredoPageChange *part;
	int			first = 0;
	bool		more = true;

	while (more)
	{
		int			npart = walredo_changes_part(changes, record, end_lsn,
												 first, 200, &part, &more);

		if (npart > n - first || (npart == 0 && more))
			fuzz_fail("a part of %d changes from %d of %d on", npart, first, n);
		for (int i = 0; i < npart; i++)
		{
			WalredoRecord *a = walredo_change_record(changes, &part[i]);
			WalredoRecord *b = walredo_change_record(whole, &list[first + i]);

			if (memcmp(&part[i].tag, &list[first + i].tag,
					   sizeof(WalredoTag)) != 0 ||
				VARSIZE(a) != VARSIZE(b) || memcmp(a, b, VARSIZE(a)) != 0)
				fuzz_fail("change %d differs in a part", first + i);
		}
		first += npart;
	}
	if (first != n)
		fuzz_fail("%d changes in parts, %d at once", first, n);
	walredo_changes_free(changes);
}

/*
 * If just one page is wanted, no other may come, and nothing be missing that is
 * done to it, in fewer records or as many.
 */
static void
check_page(const WalredoTag *tag, const XLogRecord *record, XLogRecPtr end_lsn,
		   const WalredoPageChange *list, int n)
{
	WalredoChanges *changes = walredo_changes_create(walredo_filter_page(tag));
	WalredoPageChange *found_list;
	WalredoPageChange described;
	bytea	   *expected_image = apply_native(tag, list, n);
	bytea	   *image;
	int			expected = 0;
	int			found = 0;
	int			nfound;

	for (int i = 0; i < n; i++)
	{
		if (memcmp(tag, &list[i].tag, sizeof(WalredoTag)) == 0)
			expected++;
	}
	nfound = walredo_changes_of(changes, record, end_lsn, &found_list);
	for (int i = 0; i < nfound; i++)
	{
		const WalredoPageChange *change = &found_list[i];

		if (memcmp(tag, &change->tag, sizeof(WalredoTag)) != 0)
			fuzz_fail("a filter of one page gives another page");
		if (change->what != WALREDO_CHANGE_END)
			found++;
		if ((change->what == WALREDO_CHANGE_REPLAY ||
			 change->what == WALREDO_CHANGE_UNKNOWN) &&
			(!walredo_block_change(record, tag, &described) ||
			 described.what != change->what ||
			 described.starts_page != change->starts_page ||
			 described.image_has_hole != change->image_has_hole))
			fuzz_fail("a block alone is described in another way");
	}
	if (found == 0 || found > expected)
		fuzz_fail("a filter of one page gives %d changes instead of %d",
				  found, expected);
	image = apply_native(tag, found_list, nfound);
	if (VARSIZE(image) != VARSIZE(expected_image) ||
		memcmp(VARDATA(image), VARDATA(expected_image),
			   VARSIZE(image) - VARHDRSZ) != 0)
		fuzz_fail("a filter of one page does something else to it");
	walredo_changes_free(changes);
}

/*
 * The same for all pages of its fork, by the two filters that can ask for them,
 * which have to say the same.
 */
static void
check_fork(const WalredoTag *tag, const XLogRecord *record, XLogRecPtr end_lsn,
		   const WalredoPageChange *list, int n)
{
	WalredoChanges *changes[2];
	WalredoPageChange *lists[2];
	int			ns[2];
	int			expected = 0;
	int			found = 0;

	changes[0] = walredo_changes_create(walredo_filter_fork(tag));
	changes[1] = walredo_changes_create(walredo_filter_forks(tag, 1, false));
	for (int i = 0; i < 2; i++)
		ns[i] = walredo_changes_of(changes[i], record, end_lsn, &lists[i]);
	if (ns[0] != ns[1])
		fuzz_fail("%d changes of a fork, %d of a set of one fork",
				  ns[0], ns[1]);
	for (int i = 0; i < ns[0]; i++)
	{
		if (!walredo_tag_same_fork(tag, &lists[0][i].tag))
			fuzz_fail("a filter of a fork gives another fork");
		if (memcmp(&lists[0][i].tag, &lists[1][i].tag,
				   sizeof(WalredoTag)) != 0 ||
			lists[0][i].what != lists[1][i].what ||
			lists[0][i].end != lists[1][i].end)
			fuzz_fail("change %d of a fork differs in a set of one fork", i);
		if (lists[0][i].what != WALREDO_CHANGE_END)
			found++;
	}
	for (int i = 0; i < n; i++)
		expected += walredo_tag_same_fork(tag, &list[i].tag);
	if (found != expected)
		fuzz_fail("a filter of a fork gives %d changes instead of %d",
				  found, expected);
	for (int i = 0; i < 2; i++)
		walredo_changes_free(changes[i]);
}

/*
 * How the record ends pages of each kind, with which it may have nothing to do.
 */
static void
check_ends(const XLogRecord *record, XLogRecPtr end_lsn)
{
	static const WalredoTag tags[] = {
		{.kind = WALREDO_TAG_REL,.spcOid = 1663,.dbOid = 5,.relNumber = 16384},
		{.kind = WALREDO_TAG_CLOG,.number = 1},
		{.kind = WALREDO_TAG_MULTIXACT_OFFSETS,.number = 1},
		{.kind = WALREDO_TAG_MULTIXACT_MEMBERS,.number = 1},
		{.kind = WALREDO_TAG_COMMIT_TS,.number = 1},
		{.kind = WALREDO_TAG_RELMAP,.spcOid = 1663,.dbOid = 5},
		{.kind = WALREDO_TAG_TWOPHASE,.number = 700}
	};

	for (int i = 0; i < lengthof(tags); i++)
	{
		WalredoPageFilter *filter = walredo_filter_page(&tags[i]);
		WalredoChanges *changes = walredo_changes_create(filter);
		WalredoPageChange *list;
		int			n = walredo_changes_of(changes, record, end_lsn, &list);
		int			nends = 0;

		for (int j = 0; j < n; j++)
			nends += list[j].what == WALREDO_CHANGE_END;
		if (nends > 1)
			fuzz_fail("a page ends %d times", nends);
		walredo_changes_free(changes);
		walredo_filter_free(filter);
	}
}

static void
changes_run(const char *data, Size size)
{
	WalredoChanges *changes;
	XLogRecord *record;
	XLogRecPtr	end_lsn;
	WalredoPageChange *list;
	int			n;

	if (size < sizeof(end_lsn) + SizeOfXLogRecord)
		return;
	memcpy(&end_lsn, data, sizeof(end_lsn));
	if (XLogRecPtrIsInvalid(end_lsn))
		return;
	data += sizeof(end_lsn);
	size -= sizeof(end_lsn);
	record = (XLogRecord *) copy_input(data, size);
	record->xl_tot_len = size;

	changes = walredo_changes_create(walredo_filter_all());
	n = walredo_changes_of(changes, record, end_lsn, &list);
	check_ends(record, end_lsn);

	/* From here on no error is expected. */
	fuzz_accepted = true;
	for (int i = 0; i < n; i++)
	{
		if (!walredo_tag_is_valid(&list[i].tag))
			fuzz_fail("a change has an invalid tag");
		walredo_record_validate(walredo_change_record(changes, &list[i]));
		(void) apply_native(&list[i].tag, &list[i], 1);
	}
	check_parts(record, end_lsn, changes, list, n);

	/*
	 * If changes to one page only are asked for, there must be no others, and
	 * they must make the same page as before.
	 */
	for (int i = 0; i < Min(n, 3); i++)
	{
		check_page(&list[i].tag, record, end_lsn, list, n);
		if (list[i].tag.kind == WALREDO_TAG_REL)
			check_fork(&list[i].tag, record, end_lsn, list, n);
	}
	walredo_changes_free(changes);
}

static void
changes_seed(const XLogRecord *record, XLogRecPtr end_lsn)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (char *) &end_lsn, sizeof(end_lsn));
	appendBinaryStringInfo(&buf, (const char *) record, record->xl_tot_len);
	fuzz_seed(buf.data, buf.len);
}

/* ----------------------------------------
 * reader: a directory of segments
 *
 * An input is a byte of flags, a byte that says where to cut, and the first
 * bytes of a segment, or of two.  The names of the files are made of the
 * addresses in their first pages.
 * ----------------------------------------
 */

#define READER_FROM_START	0x01	/* of all WAL, else of the segment */
#define READER_TO_END		0x02	/* of all WAL, else up to the cut */
#define READER_TWO			0x04	/* cut into two segments */
#define READER_HISTORY		0x08	/* ... or a history file and a segment */
#define READER_INSIDE		0x10	/* begin inside of the segment */

static const int reader_errors[] = {
	ERRCODE_INVALID_PARAMETER_VALUE,
	ERRCODE_UNDEFINED_FILE,
	ERRCODE_DATA_CORRUPTED,
	0
};

static void
write_wal_file(const char *name, const char *data, Size size)
{
	char		path[MAXPGPATH];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", FUZZ_WAL_DIR, name);
	file = fopen(path, "w");
	if (file == NULL || fwrite(data, 1, size, file) != size ||
		fclose(file) != 0)
		fuzz_fail("could not write \"%s\"", path);
}

/*
 * Writes a segment.  Returns the LSN at which it begins, according to its
 * header.
 */
static XLogRecPtr
write_segment(TimeLineID tli, const char *data, Size size)
{
	XLogLongPageHeaderData header = {0};
	int			segsize = DEFAULT_XLOG_SEG_SIZE;
	char		name[MAXFNAMELEN];

	memcpy(&header, data, Min(size, sizeof(header)));
	if (IsValidWalSegSize(header.xlp_seg_size))
		segsize = header.xlp_seg_size;
	XLogFileName(name, tli, header.std.xlp_pageaddr / segsize, segsize);
	write_wal_file(name, data, size);
	return header.std.xlp_pageaddr;
}

/* Makes the directory, or removes all files that are in it. */
static void
empty_wal_directory(void)
{
	DIR		   *dir;
	struct dirent *de;

	if (mkdir(FUZZ_WAL_DIR, S_IRWXU) != 0 && errno != EEXIST)
		fuzz_fail("could not make a directory");
	dir = opendir(FUZZ_WAL_DIR);
	while ((de = readdir(dir)) != NULL)
	{
		if (de->d_name[0] != '.')
			(void) unlinkat(dirfd(dir), de->d_name, 0);
	}
	closedir(dir);
}

/*
 * Writes the files that an input consists of.  Returns the LSN at which the
 * last segment begins.
 */
static XLogRecPtr
write_input(uint8 flags, Size cut, const char *data, Size size)
{
	TimeLineID	tli = 1;
	Size		length = 0;

	if (flags & READER_HISTORY)
	{
		length = Min(cut, size);
		write_wal_file("00000002.history", data, length);
		if (flags & READER_TWO)
			tli = 2;
	}
	else if (flags & READER_TWO)
	{
		length = Min(cut * XLOG_BLCKSZ / 16, size);
		(void) write_segment(tli, data, length);
	}
	return write_segment(tli, data + length, size - length);
}

/*
 * Checks the record at which the reader is: that it is where it may be, and
 * that there is memory for its whole length.  last_lsn is the end of the record
 * before.
 */
static void
check_record_read(WalredoReader *reader, XLogRecPtr start_lsn,
				  XLogRecPtr end_lsn, XLogRecPtr last_lsn)
{
	const XLogRecord *record = walredo_reader_record(reader);
	char	   *copy;

	if (walredo_reader_start_lsn(reader) < start_lsn ||
		walredo_reader_start_lsn(reader) < last_lsn ||
		walredo_reader_end_lsn(reader) <= walredo_reader_start_lsn(reader) ||
		walredo_reader_end_lsn(reader) > end_lsn)
		fuzz_fail("a record at %X/%X that ends at %X/%X",
				  LSN_FORMAT_ARGS(walredo_reader_start_lsn(reader)),
				  LSN_FORMAT_ARGS(walredo_reader_end_lsn(reader)));
	if (record->xl_tot_len < SizeOfXLogRecord ||
		record->xl_tot_len > MaxAllocSize)
		fuzz_fail("a record of %u bytes", record->xl_tot_len);

	copy = palloc_extended(record->xl_tot_len, MCXT_ALLOC_HUGE);
	memcpy(copy, record, record->xl_tot_len);
	pfree(copy);
}

static void
reader_run(const char *data, Size size)
{
	uint8		flags;
	Size		cut;
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn = WALREDO_END_OF_WAL;
	XLogRecPtr	last_lsn = 0;
	WalredoReader *reader;

	if (size < 2)
		return;
	flags = data[0];
	cut = (uint8) data[1];

	empty_wal_directory();
	start_lsn = write_input(flags, cut, data + 2, size - 2);
	if (flags & READER_INSIDE)
		start_lsn += cut * 8;
	if (!(flags & READER_TO_END))
		end_lsn = start_lsn + cut * XLOG_BLCKSZ / 16;
	if (flags & READER_FROM_START)
		start_lsn = WALREDO_START_OF_WAL;

	reader = walredo_reader_begin(FUZZ_WAL_DIR, start_lsn, end_lsn);
	while (walredo_reader_next(reader))
	{
		check_record_read(reader, start_lsn, end_lsn, last_lsn);
		last_lsn = walredo_reader_end_lsn(reader);
	}

	/* At the end, it must be harmless to ask for another record. */
	if (walredo_reader_next(reader))
		fuzz_fail("there is a record after the end");
	walredo_reader_end(reader);
}

static void
reader_clean_up(void)
{
	AtEOSubXact_Files(false, GetCurrentSubTransactionId(),
					  InvalidSubTransactionId);
}

/* Makes seeds of the beginnings of the server's own WAL segments. */
static void
reader_seed_once(void)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *de;

	while ((de = ReadDir(dir, XLOGDIR)) != NULL)
	{
		static const uint8 flags[] = {
			READER_FROM_START | READER_TO_END,
			READER_INSIDE,
			READER_TO_END | READER_TWO
		};
		char		path[MAXPGPATH];
		char		pages[SEED_WAL_PAGES * XLOG_BLCKSZ];
		FILE	   *file;

		if (!IsXLogFileName(de->d_name))
			continue;
		snprintf(path, sizeof(path), XLOGDIR "/%s", de->d_name);
		file = AllocateFile(path, "r");
		if (file == NULL ||
			fread(pages, 1, sizeof(pages), file) != sizeof(pages))
			elog(ERROR, "could not read \"%s\"", path);
		FreeFile(file);

		for (int i = 0; i < lengthof(flags); i++)
		{
			StringInfoData buf;

			initStringInfo(&buf);
			appendStringInfoChar(&buf, flags[i]);
			appendStringInfoChar(&buf, 5 * 16);
			appendBinaryStringInfo(&buf, pages, sizeof(pages));
			fuzz_seed(buf.data, buf.len);
		}
		{
			static const char history[] = "1\t0/2000000\tno reason\n";
			StringInfoData buf;

			initStringInfo(&buf);
			appendStringInfoChar(&buf, READER_FROM_START | READER_TO_END |
								 READER_HISTORY | READER_TWO);
			appendStringInfoChar(&buf, strlen(history));
			appendStringInfoString(&buf, history);
			appendBinaryStringInfo(&buf, pages, XLOG_BLCKSZ);
			fuzz_seed(buf.data, buf.len);
		}
	}
	FreeDir(dir);
}

/* ----------------------------------------
 * child: requests as they come through the pipe
 * ----------------------------------------
 */

static const int child_errors[] = {
	ERRCODE_PROTOCOL_VIOLATION,
	ERRCODE_INVALID_PARAMETER_VALUE,
	ERRCODE_DATA_CORRUPTED,
	ERRCODE_FEATURE_NOT_SUPPORTED,
	ERRCODE_PROGRAM_LIMIT_EXCEEDED,
	ERRCODE_INTERNAL_ERROR,		/* raised by the server about an image */
	0
};

/* ----------------------------------------
 * index: the file of an index of WAL
 * ----------------------------------------
 */

static const int index_errors[] = {
	0
};

/* ----------------------------------------
 * The driver
 * ----------------------------------------
 */

static const FuzzTarget targets[] = {
	{"types", types_run, NULL, types_seed, NULL, types_errors},
	{"changes", changes_run, NULL, changes_seed, NULL, changes_errors},
	{"reader", reader_run, reader_clean_up, NULL, reader_seed_once,
	reader_errors},
	{"child", fuzz_child_run, fuzz_child_clean_up, fuzz_child_seed,
	fuzz_child_seed_once, child_errors},
	{"index", fuzz_index_run, NULL, NULL, fuzz_index_seed_once, index_errors}
};

static bool
is_expected(int sqlerrcode)
{
	for (const int *error = target->errors; *error != 0; error++)
	{
		if (*error == sqlerrcode)
			return true;
	}
	return false;
}

static int
test_one_input(const uint8_t *data, size_t size)
{
	MemoryContext old_context = MemoryContextSwitchTo(input_context);

	fuzz_accepted = false;
	PG_TRY();
	{
		target->run((const char *) data, size);
	}
	PG_CATCH();
	{
		if (fuzz_accepted || !is_expected(geterrcode()))
		{
			ErrorData  *edata;

			MemoryContextSwitchTo(TopMemoryContext);
			edata = CopyErrorData();
			fuzz_fail("%s error %s: %s: %s",
					  fuzz_accepted ? "late" : "undocumented",
					  unpack_sql_state(edata->sqlerrcode), edata->message,
					  edata->detail ? edata->detail : "");
		}
		FlushErrorState();
	}
	PG_END_TRY();

	if (target->clean_up != NULL)
		target->clean_up();
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(input_context);
	return 0;
}

static void
find_target(const char *name)
{
	for (int i = 0; i < lengthof(targets); i++)
	{
		if (strcmp(targets[i].name, name) == 0)
		{
			target = &targets[i];
			return;
		}
	}
	elog(ERROR, "there is no target \"%s\"", name);
}

/*
 * walredo_fuzz(target text, VARIADIC options text[])
 *
 * Runs libFuzzer with its own options.  Ends the process.
 */
Datum
walredo_fuzz(PG_FUNCTION_ARGS)
{
	Datum	   *options;
	int			noptions;
	char	  **argv;
	int			argc = 0;

	find_target(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false,
					  TYPALIGN_INT, &options, NULL, &noptions);
	argv = palloc0((noptions + 2) * sizeof(char *));
	argv[argc++] = "walredo_fuzz";
	for (int i = 0; i < noptions; i++)
		argv[argc++] = TextDatumGetCString(options[i]);

	/*
	 * The blocks of the context are so small that each larger chunk gets a
	 * block of its own.  AddressSanitizer knows the bounds of blocks only.
	 */
	input_context = AllocSetContextCreate(TopMemoryContext, "walredo fuzz",
										  0, 1024, 1024);
	exit(LLVMFuzzerRunDriver(&argc, &argv, test_one_input));
}

void
fuzz_seed(const char *data, Size size)
{
	char		path[MAXPGPATH];
	FILE	   *file;

	if (size > SEED_MAX_SIZE)
		return;
	snprintf(path, sizeof(path), "%s/seed-%05d", seed_directory, ++num_seeds);
	file = AllocateFile(path, "w");
	if (file == NULL || fwrite(data, 1, size, file) != size ||
		FreeFile(file) != 0)
		elog(ERROR, "could not write \"%s\": %m", path);
}

/*
 * walredo_fuzz_seeds(target text, directory text) returns int4
 *
 * Makes inputs from the server's own WAL, a few for each sort of record.
 * Returns how many.
 */
Datum
walredo_fuzz_seeds(PG_FUNCTION_ARGS)
{
	static uint8 counts[RM_MAX_ID + 1][256];
	WalredoReader *reader;

	find_target(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	seed_directory = text_to_cstring(PG_GETARG_TEXT_PP(1));
	num_seeds = 0;
	memset(counts, 0, sizeof(counts));

	if (target->seed_once != NULL)
		target->seed_once();
	if (target->seed == NULL)
		PG_RETURN_INT32(num_seeds);

	reader = walredo_reader_begin(NULL, WALREDO_START_OF_WAL,
								  WALREDO_END_OF_WAL);
	while (walredo_reader_next(reader))
	{
		const XLogRecord *record = walredo_reader_record(reader);
		uint8	   *count = &counts[record->xl_rmid][record->xl_info];

		if (record->xl_tot_len <= SEED_MAX_RECORD &&
			(*count)++ < SEEDS_PER_SORT)
			target->seed(record, walredo_reader_end_lsn(reader));
	}
	walredo_reader_end(reader);
	PG_RETURN_INT32(num_seeds);
}
