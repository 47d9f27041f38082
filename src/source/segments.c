/*-------------------------------------------------------------------------
 *
 * segments.c
 *	  Where WAL is read from: the files of segments.
 *
 * A segment can have several files: in several directories, compressed and not,
 * whole and partial.  They are tried in this order:
 *
 *	1. whole files, in the order of the directories, that begin as the segment
 *	   does, and are as long as one, as far as that is known before a
 *	   compressed file is read to its end;
 *	2. what walredo.restore_command fetches;
 *	3. the others.  A partial file has what its writer had written, and of a
 *	   damaged one, the reader says what is wrong with it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/segments.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "source/file_state.h"
#include "source/restore.h"
#include "source/source_internal.h"
#include "source/timeline.h"
#include "storage/fd.h"
#include "utils/memutils.h"

/* A segment file that has been opened. */
typedef struct OpenSegment
{
	int			fd;				/* -1 if only its status was needed */
	struct stat st;
	WalredoSegment segment;
	bool		is_whole;		/* all of the segment is in it, as far as that
								 * is known */
} OpenSegment;

/* What a file is opened for. */
typedef enum OpenPurpose
{
	OPEN_TO_READ,
	OPEN_TO_LOOK				/* to know whether it is there: need not be
								 * opened if stat() tells */
} OpenPurpose;

/* What the beginning of a file says. */
typedef enum FileQuality
{
	FILE_GOOD,
	FILE_DUBIOUS,				/* shorter, longer, or not this segment */
	FILE_FOREIGN				/* another system's segment */
} FileQuality;

/* ----------------------------------------
 * Files
 * ----------------------------------------
 */

void
walredo_source_open_files(WalredoSource *source, const char *directories)
{
	WalredoSourceFiles *files = palloc0(sizeof(WalredoSourceFiles));

	if (directories == NULL)
		directories = WALREDO_LOCAL_WAL;
	source->files = files;
	files->context = CurrentMemoryContext;
	files->ndirectories = walredo_directories_parse(directories,
													&files->directories);
	for (int i = 0; i < files->ndirectories; i++)
		files->has_pg_wal |= files->directories[i].is_pg_wal;
	source->directory = files->ndirectories == 1 ?
		files->directories[0].path : pstrdup(directories);
	files->listing =
		walredo_listing_create(files->directories, files->ndirectories,
							   source->tolerance == WALREDO_TOLERATE_ALL);
	for (int i = 0; i < WALREDO_MAX_HELD; i++)
		files->held[i].file = walredo_held_file_create();
	walredo_source_begin_use(source);
}

void
walredo_source_begin_use(WalredoSource *source)
{
	WalredoSourceFiles *files = source->files;
	MemoryContext old_context;

	if (files->using == NULL)
	{
		files->using = AllocSetContextCreate(files->context,
											 "walredo use of a source",
											 ALLOCSET_SMALL_SIZES);
		old_context = MemoryContextSwitchTo(files->using);
		files->reading = walredo_segment_file_create();
		files->probing = walredo_segment_file_create();
		MemoryContextSwitchTo(old_context);
	}
	files->has_asked = false;
	files->use++;
}

void
walredo_source_close_held(WalredoSource *source)
{
	for (int i = 0; i < WALREDO_MAX_HELD; i++)
		walredo_held_file_close(source->files->held[i].file);
}

/*
 * A source that is kept can go on with the plain files that it holds, if they
 * are still there when it is used again.
 *
 * To delete the context also frees the memory of compression libraries, for
 * which pfree() would not be enough.
 */
void
walredo_source_end_use(WalredoSource *source)
{
	WalredoSourceFiles *files = source->files;
	bool		is_plain =
		walredo_segment_compression(files->reading) == WALREDO_PLAIN &&
		walredo_segment_compression(files->probing) == WALREDO_PLAIN;

	for (int i = 0; i < WALREDO_MAX_HELD; i++)
	{
		WalredoHeldSegment *held = &files->held[i];

		if (files->kept == NULL || !held->is_plain || !held->segment.has_id)
			walredo_held_file_close(held->file);
	}
	if (is_plain && files->not_restored == NULL)
		return;
	MemoryContextDelete(files->using);
	files->using = NULL;
	files->not_restored = NULL;
}

void
walredo_source_report_not_opened(const char *path)
{
	if (errno == EISDIR)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a regular file", path)));
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not open file \"%s\": %m", path)));
}

bool
walredo_source_restore(WalredoSource *source, const char *name, char *path)
{
	WalredoSourceFiles *files = source->files;
	bool		found;

	/* A search that must not fail does without. */
	if (!walredo_restore_is_enabled() ||
		source->tolerance == WALREDO_TOLERATE_ALL)
		return false;

	if (files->not_restored == NULL)
	{
		HASHCTL		ctl = {
			.keysize = MAXFNAMELEN,
			.entrysize = MAXFNAMELEN,
			.hcxt = files->using
		};

		files->not_restored = hash_create("walredo files not restored", 64,
										  &ctl, HASH_ELEM | HASH_STRINGS |
										  HASH_CONTEXT);
	}
	if (hash_search(files->not_restored, name, HASH_FIND, NULL) != NULL)
		return false;
	files->has_asked = true;
	found = walredo_restore_file(name, path);
	if (!found)
		(void) hash_search(files->not_restored, name, HASH_ENTER, NULL);
	return found;
}

