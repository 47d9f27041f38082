/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Where indexes are kept, and how many.
 *
 * The index of a segment file is
 *
 *		pgsql_tmp_walredo_index/DIRECTORY/SEGMENT
 *
 * in the data directory.  DIRECTORY is a hash of the path of the directory that
 * the segment file is in, as 16 hexadecimal digits, and SEGMENT is the name of
 * the segment, without what may follow it in the name of the file.  Two files
 * can have the same place, so the header of an index says which file it is of.
 * pg_basebackup and pg_rewind leave out everything whose name begins with
 * pgsql_tmp.
 *
 * An index is written to a temporary file and renamed, so others see all of it
 * or nothing.  It is not flushed to disk: after a crash of the machine, the
 * checksums of an index tell whether it is whole.
 *
 * There is no lock.  Several sessions may make the same index; then the last
 * one stays.  Each may remove any index at any time, and all have to expect
 * that.  The store has no list of its files, so each session finds out how
 * large it is by looking at all of them, at its first write and then each time
 * it has written a small part of what the store may hold.  Until then, it only
 * knows what it has written itself, so the store can be too large by that part
 * for each session that writes.
 *
 * When the store is too large, the indexes of the oldest WAL are removed first.
 * Within a directory, this is the order of segments.  Between directories, the
 * time of the last change of the segment file decides; an index has the same.
 *
 * Nothing here raises an error, except for lack of memory or of descriptors.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/index/store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog_internal.h"
#include "common/file_perm.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "index/index.h"
#include "index/store.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define STORE_DIRECTORY		"pgsql_tmp_walredo_index"
#define HASH_DIGITS			16

/* What follows the name of an index while it is written, before the PID. */
#define TEMPORARY_SUFFIX	".tmp."

/* The most indexes that a session keeps, and the most memory of them. */
#define MAX_CACHED			64
#define MAX_CACHED_MEMORY	((Size) 8 * 1024 * 1024)

/* The part of the limit that a session writes before it looks at the store. */
#define UNSEEN_PART			64

/* How much is removed when the store is too large: this part of the limit. */
#define SPARE_PART			16

/*
 * The indexes of which it is checked, after each write, whether their segment
 * is still there; and how many are remembered for that at a time.
 */
#define CHECKS_PER_WRITE	4
#define MAX_TO_CHECK		1024

/* The directories of which it is known which indexes were too old. */
#define MAX_REMOVED			16

/* What is known of the size of the store gets old after this many ms. */
#define STORE_KNOWN_MS		60000

/* After a disk was full, nothing is written for this many ms. */
#define FULL_DISK_MS		60000

/* ... and there is no further WARNING for this many ms. */
#define WARNING_MS			600000

int			walredo_index_size = 1024 * 1024;

/*
 * An index that the session has.  The file may have been removed or replaced
 * since.
 */
struct WalredoIndexSegment
{
	WalredoIndexFile *file;		/* NULL if this entry is free */
	MemoryContext context;		/* of the file */
	char		path[MAXPGPATH];
	struct stat st;				/* of the index, when it was opened */
	uint64		last_use;
};

/* An index, or a part of one, in a list of the store. */
typedef struct StoredFile
{
	char		directory[HASH_DIGITS + 1];
	char		name[XLOG_FNAME_LEN + 1];
	int64		bytes;			/* on disk */
	int64		mtime;			/* of the segment file, in ns */
	bool		is_new;			/* it is about to be added */
} StoredFile;

/* The list of all indexes. */
typedef struct StoreList
{
	StoredFile *files;
	Size		nfiles;
	Size		max_files;
	int64		bytes;			/* of all of them */
} StoreList;

/* What this session knows of the store. */
typedef struct StoreState
{
	TimestampTz seen_at;		/* when it was last looked at; 0 if never */
	int64		bytes;			/* that were in it then, and those that this
								 * session has written since */
	int64		unseen;			/* that this session has written since */

	/*
	 * Something was removed to make room, or could not be added.  The array
	 * has the newest such index of each of some directories.
	 */
	bool		is_full;
	StoredFile	removed[MAX_REMOVED];
	int			num_removed;
	int64		oldest;			/* mtime of the oldest WAL that is indexed */

	TimestampTz disk_full_at;	/* 0 if never */
	TimestampTz warned_at;

	/* Indexes whose segments are to be checked. */
	StoredFile *to_check;
	int			num_to_check;
} StoreState;

