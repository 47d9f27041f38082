/*-------------------------------------------------------------------------
 *
 * kept.c
 *	  What repairs have replaced, kept in files.
 *
 * The file of a repair has the name of its ID, with ten digits or more.  It
 * consists of
 *
 *		KeptHeader
 *		the names and the source, each ended by a zero byte
 *		the old contents, and the new ones
 *		KeptNote, if the repair was done
 *
 * A CRC-32C in the header is of all that precedes the note, with itself as
 * zero, and another one in the note is of the note.  The file is written under
 * a temporary name, flushed and renamed, so that a file with the name of an ID
 * is complete but for the note, whatever dies when.  The directory is locked
 * with flock() meanwhile, which the kernel releases when a process dies, so
 * that files with temporary names that are there when it has been locked are
 * what is left of processes that have died, and are removed.
 *
 * The file "last_id" has the ID that was given last, so that an ID is not used
 * again after its file has been removed.  Whoever noted the ID would find
 * another repair by it.  If it is not there, or broken, an ID is one more than
 * the highest one in the directory.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/repair/kept.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands/dbcommands.h"
#include "common/file_perm.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "port/pg_crc32c.h"
#include "repair/kept.h"
#include "storage/fd.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define KEPT_MAGIC			0x77726b31	/* also for the version */
#define KEPT_NOTE_MAGIC		0x77726b6e

/* What follows the ID in the name of a file that is being written. */
#define TEMPORARY_SUFFIX	".tmp"

/* The file with the last ID, as a decimal number. */
#define LAST_ID_PATH		WALREDO_KEPT_DIRECTORY "/last_id"
#define LAST_ID_DIGITS		18

/*
 * The most bytes that a file may have: those of two segment files of an SLRU,
 * which are the largest contents, and more than enough for the rest.
 */
#define MAX_KEPT_SIZE		(2 * 1024 * 1024)

/* How long another process may have the directory locked, in milliseconds. */
#define LOCK_DELAY_MS		10

/* No contents. */
#define NO_CONTENTS			PG_UINT32_MAX

#define NUM_STRINGS			4	/* role, database, relation, source */

typedef struct KeptHeader
{
	uint32		magic;
	pg_crc32c	crc;
	int64		id;
	TimestampTz started_at;
	WalredoTag	tag;
	XLogRecPtr	page_lsn;
	XLogRecPtr	rebuilt_lsn;
	int64		undo_of;
	uint32		strings_size;
	uint32		old_size;		/* or NO_CONTENTS */
	uint32		new_size;
	uint8		was_readable;
	uint8		has_relation;
	uint8		unused[2];
} KeptHeader;

typedef struct KeptNote
{
	uint32		magic;
	pg_crc32c	crc;
	int64		id;
	TimestampTz finished_at;
	XLogRecPtr	image_lsn;
} KeptNote;

/* The path of a repair's file; palloc'd. */
static char *
kept_path(int64 id)
{
	return psprintf("%s/%010lld", WALREDO_KEPT_DIRECTORY, (long long) id);
}

/* The ID in the name of a file, or 0 if it is no such name. */
static int64
id_of_name(const char *name)
{
	char	   *end;
	int64		id;

	if (strspn(name, "0123456789") != strlen(name) || strlen(name) < 10 ||
		strlen(name) > 18)
		return 0;
	id = strtoll(name, &end, 10);
	return id;
}

/* The checksum of a file's contents, without the note. */
static pg_crc32c
crc_of_contents(const char *data, Size size)
{
	KeptHeader	header;
	pg_crc32c	crc;

	memcpy(&header, data, sizeof(header));
	header.crc = 0;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &header, sizeof(header));
	COMP_CRC32C(crc, data + sizeof(header), size - sizeof(header));
	FIN_CRC32C(crc);
	return crc;
}

static pg_crc32c
crc_of_note(const KeptNote *note)
{
	KeptNote	copy = *note;
	pg_crc32c	crc;

	copy.crc = 0;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &copy, sizeof(copy));
	FIN_CRC32C(crc);
	return crc;
}