/* By what a file is known whose header has been read. */
typedef struct HeaderKey
{
	dev_t		device;
	ino_t		inode;
	off_t		size;
	struct timespec modified;
	struct timespec changed;
} HeaderKey;

/* Its header. */
typedef struct KnownHeader
{
	HeaderKey	key;
	XLogLongPageHeaderData header;
	bool		is_compressed;
	bool		is_settled;		/* a change of the file will be seen */
	uint64		use;			/* when it was read */
} KnownHeader;

/* The most headers that are kept: those of 1 TB of segments of 16 MB. */
#define MAX_HEADERS		65536

static void
set_header_key(HeaderKey *key, const struct stat *st)
{
	memset(key, 0, sizeof(*key));
	key->device = st->st_dev;
	key->inode = st->st_ino;
	key->size = st->st_size;
	key->modified = st->st_mtim;
	key->changed = st->st_ctim;
}

/*
 * Returns the header of a file if it is known, or NULL.
 *
 * A compressed file that was written just now is taken for unchanged as long as
 * the source is used, so that its beginning need not be decompressed again for
 * each chunk.
 */
static const KnownHeader *
known_header(WalredoSource *source, const struct stat *st)
{
	WalredoSourceFiles *files = source->files;
	const KnownHeader *known;
	HeaderKey	key;

	if (files->headers == NULL)
		return NULL;
	set_header_key(&key, st);
	known = hash_search(files->headers, &key, HASH_FIND, NULL);
	if (known == NULL || known->is_settled ||
		(known->is_compressed && known->use == files->use))
		return known;
	return NULL;
}