static WalredoIndexSegment cache[MAX_CACHED];
static uint64 cache_uses = 0;
static StoreState store;

/* ----------------------------------------
 * Paths
 * ----------------------------------------
 */

/* The directory in the store for the indexes of a directory's segments. */
static void
directory_path(const char *directory, char *path)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) directory,
										   strlen(directory), 0);

	snprintf(path, MAXPGPATH, "%s/%08X%08X", STORE_DIRECTORY,
			 (uint32) (hash >> 32), (uint32) hash);
}

static void
index_path(const WalredoSegmentId *id, char *path)
{
	char		directory[MAXPGPATH];
	char		name[MAXFNAMELEN];

	directory_path(id->directory, directory);
	XLogFileName(name, id->tli, id->segno, id->segsize);
	snprintf(path, MAXPGPATH, "%s/%s", directory, name);
}

static int64
mtime_ns(const struct stat *st)
{
	return (int64) st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/*
 * What a file takes on disk.  Some file systems do not know at once how many
 * blocks that will be.
 */
static int64
disk_bytes(const struct stat *st)
{
	return Max((int64) st->st_blocks * 512, (int64) st->st_size);
}

static int64
limit_bytes(void)
{
	return (int64) walredo_index_size * 1024;
}

/* ----------------------------------------
 * Which files can have an index
 * ----------------------------------------
 */

bool
walredo_store_accepts(WalredoSegmentId *id)
{
	XLogRecPtr	segment_end = (id->segno + 1) * id->segsize;

	/* Of this file, only the part before another timeline begins is read. */
	if (id->valid_end < segment_end)
		return false;
	id->valid_end = segment_end;
	return true;
}

bool
walredo_store_identify(WalredoSource *source, XLogRecPtr lsn, int *n,
					   WalredoSegmentId *id)
{
	while (walredo_source_identify(source, lsn, (*n)++, id))
	{
		if (walredo_store_accepts(id))
			return true;
	}
	return false;
}

static bool
is_same_id(const WalredoSegmentId *a, const WalredoSegmentId *b)
{
	return a->segno == b->segno && a->tli == b->tli &&
		a->segsize == b->segsize &&
		a->system_identifier == b->system_identifier &&
		a->size == b->size && a->mtime == b->mtime &&
		a->inode == b->inode && a->valid_end == b->valid_end &&
		strcmp(a->name, b->name) == 0 &&
		strcmp(a->directory, b->directory) == 0;
}

/* ----------------------------------------
 * Indexes that the session keeps
 * ----------------------------------------
 */

/* Forgets an index that the session has. */
static void
forget(WalredoIndexSegment *segment)
{
	if (segment->file == NULL)
		return;
	segment->file = NULL;
	MemoryContextDelete(segment->context);
}

/* Removes an index, and forgets it. */
static void
remove_index(WalredoIndexSegment *segment)
{
	ereport(DEBUG1,
			(errmsg_internal("removing index \"%s\", which is damaged or wrong",
							 segment->path)));
	(void) unlink(segment->path);
	forget(segment);
}

static WalredoIndexSegment *
find_cached(const WalredoSegmentId *id)
{
	for (int i = 0; i < MAX_CACHED; i++)
	{
		if (cache[i].file != NULL &&
			is_same_id(&walredo_index_file_info(cache[i].file)->id, id))
			return &cache[i];
	}
	return NULL;
}

/*
 * Forgets indexes that were not used for longest, so that they do not take too
 * much memory.  Returns a free entry, or NULL if kept, which is not forgotten,
 * is given.
 */
static WalredoIndexSegment *
make_room_in_cache(const WalredoIndexSegment *kept)
{
	for (;;)
	{
		Size		memory = 0;
		WalredoIndexSegment *unused = NULL;
		WalredoIndexSegment *oldest = NULL;

		for (int i = 0; i < MAX_CACHED; i++)
		{
			WalredoIndexSegment *segment = &cache[i];

			if (segment->file == NULL)
			{
				unused = segment;
				continue;
			}
			memory += walredo_index_file_memory(segment->file);
			if (segment != kept &&
				(oldest == NULL || segment->last_use < oldest->last_use))
				oldest = segment;
		}
		if (oldest == NULL ||
			(memory <= MAX_CACHED_MEMORY && (unused != NULL || kept != NULL)))
			return kept != NULL ? NULL : unused;
		forget(oldest);
	}
}

/*
 * Reads the header of an open index.  Returns false if it is not of the segment
 * file, or damaged.
 */
static bool
open_entry(WalredoIndexSegment *segment, int fd, const WalredoSegmentId *id)
{
	MemoryContext context;
	MemoryContext old_context;

	if (fstat(fd, &segment->st) != 0)
		return false;
	context = AllocSetContextCreate(TopMemoryContext, "walredo index",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	segment->file = walredo_index_file_open(fd, id);
	MemoryContextSwitchTo(old_context);
	if (segment->file == NULL)
		MemoryContextDelete(context);
	segment->context = context;
	return segment->file != NULL;
}

/* Returns the index of a segment file, or NULL. */
static WalredoIndexSegment *
open_index(const WalredoSegmentId *id)
{
	WalredoIndexSegment *segment = find_cached(id);
	int			fd;
	bool		is_good;

	if (segment == NULL)
	{
		char		path[MAXPGPATH];

		index_path(id, path);
		fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
		if (fd < 0)
			return NULL;
		segment = make_room_in_cache(NULL);
		strlcpy(segment->path, path, MAXPGPATH);
		is_good = open_entry(segment, fd, id);
		CloseTransientFile(fd);
		if (!is_good)
		{
			ereport(DEBUG1,
					(errmsg_internal("index \"%s\" is damaged, or not of file \"%s\" as it is now",
									 path, id->name)));
			return NULL;
		}
	}
	segment->last_use = ++cache_uses;
	return segment;
}

bool
walredo_index_find(WalredoSource *source, XLogRecPtr lsn,
				   WalredoIndexInfo *info, WalredoIndexSegment **index)
{
	WalredoSegmentId id;
	int			n = 0;

	/* Records are read from the first file, whatever others there are. */
	if (walredo_index_size == 0 ||
		!walredo_store_identify(source, lsn, &n, &id))
		return false;
	*index = open_index(&id);
	if (*index == NULL)
		return false;
	if (info != NULL)
		*info = *walredo_index_file_info((*index)->file);
	return true;
}

/* Looks a page up in an index, or only what ends files of its relation. */
static int
look_up_in(WalredoIndexSegment *index, int fd, const WalredoTag *tag,
		   bool only_ends, WalredoIndexRef **refs)
{
	return only_ends ?
		walredo_index_file_lookup_ends(index->file, fd, tag, refs) :
		walredo_index_file_lookup(index->file, fd, tag, refs);
}

/*
 * Opens an index for what has not been read of it.  The index may have been
 * replaced by another one of the same segment file; what the session knows of
 * it is then read again.  Returns -1 if it has gone, or is not good.
 */
static int
open_again(WalredoIndexSegment *index)
{
	int			fd = OpenTransientFile(index->path, O_RDONLY | PG_BINARY);
	struct stat st;

	if (fd < 0)
	{
		forget(index);
		return -1;
	}
	if (fstat(fd, &st) != 0 ||
		st.st_ino != index->st.st_ino || st.st_size != index->st.st_size ||
		mtime_ns(&st) != mtime_ns(&index->st))
	{
		WalredoSegmentId id = walredo_index_file_info(index->file)->id;

		forget(index);
		if (!open_entry(index, fd, &id))
		{
			CloseTransientFile(fd);
			return -1;
		}
	}
	return fd;
}

/*
 * Implements the lookups.  The file is opened only for what has not been read
 * of it before.
 */
static int
lookup(WalredoIndexSegment *index, const WalredoTag *tag, bool only_ends,
	   WalredoIndexRef **refs)
{
	int			n;

	*refs = NULL;
	if (index->file == NULL)
		return -1;
	n = look_up_in(index, -1, tag, only_ends, refs);
	if (n == WALREDO_INDEX_NOT_READ)
	{
		int			fd = open_again(index);

		if (fd < 0)
			return -1;
		n = look_up_in(index, fd, tag, only_ends, refs);
		CloseTransientFile(fd);
		(void) make_room_in_cache(index);
	}
	if (n < 0)
	{
		remove_index(index);
		return -1;
	}
	return n;
}

int
walredo_index_lookup(WalredoIndexSegment *index, const WalredoTag *tag,
					 WalredoIndexRef **refs)
{
	return lookup(index, tag, false, refs);
}

int
walredo_index_lookup_ends(WalredoIndexSegment *index, const WalredoTag *tag,
						  WalredoIndexRef **refs)
{
	return lookup(index, tag, true, refs);
}

void
walredo_index_distrust(WalredoIndexSegment *index)
{
	if (index->file != NULL)
		remove_index(index);
}

bool
walredo_store_has(const WalredoSegmentId *id, int64 *bytes)
{
	WalredoIndexSegment *segment = open_index(id);
	struct stat st;

	if (segment == NULL)
		return false;
	if (stat(segment->path, &st) != 0)
	{
		forget(segment);
		return false;
	}
	if (bytes != NULL)
		*bytes = disk_bytes(&st);
	return true;
}

/* ----------------------------------------
 * Indexes whose segments have gone
 * ----------------------------------------
 */

/* Is the segment file that an index is of as it was? */
static bool
segment_is_there(const WalredoSegmentId *id)
{
	char		path[MAXPGPATH];
	struct stat st;

	if (snprintf(path, MAXPGPATH, "%s/%s", id->directory, id->name) >=
		MAXPGPATH)
		return false;

	/* A directory that cannot be read now may be readable later. */
	if (stat(path, &st) != 0)
		return errno != ENOENT && errno != ENOTDIR;
	return st.st_size == id->size && st.st_ino == id->inode &&
		mtime_ns(&st) == id->mtime;
}

/* Removes an index if its segment file is gone, or has changed. */
static void
check_index(const char *path)
{
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	WalredoIndexFile *file;
	bool		is_good;

	if (fd < 0)
		return;
	file = walredo_index_file_open(fd, NULL);
	CloseTransientFile(fd);
	is_good = file != NULL &&
		segment_is_there(&walredo_index_file_info(file)->id);
	if (file != NULL)
		walredo_index_file_free(file);
	if (!is_good && unlink(path) == 0)
		ereport(DEBUG1,
				(errmsg_internal("removed index \"%s\", as its segment is not there any more",
								 path)));
}

/* Checks some of the indexes that were noticed when the store was listed. */
static void
check_some(void)
{
	for (int i = 0; i < CHECKS_PER_WRITE && store.num_to_check > 0; i++)
	{
		StoredFile *file = &store.to_check[--store.num_to_check];
		char		path[MAXPGPATH];

		snprintf(path, MAXPGPATH, "%s/%s/%s", STORE_DIRECTORY,
				 file->directory, file->name);
		check_index(path);
	}
}

/* Is this the name of an index? */
static bool
is_index_name(const char *name)
{
	return IsXLogFileName(name);
}

/*
 * Removes what another process has left half written.  The PID of that process
 * is in the name.
 */
static void
remove_temporary(const char *path, const char *name)
{
	const char *suffix = strstr(name, TEMPORARY_SUFFIX);
	int			pid;

	if (suffix == NULL)
		return;
	pid = atoi(suffix + strlen(TEMPORARY_SUFFIX));
	if (pid > 0 && (kill(pid, 0) == 0 || errno != ESRCH))
		return;
	(void) unlink(path);
}

void
walredo_store_clean(const char *directory)
{
	char		path[MAXPGPATH];
	DIR		   *dir;
	struct dirent *entry;

	directory_path(directory, path);
	dir = AllocateDir(path);
	if (dir == NULL)
		return;
	while ((entry = ReadDirExtended(dir, path, DEBUG1)) != NULL)
	{
		char		file[MAXPGPATH * 2];

		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (is_index_name(entry->d_name))
			check_index(file);
		else
			remove_temporary(file, entry->d_name);
	}
	FreeDir(dir);
}

/* ----------------------------------------
 * How large the store is
 * ----------------------------------------
 */

static StoredFile *
list_file(StoreList *list, const char *directory, const char *name,
		  int64 bytes, int64 mtime)
{
	StoredFile *file;

	if (list->nfiles == list->max_files)
	{
		list->max_files = Max(list->max_files * 2, 256);
		list->files = list->files == NULL ?
			palloc(list->max_files * sizeof(StoredFile)) :
			repalloc_huge(list->files, list->max_files * sizeof(StoredFile));
	}
	file = &list->files[list->nfiles++];
	strlcpy(file->directory, directory, sizeof(file->directory));
	strlcpy(file->name, name, sizeof(file->name));
	file->bytes = bytes;
	file->mtime = mtime;
	file->is_new = false;
	list->bytes += bytes;
	return file;
}

/* Lists one directory of the store. */
static void
list_directory(StoreList *list, const char *name)
{
	char		path[MAXPGPATH];
	DIR		   *dir;
	struct dirent *entry;

	snprintf(path, sizeof(path), "%s/%s", STORE_DIRECTORY, name);
	dir = AllocateDir(path);
	if (dir == NULL)
		return;
	while ((entry = ReadDirExtended(dir, path, DEBUG1)) != NULL)
	{
		char		file[MAXPGPATH * 2];
		struct stat st;

		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (is_index_name(entry->d_name))
		{
			if (stat(file, &st) == 0)
				(void) list_file(list, name, entry->d_name, disk_bytes(&st),
								 mtime_ns(&st));
		}
		else
			remove_temporary(file, entry->d_name);
	}
	FreeDir(dir);
}

static void
list_store(StoreList *list)
{
	DIR		   *dir = AllocateDir(STORE_DIRECTORY);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = ReadDirExtended(dir, STORE_DIRECTORY, DEBUG1)) != NULL)
	{
		if (strlen(entry->d_name) == HASH_DIGITS &&
			strspn(entry->d_name, "0123456789ABCDEF") == HASH_DIGITS)
			list_directory(list, entry->d_name);
	}
	FreeDir(dir);
}