/* ----------------------------------------
 * The directory
 * ----------------------------------------
 */

/*
 * Returns the IDs in the directory, and removes files with temporary names if
 * remove_temporary is set, for which it has to be locked.
 */
static List *
list_directory(bool remove_temporary)
{
	List	   *ids = NIL;
	DIR		   *dir = AllocateDir(WALREDO_KEPT_DIRECTORY);
	struct dirent *entry;

	if (dir == NULL && errno == ENOENT)
		return NIL;
	while ((entry = ReadDir(dir, WALREDO_KEPT_DIRECTORY)) != NULL)
	{
		const char *suffix = strstr(entry->d_name, TEMPORARY_SUFFIX);
		int64		id = id_of_name(entry->d_name);

		if (id > 0)
		{
			int64	   *copy = palloc(sizeof(int64));

			*copy = id;
			ids = lappend(ids, copy);
		}
		else if (remove_temporary && suffix != NULL &&
				 strcmp(suffix, TEMPORARY_SUFFIX) == 0)
		{
			char	   *path = psprintf("%s/%s", WALREDO_KEPT_DIRECTORY,
										entry->d_name);

			durable_unlink(path, LOG);
			pfree(path);
		}
	}
	FreeDir(dir);
	return ids;
}

static int
compare_ids(const ListCell *a, const ListCell *b)
{
	int64		x = *(int64 *) lfirst(a);
	int64		y = *(int64 *) lfirst(b);

	return (x > y) - (x < y);
}

List *
walredo_kept_ids(void)
{
	List	   *ids = list_directory(false);

	list_sort(ids, compare_ids);
	return ids;
}

/*
 * Makes the directory, if it is not there, and locks it until the descriptor
 * that is returned is closed by CloseTransientFile(), as it is after an error.
 */
static int
lock_directory(void)
{
	int			fd;

	if (MakePGDirectory(WALREDO_KEPT_DIRECTORY) == 0)
		fsync_fname(".", true);
	else if (errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						WALREDO_KEPT_DIRECTORY)));
	fd = OpenTransientFile(WALREDO_KEPT_DIRECTORY, O_RDONLY | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open directory \"%s\": %m",
						WALREDO_KEPT_DIRECTORY)));
	while (flock(fd, LOCK_EX | LOCK_NB) != 0)
	{
		if (errno != EWOULDBLOCK && errno != EINTR)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not lock directory \"%s\": %m",
							WALREDO_KEPT_DIRECTORY)));
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOCK_DELAY_MS * 1000L);
	}
	return fd;
}

/* ----------------------------------------
 * Writing
 * ----------------------------------------
 */

/*
 * Writes data at an offset of a file, and flushes the file.
 */