/* Takes note of the header of a file that had this status at some time. */
static void
remember_header(WalredoSource *source, const struct stat *st,
				const XLogLongPageHeaderData *header, bool is_compressed,
				bool is_settled)
{
	WalredoSourceFiles *files = source->files;
	KnownHeader *known;
	HeaderKey	key;

	if (files->headers != NULL &&
		hash_get_num_entries(files->headers) >= MAX_HEADERS)
	{
		hash_destroy(files->headers);
		files->headers = NULL;
	}
	if (files->headers == NULL)
	{
		HASHCTL		ctl = {
			.keysize = sizeof(HeaderKey),
			.entrysize = sizeof(KnownHeader),
			.hcxt = files->context
		};

		files->headers = hash_create("walredo headers of segments", 64, &ctl,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	set_header_key(&key, st);
	known = hash_search(files->headers, &key, HASH_ENTER, NULL);
	known->header = *header;
	known->is_compressed = is_compressed;
	known->is_settled = is_settled;
	known->use = files->use;
}

/*
 * Gets the long page header at the beginning of a file with this status, and
 * whether the file is compressed.  fd is the file, open; it is not used if the
 * header is known.  Returns NULL, or says why that is not possible.
 */
static const char *
probe_header(WalredoSource *source, int fd, const struct stat *st,
			 XLogLongPageHeader header, bool *is_compressed)
{
	WalredoSourceFiles *files = source->files;
	const KnownHeader *known = known_header(source, st);
	struct timespec now;
	struct stat before;
	const char *problem;
	Size		n;
	bool		is_settled;

	*is_compressed = true;
	if (known != NULL)
	{
		*header = known->header;
		*is_compressed = known->is_compressed;
		return NULL;
	}

	/* The file may have been changed since it was opened. */
	clock_gettime(CLOCK_REALTIME, &now);
	is_settled = fstat(fd, &before) == 0 &&
		walredo_is_same_file(&before, st) &&
		walredo_file_is_settled(st, &now);

	n = walredo_segment_file_read(files->probing, fd, st, WalSegMaxSize, 0,
								  (char *) header,
								  sizeof(XLogLongPageHeaderData), &problem);
	*is_compressed =
		walredo_segment_compression(files->probing) != WALREDO_PLAIN;
	if (problem != NULL)
		return problem;
	if (n < sizeof(XLogLongPageHeaderData))
		return "it is empty, or ends within its first page's header";

	if (is_settled || *is_compressed)
		remember_header(source, st, header, *is_compressed, is_settled);
	return NULL;
}

/*
 * Opens a file for walredo_source_read_header() and its like, or only gets its
 * status if that is enough, as its header is known; then the result is true,
 * but *fd is -1.  If the result is false, errno is set as by
 * walredo_open_regular_file().
 */
static bool
open_or_look(WalredoSource *source, const char *path, bool is_enough, int *fd,
			 struct stat *st)
{
	*fd = -1;
	if (stat(path, st) == 0 && S_ISREG(st->st_mode) &&
		(is_enough || known_header(source, st) != NULL))
		return true;
	*fd = walredo_open_regular_file(path, st);
	return *fd >= 0;
}

static void
close_if_open(int fd)
{
	if (fd >= 0)
		CloseTransientFile(fd);
}

const char *
walredo_source_read_header(WalredoSource *source, const char *path,
						   XLogLongPageHeader header)
{
	struct stat st;
	int			fd;
	bool		is_compressed;
	const char *problem;

	if (!open_or_look(source, path, false, &fd, &st))
		return errno == EISDIR ? "it is not a regular file" :
			psprintf("it cannot be opened: %m");
	problem = probe_header(source, fd, &st, header, &is_compressed);
	close_if_open(fd);
	return problem;
}

/* Returns whether a header begins a segment of this PostgreSQL version. */
static bool
is_segment_header(const XLogLongPageHeaderData *header)
{
	return header->std.xlp_magic == XLOG_PAGE_MAGIC &&
		(header->std.xlp_info & XLP_LONG_HEADER) != 0;
}

bool
walredo_source_is_valid(WalredoSource *source, const WalredoListedFile *file,
						XLogLongPageHeader header)
{
	char		path[MAXPGPATH];

	walredo_listed_path(source->files->listing, file, path);
	return walredo_source_read_header(source, path, header) == NULL &&
		is_segment_header(header) &&
		IsValidWalSegSize(header->xlp_seg_size);
}

/*
 * Returns whether a header is that of another system's segment.  The other
 * system can be one of another major version, which pg_upgrade leaves in an
 * archive, so of the magic number only the part is compared that all versions
 * share.
 */
static bool
is_foreign(WalredoSource *source, const XLogLongPageHeaderData *header)
{
	return (header->std.xlp_magic & 0xFF00) == (XLOG_PAGE_MAGIC & 0xFF00) &&
		(header->std.xlp_info & XLP_LONG_HEADER) != 0 &&
		header->xlp_sysid != source->system_identifier;
}

/*
 * Says why an open file does not begin as a segment or, if whole is true, is
 * not all of it.  Returns NULL if the file is good.  *is_other_system is set if
 * it is a segment of another system.
 *
 * The name alone is not enough, because the server gives old segments the
 * names of segments to come.  The first page of such a file still has its old
 * address.
 */
static const char *
file_problem(WalredoSource *source, int fd, const struct stat *st,
			 XLogSegNo segno, bool whole, bool *is_other_system)
{
	XLogLongPageHeaderData header;
	bool		is_compressed;
	const char *problem = probe_header(source, fd, st, &header,
									   &is_compressed);

	*is_other_system = problem == NULL && is_foreign(source, &header);
	if (problem != NULL)
		return pstrdup(problem);
	if (*is_other_system)
		return psprintf("it belongs to the database system with identifier " UINT64_FORMAT,
						header.xlp_sysid);
	if (!is_segment_header(&header))
		return "it does not begin with a valid page header";
	if (header.std.xlp_pageaddr != segno * source->segsize)
		return psprintf("it still contains the WAL that was at %X/%X",
						LSN_FORMAT_ARGS(header.std.xlp_pageaddr));
	if (!is_compressed && st->st_size > source->segsize)
		return "it is longer than a segment";
	if (whole && !is_compressed && st->st_size < source->segsize)
		return "it is shorter than a segment";
	return NULL;
}

/* The same for a listed file, of whatever kind. */
static const char *
listed_problem(WalredoSource *source, const WalredoListedFile *file,
			   XLogSegNo segno, bool whole)
{
	char		path[MAXPGPATH];
	struct stat st;
	int			fd;
	const char *problem;
	bool		is_other_system;

	if (file->kind == WALREDO_FILE_OTHER)
		return "its name is not that of a segment or of a compressed segment";
	walredo_listed_path(source->files->listing, file, path);
	if (!open_or_look(source, path, false, &fd, &st))
		return errno == EISDIR ? "it is not a regular file" :
			psprintf("it cannot be opened: %m");
	problem = file_problem(source, fd, &st, segno, whole, &is_other_system);
	close_if_open(fd);
	if (problem == NULL && whole && file->kind == WALREDO_FILE_PARTIAL)
		return "it is partial";
	return problem;
}

/* ----------------------------------------
 * Names
 * ----------------------------------------
 */

WalredoTimeline *
walredo_source_timeline(WalredoSource *source, TimeLineID tli)
{
	ListCell   *lc;

	foreach(lc, source->history)
	{
		WalredoTimeline *timeline = lfirst(lc);

		if (timeline->tli == tli)
			return timeline;
	}
	return NULL;
}

bool
walredo_source_in_history(WalredoSource *source, TimeLineID tli,
						  XLogSegNo segno)
{
	WalredoTimeline *timeline = walredo_source_timeline(source, tli);

	return timeline != NULL &&
		walredo_timeline_covers(timeline, segno, source->segsize);
}

bool
walredo_source_is_followed(WalredoSource *source, TimeLineID tli,
						   XLogRecPtr lsn)
{
	WalredoTimeline *timeline = walredo_source_timeline(source, tli);

	return timeline != NULL && lsn < timeline->end &&
		walredo_timeline_covers(timeline, lsn / source->segsize,
								source->segsize);
}

/*
 * No segment has a name whose last eight digits are not less than the number of
 * segments in 4 GB, which depends on the segment size.
 */
bool
walredo_source_segno(WalredoSource *source, const WalredoListedFile *file,
					 XLogSegNo *segno)
{
	uint64		per_id = XLogSegmentsPerXLogId(source->segsize);

	*segno = (XLogSegNo) file->log * per_id + file->seg;
	return file->seg < per_id;
}

char *
walredo_source_segment_name(WalredoSource *source, XLogRecPtr lsn)
{
	XLogSegNo	segno = lsn / source->segsize;
	TimeLineID	tli = source->tli;
	char	   *name = palloc(MAXFNAMELEN);
	ListCell   *lc;

	/* Name the file that open_segment() tries first. */
	foreach(lc, source->history)
	{
		WalredoTimeline *timeline = lfirst(lc);

		if (timeline->begin < timeline->end &&
			walredo_timeline_covers(timeline, segno, source->segsize))
		{
			tli = timeline->tli;
			break;
		}
	}
	XLogFileName(name, tli, segno, source->segsize);
	return name;
}

/*
 * The files of a segment of a timeline: their number, and the index of the
 * first.
 */
static int
listed_files(WalredoSource *source, TimeLineID tli, XLogSegNo segno, int *first)
{
	WalredoListing *listing = source->files->listing;
	uint64		per_id = XLogSegmentsPerXLogId(source->segsize);
	uint32		log = segno / per_id;
	uint32		seg = segno % per_id;
	int			nlisted;
	const WalredoListedFile *listed = walredo_segment_files(listing, &nlisted);
	int			next;

	*first = 0;

	/* A segment number that does not fit is one that nobody has. */
	if (segno / per_id > PG_UINT32_MAX)
		return 0;
	*first = walredo_listing_find(listing, log, seg, tli);
	for (next = *first; next < nlisted && listed[next].log == log &&
		 listed[next].seg == seg && listed[next].tli == tli; next++);
	return next - *first;
}

/*
 * Returns whether a segment of a timeline can hold lsn.  If it does, the
 * timeline's files are those to read it from, unless a newer one has some.
 */
static bool
may_hold(WalredoSource *source, const WalredoTimeline *timeline, XLogRecPtr lsn)
{
	return lsn < timeline->end &&
		walredo_timeline_covers(timeline, lsn / source->segsize,
								source->segsize);
}

/* Sets *id to that of a listed file with the given status. */
static void
identify(WalredoSource *source, const WalredoTimeline *timeline,
		 XLogSegNo segno, const WalredoListedFile *file, const struct stat *st,
		 WalredoSegmentId *id)
{
	id->system_identifier = source->system_identifier;
	id->tli = timeline->tli;
	id->segno = segno;
	id->segsize = source->segsize;
	strlcpy(id->directory,
			source->files->directories[file->directory].absolute, MAXPGPATH);
	walredo_listed_name_in_directory(file, id->name);
	id->size = st->st_size;
	id->mtime = (int64) st->st_mtim.tv_sec * INT64CONST(1000000000) +
		st->st_mtim.tv_nsec;
	id->inode = st->st_ino;
	id->valid_end = timeline->end;
}

/*
 * Takes note of the status of the file that would be opened first for a
 * segment: if it is held, it need not be looked at again in this use.
 */
static void
note_status(WalredoSource *source, XLogSegNo segno, const struct stat *st)
{
	WalredoSourceFiles *files = source->files;

	for (int i = 0; i < WALREDO_MAX_HELD; i++)
	{
		WalredoHeldSegment *held = &files->held[i];

		if (held->file->fd >= 0 && held->segno == segno &&
			held->listing == walredo_listing_number(files->listing) &&
			walredo_is_same_file(st, &held->file->st))
			held->use = files->use;
	}
}

bool
walredo_source_identify(WalredoSource *source, XLogRecPtr lsn, int n,
						WalredoSegmentId *id)
{
	bool		is_first = (n == 0);
	XLogSegNo	segno = lsn / source->segsize;
	int			nlisted;
	const WalredoListedFile *listed =
		walredo_segment_files(source->files->listing, &nlisted);
	ListCell   *lc;

	foreach(lc, source->history)
	{
		WalredoTimeline *timeline = lfirst(lc);
		int			first;
		int			nfiles;

		if (!may_hold(source, timeline, lsn))
			continue;
		nfiles = listed_files(source, timeline->tli, segno, &first);
		for (int i = first; i < first + nfiles; i++)
		{
			char		path[MAXPGPATH];
			struct stat st;

			if (listed[i].kind != WALREDO_FILE_WHOLE)
				continue;
			walredo_listed_path(source->files->listing, &listed[i], path);
			if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || n-- > 0)
				continue;
			if (is_first)
				note_status(source, segno, &st);
			identify(source, timeline, segno, &listed[i], &st, id);
			return true;
		}
	}
	return false;
}

/* ----------------------------------------
 * Opening segments
 * ----------------------------------------
 */

/*
 * Returns whether the source takes a file that could not be opened, for the
 * reason that errno gives, as missing.
 *
 * A scan that goes on to the end of WAL, wherever that is, tolerates files
 * that can never be read.  If it ends at one of them, the reader reports what
 * is wrong with it.  Other reasons, such as a lack of descriptors, say nothing
 * of the file.
 */
static bool
counts_as_missing(WalredoSource *source)
{
	switch (source->tolerance)
	{
		case WALREDO_TOLERATE_NOTHING:
			break;
		case WALREDO_TOLERATE_UNUSABLE:
			if (errno == EISDIR || errno == EACCES || errno == EPERM)
				return true;
			break;
		case WALREDO_TOLERATE_ALL:
			return true;
	}
	return errno == ENOENT;
}

/* Has this file turned out to be damaged when it was decompressed? */
static bool
is_broken(WalredoSource *source, const struct stat *st)
{
	ListCell   *lc;

	foreach(lc, source->files->broken)
	{
		if (walredo_is_same_file(lfirst(lc), st))
			return true;
	}
	return false;
}

/* Takes note that it has. */
static void
set_broken(WalredoSource *source, const struct stat *st)
{
	MemoryContext old_context = MemoryContextSwitchTo(source->files->context);
	struct stat *broken = palloc(sizeof(struct stat));

	*broken = *st;
	source->files->broken = lappend(source->files->broken, broken);
	MemoryContextSwitchTo(old_context);
}

/*
 * Is this a file in pg_wal, under that name?
 */
static bool
is_in_pg_wal(WalredoSource *source, const WalredoListedFile *file)
{
	return source->files->directories[file->directory].is_pg_wal;
}

/*
 * What is known of an open file of a segment.
 *
 * A file in pg_wal is not examined: it is this server's, and if it is not as it
 * should be, the reader says so.
 */
static FileQuality
quality_of(WalredoSource *source, const WalredoListedFile *file,
		   OpenSegment *opened, XLogSegNo segno)
{
	XLogLongPageHeaderData header;
	bool		is_compressed;

	opened->is_whole = false;
	if (is_in_pg_wal(source, file))
	{
		opened->is_whole = file->kind == WALREDO_FILE_WHOLE &&
			opened->st.st_size >= source->segsize;
		return opened->is_whole ? FILE_GOOD : FILE_DUBIOUS;
	}

	if (probe_header(source, opened->fd, &opened->st, &header,
					 &is_compressed) != NULL)
		return FILE_DUBIOUS;
	if (is_foreign(source, &header))
		return FILE_FOREIGN;
	if (is_broken(source, &opened->st) ||
		!is_segment_header(&header) ||
		header.std.xlp_pageaddr != segno * source->segsize ||
		(!is_compressed && opened->st.st_size != source->segsize))
		return FILE_DUBIOUS;

	/* What pg_receivewal has left unfinished is filled up with zeroes. */
	opened->is_whole = (file->kind == WALREDO_FILE_WHOLE);
	return FILE_GOOD;
}

/*
 * Tries to open one of the files of a segment.
 *
 * If wanted is FILE_GOOD, only a whole and good file will do; otherwise, any
 * file of the system that is read.  Returns false if there is none.  *is_stale
 * is set if a file has gone since the directories were listed.
 */
static bool
open_listed(WalredoSource *source, const WalredoTimeline *timeline,
			XLogSegNo segno, FileQuality wanted, OpenPurpose how,
			OpenSegment *opened, bool *is_stale)
{
	WalredoListing *listing = source->files->listing;
	int			nlisted;
	const WalredoListedFile *listed = walredo_segment_files(listing, &nlisted);
	char		path[MAXPGPATH];
	int			first;
	int			nfiles = listed_files(source, timeline->tli, segno, &first);

	for (int i = first; i < first + nfiles; i++)
	{
		FileQuality quality;
		bool		is_there;

		CHECK_FOR_INTERRUPTS();
		if (listed[i].kind == WALREDO_FILE_OTHER ||
			(wanted == FILE_GOOD && listed[i].kind != WALREDO_FILE_WHOLE))
			continue;
		walredo_listed_path(listing, &listed[i], path);
		if (how == OPEN_TO_LOOK)
			is_there = open_or_look(source, path,
									is_in_pg_wal(source, &listed[i]),
									&opened->fd, &opened->st);
		else
		{
			opened->fd = walredo_open_regular_file(path, &opened->st);
			is_there = (opened->fd >= 0);
		}
		if (!is_there)
		{
			*is_stale |= (errno == ENOENT);
			if (wanted == FILE_GOOD || counts_as_missing(source))
				continue;
			walredo_source_report_not_opened(path);
		}

		/* Those that are good have been tried, so take what there is. */
		quality = quality_of(source, &listed[i], opened, segno);
		if (quality <= wanted)
		{
			walredo_listed_name(&listed[i], opened->segment.name);
			opened->segment.has_id = (wanted == FILE_GOOD);
			if (opened->segment.has_id)
				identify(source, timeline, segno, &listed[i], &opened->st,
						 &opened->segment.id);
			return true;
		}
		close_if_open(opened->fd);
	}
	return false;
}

/* Has a segment fetched by walredo.restore_command, and opens it. */
static bool
open_restored(WalredoSource *source, const WalredoTimeline *timeline,
			  XLogSegNo segno, OpenSegment *opened)
{
	char		name[MAXFNAMELEN];
	char		path[MAXPGPATH];
	const char *problem;
	bool		is_other_system;

	XLogFileName(name, timeline->tli, segno, source->segsize);
	if (!walredo_source_restore(source, name, path))
		return false;
	opened->fd = walredo_open_regular_file(path, &opened->st);
	if (opened->fd < 0)
		walredo_source_report_not_opened(path);
	problem = file_problem(source, opened->fd, &opened->st, segno, true,
						   &is_other_system);

	/* An archive can go on after pg_upgrade. */
	if (is_other_system)
	{
		CloseTransientFile(opened->fd);
		return false;
	}
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("walredo.restore_command has restored an invalid WAL segment \"%s\"",
						name),
				 errdetail("There is a file, but it cannot be used: %s.",
						   problem)));
	strlcpy(opened->segment.name, name, WALREDO_SEGMENT_NAME);
	opened->segment.has_id = false;
	opened->is_whole = true;
	return true;
}