/* Orders by directory, and then by segment, the newest one first. */
static int
compare_newest_first(const void *a, const void *b)
{
	const StoredFile *fa = a;
	const StoredFile *fb = b;
	int			result = strcmp(fa->directory, fb->directory);

	/* The timeline comes first in a name, but counts last. */
	if (result == 0)
		result = strcmp(fb->name + 8, fa->name + 8);
	if (result == 0)
		result = strcmp(fb->name, fa->name);
	return result;
}

/* Orders by age, the oldest one first, and then by segment. */
static int
compare_oldest_first(const void *a, const void *b)
{
	const StoredFile *fa = a;
	const StoredFile *fb = b;

	if (fa->mtime != fb->mtime)
		return fa->mtime < fb->mtime ? -1 : 1;
	return compare_newest_first(b, a);
}

/* Puts the list into the order in which indexes are to be removed. */
static void
sort_by_age(StoreList *list)
{
	qsort(list->files, list->nfiles, sizeof(StoredFile), compare_newest_first);

	/*
	 * A segment's file may have been changed, or copied, later than those of
	 * newer segments in its directory.  It is still older.
	 */
	for (Size i = 1; i < list->nfiles; i++)
	{
		StoredFile *file = &list->files[i];

		if (strcmp(file->directory, file[-1].directory) == 0)
			file->mtime = Min(file->mtime, file[-1].mtime);
	}
	qsort(list->files, list->nfiles, sizeof(StoredFile), compare_oldest_first);
}