static void
write_file(const char *path, int flags, const void *data, Size size,
		   off_t offset)
{
	int			fd = OpenTransientFile(path, flags | O_WRONLY | PG_BINARY);
	ssize_t		written;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	errno = 0;
	pgstat_report_wait_start(WAIT_EVENT_DATA_FILE_WRITE);
	written = pg_pwrite(fd, data, size, offset);
	pgstat_report_wait_end();
	if (written != (ssize_t) size)
	{
		/* If nothing says why, there is no space. */
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", path)));
	}
	pgstat_report_wait_start(WAIT_EVENT_DATA_FILE_SYNC);
	if (pg_fsync(fd) != 0)
		ereport(data_sync_elevel(ERROR),
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", path)));
	pgstat_report_wait_end();
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", path)));
}

/*
 * Reads a file of at most MAX_KEPT_SIZE bytes and a note; palloc'd.  Returns
 * NULL if it is not there.
 */
static char *
read_file(const char *path, Size *size)
{
	const Size	max_size = MAX_KEPT_SIZE + sizeof(KeptNote);
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	struct stat st;
	char	   *data;
	ssize_t		nread;

	if (fd < 0 && errno == ENOENT)
		return NULL;
	if (fd < 0 || fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	*size = Min((Size) st.st_size, max_size);
	data = palloc(Max(*size, 1));
	nread = pg_pread(fd, data, *size, 0);
	if (nread < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", path)));
	*size = nread;
	CloseTransientFile(fd);
	return data;
}

/* Returns the ID that was given last, or 0 if that is not known. */
static int64
read_last_id(void)
{
	Size		size;
	char	   *data = read_file(LAST_ID_PATH, &size);
	char		digits[LAST_ID_DIGITS + 1];

	if (data == NULL || size < LAST_ID_DIGITS)
		return 0;
	strlcpy(digits, data, sizeof(digits));
	return strspn(digits, "0123456789") == LAST_ID_DIGITS ?
		strtoll(digits, NULL, 10) : 0;
}

/*
 * Takes note of an ID, flushed to disk.  Who adds a file afterwards flushes the
 * directory.
 */
static void
write_last_id(int64 id)
{
	char	   *data = psprintf("%0*lld\n", LAST_ID_DIGITS, (long long) id);

	write_file(LAST_ID_PATH, O_CREAT, data, strlen(data), 0);
	pfree(data);
}

static void
append_contents(StringInfo buf, const bytea *contents, uint32 *size)
{
	*size = NO_CONTENTS;
	if (contents == NULL)
		return;
	*size = VARSIZE_ANY_EXHDR(contents);
	appendBinaryStringInfo(buf, VARDATA_ANY(contents), *size);
}

/* Makes the contents of a repair's file, without the note. */
static void
serialize(StringInfo buf, const WalredoKept *kept, int64 id)
{
	const char *strings[NUM_STRINGS] = {
		kept->role, kept->database,
		kept->relation != NULL ? kept->relation : "", kept->source
	};
	KeptHeader	header;

	memset(&header, 0, sizeof(header));
	initStringInfo(buf);
	appendBinaryStringInfo(buf, (char *) &header, sizeof(header));
	for (int i = 0; i < NUM_STRINGS; i++)
		appendBinaryStringInfo(buf, strings[i], strlen(strings[i]) + 1);
	header.magic = KEPT_MAGIC;
	header.id = id;
	header.started_at = kept->started_at;
	header.tag = kept->tag;
	header.page_lsn = kept->page_lsn;
	header.rebuilt_lsn = kept->rebuilt_lsn;
	header.undo_of = kept->undo_of;
	header.strings_size = buf->len - sizeof(header);
	header.was_readable = kept->was_readable;
	header.has_relation = (kept->relation != NULL);
	append_contents(buf, kept->old_contents, &header.old_size);
	append_contents(buf, kept->new_contents, &header.new_size);
	memcpy(buf->data, &header, sizeof(header));
	header.crc = crc_of_contents(buf->data, buf->len);
	memcpy(buf->data, &header, sizeof(header));
	if (buf->len > MAX_KEPT_SIZE)
		elog(ERROR, "repair is too large to be kept");
}

void
walredo_kept_begin(WalredoKept *kept, const WalredoTag *tag)
{
	memset(kept, 0, sizeof(*kept));
	kept->started_at = GetCurrentTimestamp();
	kept->role = GetUserNameFromId(GetUserId(), false);
	kept->database = get_database_name(MyDatabaseId);
	if (kept->database == NULL)
		kept->database = "";
	kept->tag = *tag;
}

int64
walredo_kept_add(const WalredoKept *kept)
{
	int			lock = lock_directory();
	List	   *ids = list_directory(true);
	int64		id = read_last_id() + 1;
	StringInfoData buf;
	char	   *path;
	char	   *temporary;
	ListCell   *lc;

	foreach(lc, ids)
		id = Max(id, *(int64 *) lfirst(lc) + 1);
	path = kept_path(id);
	temporary = psprintf("%s%s", path, TEMPORARY_SUFFIX);
	serialize(&buf, kept, id);
	write_last_id(id);
	write_file(temporary, O_CREAT | O_EXCL, buf.data, buf.len, 0);
	durable_rename(temporary, path, ERROR);
	CloseTransientFile(lock);

	list_free_deep(ids);
	pfree(buf.data);
	pfree(temporary);
	pfree(path);
	return id;
}

void
walredo_kept_finish(int64 id, XLogRecPtr image_lsn)
{
	char	   *path = kept_path(id);
	KeptNote	note;
	struct stat st;

	memset(&note, 0, sizeof(note));
	note.magic = KEPT_NOTE_MAGIC;
	note.id = id;
	note.finished_at = GetCurrentTimestamp();
	note.image_lsn = image_lsn;
	note.crc = crc_of_note(&note);
	if (stat(path, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	write_file(path, 0, &note, sizeof(note), st.st_size);
	pfree(path);
}

void
walredo_kept_forget(int64 id)
{
	char	   *path = kept_path(id);

	durable_unlink(path, WARNING);
	pfree(path);
}

/* ----------------------------------------
 * Reading
 * ----------------------------------------
 */

/* Contents of a file, of which *data is what is left; moves it on. */
static bytea *
take_contents(const char **data, uint32 size)
{
	bytea	   *result;

	if (size == NO_CONTENTS)
		return NULL;
	result = palloc(VARHDRSZ + size);
	SET_VARSIZE(result, VARHDRSZ + size);
	memcpy(VARDATA(result), *data, size);
	*data += size;
	return result;
}

/*
 * Splits the contents of a file.  Returns false if they are not those of the
 * repair, which can be so only if the file was changed or damaged.
 */
static bool
deserialize(const char *data, Size size, WalredoKept *kept)
{
	const char *strings[NUM_STRINGS];
	const char *next = data + sizeof(KeptHeader);
	KeptHeader	header;
	KeptNote	note;
	uint64		contents_size;

	if (size < sizeof(KeptHeader))
		return false;
	memcpy(&header, data, sizeof(header));
	contents_size = sizeof(header) + (uint64) header.strings_size;
	if (header.old_size != NO_CONTENTS)
		contents_size += header.old_size;
	if (header.new_size != NO_CONTENTS)
		contents_size += header.new_size;
	if (header.magic != KEPT_MAGIC || header.id != kept->id ||
		contents_size > size ||
		header.crc != crc_of_contents(data, contents_size) ||
		!walredo_tag_is_valid(&header.tag))
		return false;

	for (int i = 0; i < NUM_STRINGS; i++)
	{
		const char *end = data + sizeof(KeptHeader) + header.strings_size;
		const char *zero = memchr(next, '\0', end - next);

		if (zero == NULL)
			return false;
		strings[i] = pstrdup(next);
		next = zero + 1;
	}
	kept->role = strings[0];
	kept->database = strings[1];
	kept->relation = header.has_relation ? strings[2] : NULL;
	kept->source = strings[3];
	kept->started_at = header.started_at;
	kept->tag = header.tag;
	kept->page_lsn = header.page_lsn;
	kept->rebuilt_lsn = header.rebuilt_lsn;
	kept->undo_of = header.undo_of;
	kept->was_readable = (header.was_readable != 0);
	kept->old_contents = take_contents(&next, header.old_size);
	kept->new_contents = take_contents(&next, header.new_size);

	/* A part of a note is what is left if the machine died. */
	if (size - contents_size < sizeof(note))
		return true;
	memcpy(&note, data + contents_size, sizeof(note));
	if (note.magic == KEPT_NOTE_MAGIC && note.id == kept->id &&
		note.crc == crc_of_note(&note))
	{
		kept->is_done = true;
		kept->finished_at = note.finished_at;
		kept->image_lsn = note.image_lsn;
	}
	return true;
}

WalredoKept *
walredo_kept_read(int64 id)
{
	WalredoKept *kept = palloc0(sizeof(WalredoKept));
	char	   *path = kept_path(id);
	Size		size;
	char	   *data = id > 0 ? read_file(path, &size) : NULL;

	if (data == NULL)
		return NULL;
	kept->id = id;
	if (!deserialize(data, size, kept))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" of a repair is broken", path),
				 errdetail("Its length, its checksum or a field in it is wrong."),
				 errhint("Move the file out of the directory.")));
	pfree(data);
	pfree(path);
	return kept;
}