/* How often directories are listed again, while files in them are renamed. */
#define MAX_RELISTINGS	10

/*
 * Opens the file of the segment that lsn is in, or returns false if there is no
 * file that holds lsn.
 *
 * Where a segment contains a change of timeline, there can be a file of each
 * timeline.  The newest timeline's is taken, because the server copies to it
 * what is before the change.  If only a parent's file is there, it can be used
 * as far as the parent's timeline goes, which segment.valid_end says.
 *
 * A file that belongs to another system counts as missing.  That is not so in
 * pg_wal, where such a file is an error that the reader finds.
 */
static bool
open_segment(WalredoSource *source, XLogRecPtr lsn, bool may_restore,
			 OpenPurpose how, OpenSegment *opened)
{
	static uint64 last_opening = 0;
	XLogSegNo	segno = lsn / source->segsize;
	bool		is_stale = source->files->has_pg_wal;

	/*
	 * A file that was listed may have been renamed since, as pg_receivewal
	 * does when it is complete, and in pg_wal, there may be one that was not
	 * there yet.  So list the directories again, if they have changed, before
	 * saying that there is none; and again, up to MAX_RELISTINGS times, as
	 * long as a file that was listed has gone.
	 */
	for (int attempt = 0;; attempt++)
	{
		ListCell   *lc;

		foreach(lc, source->history)
		{
			WalredoTimeline *timeline = lfirst(lc);

			if (!may_hold(source, timeline, lsn))
				continue;

			if (open_listed(source, timeline, segno, FILE_GOOD, how, opened,
							&is_stale) ||
				(may_restore &&
				 open_restored(source, timeline, segno, opened)) ||
				open_listed(source, timeline, segno, FILE_DUBIOUS, how,
							opened, &is_stale))
			{
				opened->segment.opening = ++last_opening;
				opened->segment.tli = timeline->tli;
				opened->segment.valid_end = timeline->end;
				opened->segment.problem = NULL;
				return true;
			}
		}
		if (!is_stale || attempt == MAX_RELISTINGS ||
			!walredo_listing_update(source->files->listing))
			break;
		is_stale = false;
	}
	return false;
}