/*
 * Takes note of some of the listed indexes, whose segments are to be checked
 * later; other ones each time.
 */
static void
choose_to_check(const StoreList *list, Size first)
{
	Size		nfiles = list->nfiles - first;
	Size		start;

	store.num_to_check = 0;
	if (nfiles == 0)
		return;
	if (store.to_check == NULL)
		store.to_check = MemoryContextAlloc(TopMemoryContext,
											MAX_TO_CHECK * sizeof(StoredFile));
	start = pg_prng_uint64_range(&pg_global_prng_state, 0, nfiles - 1);
	while (store.num_to_check < Min(nfiles, MAX_TO_CHECK))
		store.to_check[store.num_to_check++] =
			list->files[first + start++ % nfiles];
}

/* The names of an index's directory in the store, and of the index there. */
static void
name_of(const WalredoSegmentId *id, StoredFile *file)
{
	char		path[MAXPGPATH];

	memset(file, 0, sizeof(*file));
	index_path(id, path);
	strlcpy(file->directory, path + strlen(STORE_DIRECTORY) + 1,
			sizeof(file->directory));
	strlcpy(file->name, path + strlen(STORE_DIRECTORY) + HASH_DIGITS + 2,
			sizeof(file->name));
}

/* The newest index of a directory that was too old for the store, or NULL. */
static StoredFile *
find_removed(const char *directory)
{
	for (int i = 0; i < store.num_removed; i++)
	{
		if (strcmp(store.removed[i].directory, directory) == 0)
			return &store.removed[i];
	}
	return NULL;
}

/* Takes note of an index that was too old for the store. */
static void
note_removed(const StoredFile *file)
{
	StoredFile *noted = find_removed(file->directory);

	if (noted == NULL && store.num_removed < MAX_REMOVED)
		store.removed[store.num_removed++] = *file;
	else if (noted != NULL && compare_newest_first(file, noted) < 0)
		*noted = *file;
}

/*
 * Looks at the whole store, to which an index of some bytes is to be added.  If
 * the store would be too large then, removes the oldest indexes.  Returns
 * whether the new one is to be added, and not itself the oldest.
 */
static bool
look_at_store(const WalredoSegmentId *id, int64 bytes)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo index store",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	StoreList	list = {0};
	StoredFile	added;
	int64		limit = limit_bytes();
	int64		target = limit;
	Size		first = 0;
	bool		is_added = true;

	list_store(&list);
	name_of(id, &added);
	list_file(&list, added.directory, added.name, bytes, id->mtime)->is_new =
		true;
	sort_by_age(&list);

	/* So that not each index that is added needs another look at all. */
	store.num_removed = 0;
	store.is_full = list.bytes > limit;
	if (store.is_full)
		target = limit - limit / SPARE_PART;
	while (list.bytes > target && first < list.nfiles)
	{
		StoredFile *file = &list.files[first++];
		char		path[MAXPGPATH];

		/* What is there already need not make room then. */
		if (file->is_new)
		{
			is_added = false;
			target = limit;
		}
		else
		{
			snprintf(path, MAXPGPATH, "%s/%s/%s", STORE_DIRECTORY,
					 file->directory, file->name);
			if (unlink(path) != 0 && errno != ENOENT)
				continue;
			ereport(DEBUG1,
					(errmsg_internal("removed index \"%s\", as indexes take more than walredo.index_size",
									 path)));
		}
		list.bytes -= file->bytes;
		note_removed(file);
	}
	store.seen_at = GetCurrentTimestamp();
	store.bytes = list.bytes - (is_added ? bytes : 0);
	store.unseen = 0;
	store.oldest = first < list.nfiles ? list.files[first].mtime : 0;
	choose_to_check(&list, first);

	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	return is_added;
}