bool
walredo_source_read(WalredoSource *source, XLogRecPtr lsn, char *buf,
					Size length, WalredoSegment *segment, Size *nread)
{
	WalredoSegmentFile *file = source->files->reading;
	uint32		offset = XLogSegmentOffset(lsn, source->segsize);
	OpenSegment opened;
	const char *problem;

	Assert(length <= source->segsize - offset);

	*nread = 0;
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!open_segment(source, lsn, true, OPEN_TO_READ, &opened))
			return false;
		*nread = walredo_segment_file_read(file, opened.fd, &opened.st,
										   source->segsize, offset, buf,
										   length, &problem);
		if (problem == NULL || is_broken(source, &opened.st) ||
			walredo_segment_compression(file) == WALREDO_PLAIN)
			break;

		/* That the file is damaged was not known before: is there another? */
		set_broken(source, &opened.st);
		CloseTransientFile(opened.fd);
	}
	if (problem != NULL && source->tolerance != WALREDO_TOLERATE_ALL &&
		walredo_segment_compression(file) == WALREDO_PLAIN)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read WAL segment \"%s\", offset %zu: %m",
						opened.segment.name, offset + *nread)));
	CloseTransientFile(opened.fd);
	*segment = opened.segment;
	segment->problem = problem;
	return true;
}