/*
 * Makes room for the index of a segment file, of some bytes.  Returns false if
 * it is not to be added.
 */
static bool
make_room(const WalredoSegmentId *id, int64 bytes)
{
	int64		limit = limit_bytes();

	/* Do not remove everything else for it, and then have no room to spare. */
	if (bytes > limit - limit / SPARE_PART)
		return false;
	if (store.seen_at == 0 || store.bytes + bytes > limit ||
		store.unseen + bytes > limit / UNSEEN_PART)
		return look_at_store(id, bytes);
	return true;
}

bool
walredo_store_wants(const WalredoSegmentId *id)
{
	TimestampTz now = GetCurrentTimestamp();
	StoredFile	file;
	StoredFile *removed;

	if (walredo_index_size == 0)
		return false;
	if (store.disk_full_at != 0 &&
		!TimestampDifferenceExceeds(store.disk_full_at, now, FULL_DISK_MS))
		return false;

	/* A full store is looked at again: it may not be full any more. */
	if (store.is_full &&
		TimestampDifferenceExceeds(store.seen_at, now, STORE_KNOWN_MS))
		store.is_full = false;
	if (!store.is_full)
		return true;
	name_of(id, &file);
	removed = find_removed(file.directory);
	if (removed != NULL)
		return compare_newest_first(&file, removed) < 0;
	return id->mtime >= store.oldest;
}

/* ----------------------------------------
 * Writing
 * ----------------------------------------
 */

/* Reports that an index could not be written, for the reason in errno. */
static void
report_not_written(const WalredoSegmentId *id)
{
	bool		is_full = (errno == ENOSPC || errno == EDQUOT);
	TimestampTz now;

	if (!is_full)
	{
		ereport(DEBUG1,
				(errcode_for_file_access(),
				 errmsg_internal("could not write index of WAL segment \"%s\": %m",
								 id->name)));
		return;
	}

	now = GetCurrentTimestamp();
	store.disk_full_at = now;
	if (store.warned_at != 0 &&
		!TimestampDifferenceExceeds(store.warned_at, now, WARNING_MS))
		return;
	store.warned_at = now;
	errno = ENOSPC;
	ereport(WARNING,
			(errcode(ERRCODE_DISK_FULL),
			 errmsg("could not write index of WAL segment \"%s\": %m",
					id->name),
			 errhint("Indexes only make walredo faster. To use less disk space for them, reduce walredo.index_size; all of them can be deleted with the directory \"%s\" in the data directory.",
					 STORE_DIRECTORY)));
}

/* Creates the temporary file, and the directories for it.  -1 with errno. */
static int
create_temporary(const WalredoSegmentId *id, const char *path)
{
	const int	flags = O_RDWR | O_CREAT | O_TRUNC | PG_BINARY;
	char		directory[MAXPGPATH];
	int			fd = OpenTransientFile(path, flags);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	directory_path(id->directory, directory);
	if ((MakePGDirectory(STORE_DIRECTORY) != 0 && errno != EEXIST) ||
		(MakePGDirectory(directory) != 0 && errno != EEXIST))
		return -1;
	return OpenTransientFile(path, flags);
}

/*
 * Writes an index to a new file, and gets what it takes on disk.  Returns false
 * if that is not possible, with errno, or 0 if there is nothing to be written.
 */
static bool
write_temporary(WalredoIndexBuilder *builder, WalredoIndexInfo *info, int fd,
				int64 *bytes)
{
	struct stat st;
	struct timespec times[2];

	if (!walredo_index_builder_finish(builder, info, fd))
		return false;

	/* The order in which indexes are removed depends on this, see above. */
	times[0].tv_sec = 0;
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_sec = info->id.mtime / 1000000000;
	times[1].tv_nsec = info->id.mtime % 1000000000;
	if (times[1].tv_nsec < 0)
	{
		times[1].tv_sec--;
		times[1].tv_nsec += 1000000000;
	}
	if (futimens(fd, times) != 0 || fstat(fd, &st) != 0)
		return false;
	*bytes = disk_bytes(&st);
	return true;
}

bool
walredo_store_write(WalredoIndexBuilder *builder, WalredoIndexInfo *info)
{
	char		path[MAXPGPATH];
	char		temporary[MAXPGPATH * 2];
	int64		bytes = 0;
	int			fd;
	bool		is_written;

	index_path(&info->id, path);
	snprintf(temporary, sizeof(temporary), "%s%s%d", path, TEMPORARY_SUFFIX,
			 MyProcPid);
	fd = create_temporary(&info->id, temporary);
	if (fd < 0)
	{
		report_not_written(&info->id);
		return false;
	}
	is_written = write_temporary(builder, info, fd, &bytes);
	if (!is_written && errno != 0)
		report_not_written(&info->id);
	if (CloseTransientFile(fd) != 0 && is_written)
	{
		report_not_written(&info->id);
		is_written = false;
	}
	if (is_written && make_room(&info->id, bytes))
	{
		if (rename(temporary, path) == 0)
		{
			store.bytes += bytes;
			store.unseen += bytes;
			check_some();
			return true;
		}
		report_not_written(&info->id);
	}
	(void) unlink(temporary);
	return false;
}