/*
 * Is a file that is held the one to read this from?  One that an earlier use of
 * the source has left must still be the file that would be opened.
 */
static bool
is_held_for(WalredoSource *source, WalredoHeldSegment *held, XLogRecPtr lsn)
{
	WalredoSourceFiles *files = source->files;
	const WalredoSegmentId *id = &held->segment.id;
	char		path[MAXPGPATH];
	struct stat st;

	if (held->file->fd < 0 || held->segno != lsn / source->segsize ||
		lsn >= held->segment.valid_end || held->followed != source->tli)
		return false;
	if (held->use == files->use)
		return true;
	if (held->listing != walredo_listing_number(files->listing) ||
		snprintf(path, MAXPGPATH, "%s/%s", id->directory, id->name) >=
		MAXPGPATH ||
		stat(path, &st) != 0 || !walredo_is_same_file(&st, &held->file->st))
		return false;
	held->use = files->use;
	return true;
}

/*
 * Chooses the file to be closed for another one: one that is compressed, as
 * there is only one stream, else the one that was not used for longest.
 */
static WalredoHeldSegment *
choose_held(WalredoSourceFiles *files)
{
	WalredoHeldSegment *oldest = &files->held[0];

	for (int i = 0; i < WALREDO_MAX_HELD; i++)
	{
		WalredoHeldSegment *held = &files->held[i];

		if (held->file->fd >= 0 && !held->is_plain)
			return held;
		if (held->last_hold < oldest->last_hold)
			oldest = held;
	}
	return oldest;
}

bool
walredo_source_hold(WalredoSource *source, XLogRecPtr lsn,
					WalredoSegment *segment)
{
	static uint64 last_hold = 0;
	WalredoSourceFiles *files = source->files;
	WalredoHeldSegment *held = NULL;
	OpenSegment opened;

	for (int i = 0; i < WALREDO_MAX_HELD && held == NULL; i++)
	{
		if (is_held_for(source, &files->held[i], lsn))
			held = &files->held[i];
	}
	if (held == NULL)
	{
		held = choose_held(files);
		walredo_held_file_close(held->file);
		if (!open_segment(source, lsn, true, OPEN_TO_READ, &opened))
			return false;
		walredo_held_file_take(held->file, opened.fd, &opened.st);
		held->segment = opened.segment;
		held->segno = lsn / source->segsize;
		held->followed = source->tli;
		held->listing = walredo_listing_number(files->listing);
		held->use = files->use;
		held->is_checked = false;
		held->is_plain = false;
	}
	held->last_hold = ++last_hold;
	files->last_held = held;
	*segment = held->segment;
	return true;
}

bool *
walredo_source_held_is_checked(WalredoSource *source)
{
	return &source->files->last_held->is_checked;
}

bool
walredo_source_read_held(WalredoSource *source, uint32 offset, char *buf,
						 Size length, Size *nread, const char **problem)
{
	WalredoSegmentFile *file = source->files->reading;
	WalredoHeldSegment *held = source->files->last_held;

	Assert(held->file->fd >= 0);
	Assert(length <= source->segsize - offset);

	if (held->is_plain)
	{
		*nread = walredo_plain_file_read(held->file->fd, source->segsize,
										 offset, buf, length, problem);
		return true;
	}
	*nread = walredo_segment_file_read(file, held->file->fd, &held->file->st,
									   source->segsize, offset, buf, length,
									   problem);
	held->is_plain = (walredo_segment_compression(file) == WALREDO_PLAIN);
	if (*problem == NULL || is_broken(source, &held->file->st) ||
		held->is_plain)
		return true;

	/* That the file is damaged was not known before: is there another? */
	set_broken(source, &held->file->st);
	walredo_held_file_close(held->file);
	return false;
}

bool
walredo_source_has(WalredoSource *source, XLogRecPtr lsn,
				   XLogRecPtr *valid_end)
{
	OpenSegment opened;

	if (!open_segment(source, lsn, true, OPEN_TO_LOOK, &opened))
		return false;
	close_if_open(opened.fd);
	*valid_end = opened.segment.valid_end;
	return true;
}

/* ----------------------------------------
 * Which segments are there
 * ----------------------------------------
 */

/*
 * The index of the first listed file of a segment from this one on, or the
 * number of files.
 */
static int
first_file_from(WalredoSource *source, XLogSegNo segno)
{
	uint64		per_id = XLogSegmentsPerXLogId(source->segsize);
	int			nlisted;

	if (segno / per_id > PG_UINT32_MAX)
	{
		(void) walredo_segment_files(source->files->listing, &nlisted);
		return nlisted;
	}
	return walredo_listing_find(source->files->listing, segno / per_id,
								segno % per_id, 0);
}

XLogSegNo
walredo_source_newest(WalredoSource *source, XLogSegNo before)
{
	const WalredoListedFile *listed;
	int			nlisted;

	/* More may have come since they were listed. */
	(void) walredo_listing_update(source->files->listing);
	listed = walredo_segment_files(source->files->listing, &nlisted);
	for (int i = first_file_from(source, before) - 1; i >= 0; i--)
	{
		XLogSegNo	segno;

		CHECK_FOR_INTERRUPTS();
		if (walredo_source_segno(source, &listed[i], &segno) &&
			segno < before &&
			walredo_source_in_history(source, listed[i].tli, segno) &&
			listed_problem(source, &listed[i], segno, false) == NULL)
			return segno;
	}
	return 0;
}

/* Is there a file of a segment or, if whole is set, of all of the segment? */
static bool
segment_is_there(WalredoSource *source, XLogSegNo segno, bool whole,
				 bool may_restore)
{
	OpenSegment opened;
	XLogRecPtr	lsn = segno * source->segsize;

	/*
	 * Where a segment contains a change of timeline, a parent's file does not
	 * have the last byte.
	 */
	if (whole)
		lsn += source->segsize - 1;
	if (!open_segment(source, lsn, may_restore, OPEN_TO_LOOK, &opened))
		return false;
	close_if_open(opened.fd);
	return !whole || opened.is_whole;
}

bool
walredo_source_has_whole(WalredoSource *source, XLogSegNo segno)
{
	return segment_is_there(source, segno, true, true);
}

/*
 * Returns the oldest segment before a given one that walredo.restore_command
 * has, if it has all segments from there on.
 *
 * Go back in steps of twice the size each time, until a segment is not there,
 * and then find the oldest one by bisection, so that only a few are fetched.
 */
static XLogSegNo
first_restored(WalredoSource *source, XLogSegNo first)
{
	XLogSegNo	missing = 0;	/* is not there, and none before it */
	XLogSegNo	step = 1;

	while (first > missing + 1)
	{
		XLogSegNo	segno = step < first - missing ? first - step :
			missing + (first - missing) / 2;

		CHECK_FOR_INTERRUPTS();
		if (segment_is_there(source, segno, true, true))
		{
			first = segno;
			step *= 2;
		}
		else
		{
			missing = segno;

			/* From now on, halve what is between. */
			step = PG_UINT64_MAX;
		}
	}
	return first;
}

XLogRecPtr
walredo_source_start(WalredoSource *source, XLogRecPtr end_lsn)
{
	bool		can_restore = walredo_restore_is_enabled() &&
		source->tolerance != WALREDO_TOLERATE_ALL;
	WalredoSourceFiles *files = source->files;
	XLogSegNo	last;
	XLogSegNo	first;

	if (end_lsn == PG_UINT64_MAX)
	{
		last = walredo_source_newest(source, PG_UINT64_MAX);

		/* There are files with names of segments, but none can be used. */
		if (last == 0 && source->tolerance != WALREDO_TOLERATE_ALL)
		{
			char		name[WALREDO_SEGMENT_NAME];
			char	   *problem;
			bool		unusable =
				walredo_source_find_unusable(source, 0, PG_UINT64_MAX, false,
											 name, &problem);

			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FILE),
					 errmsg("no usable WAL segments of timeline %u in directory \"%s\"",
							source->tli, source->directory),
					 unusable ?
					 errhint("There is a file \"%s\", but it cannot be used: %s.", name, problem) : 0));
		}
	}
	else
		last = (end_lsn - 1) / source->segsize;

	/*
	 * Go back from segment to segment as long as each is there.  Of the last
	 * one it is enough that it exists.  The others must be whole.  Those that
	 * were whole before in the same listing need not be looked at again.  But
	 * the one before these may have become whole.
	 */
	first = last + 1;
	while (first > 0 &&
		   segment_is_there(source, first - 1, first <= last, false))
	{
		CHECK_FOR_INTERRUPTS();
		first--;
		if (files->gapless_listing == walredo_listing_number(files->listing) &&
			first <= files->gapless_last && first > files->gapless_first)
			first = files->gapless_first;
	}
	if (first <= last)
	{
		files->gapless_first = first;
		files->gapless_last = last;
		files->gapless_listing = walredo_listing_number(files->listing);
	}
	if (can_restore)
		first = first_restored(source, first);

	/* No record begins at 0/0, and to a caller it is no LSN. */
	return Max(Min(first, last) * source->segsize, 1);
}

/*
 * Returns the first file of a segment that is good, or NULL; then *problem says
 * what is wrong with the first of them, whose index first is.  *next is set to
 * the index after the last of them.
 */
static const WalredoListedFile *
good_file(WalredoSource *source, int first, XLogSegNo segno, bool whole,
		  int *next, const char **problem)
{
	int			nlisted;
	const WalredoListedFile *listed =
		walredo_segment_files(source->files->listing, &nlisted);
	const WalredoListedFile *good = NULL;
	int			i;

	for (i = first; i < nlisted && listed[i].log == listed[first].log &&
		 listed[i].seg == listed[first].seg &&
		 listed[i].tli == listed[first].tli; i++)
	{
		const char *its_problem;

		CHECK_FOR_INTERRUPTS();
		if (good != NULL)
			continue;
		its_problem = listed_problem(source, &listed[i], segno, whole);
		if (its_problem == NULL)
			good = &listed[i];
		else if (i == first)
			*problem = its_problem;
	}
	*next = i;
	return good;
}

bool
walredo_source_find_unusable(WalredoSource *source, XLogSegNo first,
							 XLogSegNo last, bool whole, char *name,
							 char **problem)
{
	int			nlisted;
	const WalredoListedFile *listed =
		walredo_segment_files(source->files->listing, &nlisted);
	int			next;

	for (int i = first_file_from(source, first); i < nlisted; i = next)
	{
		XLogSegNo	segno;
		const char *its_problem;

		CHECK_FOR_INTERRUPTS();
		next = i + 1;
		if (!walredo_source_segno(source, &listed[i], &segno))
			continue;
		if (segno > last)
			break;
		if (segno < first ||
			!walredo_source_in_history(source, listed[i].tli, segno))
			continue;
		if (good_file(source, i, segno, whole, &next, &its_problem) != NULL)
			continue;
		walredo_listed_name(&listed[i], name);
		*problem = pstrdup(its_problem);
		return true;
	}
	return false;
}

/* Orders pointers to listed files by timeline, and then as the listing does. */
static int
compare_by_timeline(const void *a, const void *b)
{
	const WalredoListedFile *fa = *(const WalredoListedFile *const *) a;
	const WalredoListedFile *fb = *(const WalredoListedFile *const *) b;

	if (fa->tli != fb->tli)
		return fa->tli < fb->tli ? -1 : 1;
	return fa < fb ? -1 : 1;
}

List *
walredo_source_stretches(WalredoSource *source)
{
	int			nlisted;
	const WalredoListedFile *listed =
		walredo_segment_files(source->files->listing, &nlisted);
	const WalredoListedFile **files;
	List	   *stretches = NIL;
	WalredoStretch *stretch = NULL;
	bool		last_is_whole = false;

	files = MemoryContextAllocHuge(CurrentMemoryContext,
								   Max(nlisted, 1) * sizeof(*files));
	for (int i = 0; i < nlisted; i++)
		files[i] = &listed[i];
	qsort(files, nlisted, sizeof(*files), compare_by_timeline);

	for (int i = 0; i < nlisted; i++)
	{
		int			first = files[i] - listed;
		const char *problem;
		XLogSegNo	segno;
		int			next;
		bool		is_whole;

		CHECK_FOR_INTERRUPTS();

		/* Look at each segment once, with all of its files. */
		if (first > 0 && listed[first - 1].tli == files[i]->tli &&
			listed[first - 1].log == files[i]->log &&
			listed[first - 1].seg == files[i]->seg)
			continue;
		if (!walredo_source_segno(source, files[i], &segno))
			continue;
		is_whole = good_file(source, first, segno, true, &next,
							 &problem) != NULL;
		if (!is_whole &&
			good_file(source, first, segno, false, &next, &problem) == NULL)
			continue;

		/* If the segment before is not whole, WAL ends in it. */
		if (stretch != NULL && stretch->tli == files[i]->tli &&
			stretch->last + 1 == segno && last_is_whole)
			stretch->last = segno;
		else
		{
			stretch = palloc(sizeof(WalredoStretch));
			stretch->tli = files[i]->tli;
			stretch->first = stretch->last = segno;
			stretches = lappend(stretches, stretch);
		}
		last_is_whole = is_whole;
	}
	pfree(files);
	return stretches;
}
