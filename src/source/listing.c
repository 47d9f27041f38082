/*-------------------------------------------------------------------------
 *
 * listing.c
 *	  Which files of WAL are in some directories.
 *
 * A directory is listed as a whole, because the name of a segment's file need
 * not follow from the name of the segment.  These are the layouts:
 *
 *		000000010000000000000001			the server, pg_receivewal, cp
 *		000000010000000000000001.gz			gzip, WAL-G, pg_receivewal
 *		000000010000000000000001.partial	pg_receivewal, a promotion
 *		000000010000000000000001.gz.partial	pg_receivewal --compress
 *		0000000100000000/000000010000000000000001		Barman
 *		0000000100000000/000000010000000000000001-SHA1.gz	pgBackRest
 *
 * Only names are looked at here, and whether something is a regular file is
 * found out when it is opened.  Names are anyone's: those that are not made of
 * the characters that these layouts use are not listed, and so never shown in
 * a message, and a listing takes a few dozen bytes a file.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/listing.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "source/file_state.h"
#include "source/listing.h"
#include "source/source.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#define HEX_DIGITS		"0123456789ABCDEF"

/* The digits of a folder's name, and of a timeline. */
#define FOLDER_DIGITS	16
#define TLI_DIGITS		8

/* The characters of a SHA-1 in pgBackRest's names. */
#define SHA1_DIGITS		40

/* The longest suffix of a segment's name that is listed. */
#define MAX_SUFFIX		(WALREDO_LISTED_NAME - XLOG_FNAME_LEN - 1)

/* A directory or folder that was listed, and its state before it was. */
typedef struct ListedDirectory
{
	char	   *path;
	WalredoFileState state;
} ListedDirectory;

struct WalredoListing
{
	const WalredoDirectory *directories;
	int			ndirectories;
	bool		quiet;
	MemoryContext context;		/* of all that follows */

	WalredoListedFile *files;
	int			nfiles;
	int			nhistories;		/* the last of them are history files */
	Size		max_files;

	List	   *listed;			/* the ListedDirectorys */
	uint64		number;			/* how often they have been listed */
};

/* ----------------------------------------
 * Directories
 * ----------------------------------------
 */

int
walredo_directories_parse(const char *list, WalredoDirectory **directories)
{
	int			n = 0;
	int			max = 1;

	for (const char *c = list; *c != '\0'; c++)
		max += (*c == ':');
	if (max > PG_UINT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many WAL directories")));
	*directories = palloc(max * sizeof(WalredoDirectory));

	for (;;)
	{
		Size		length = strcspn(list, ":");
		WalredoDirectory *directory = &(*directories)[n++];

		if (length == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("zero-length component in list of WAL directories")));

		/* Leave room for a folder and a file name. */
		if (length >= MAXPGPATH - WALREDO_LISTED_NAME - FOLDER_DIGITS - 2)
			ereport(ERROR,
					(errcode(ERRCODE_NAME_TOO_LONG),
					 errmsg("path of the WAL directory is too long")));

		directory->is_pg_wal = (length == strlen(WALREDO_LOCAL_WAL) &&
								strncmp(list, WALREDO_LOCAL_WAL, length) == 0);
		directory->path = directory->is_pg_wal ? pstrdup(XLOGDIR) :
			pnstrdup(list, length);
		canonicalize_path(directory->path);
		directory->absolute = is_absolute_path(directory->path) ?
			directory->path : psprintf("%s/%s", DataDir, directory->path);
		canonicalize_path(directory->absolute);

		if (list[length] == '\0')
			return n;
		list += length + 1;
	}
}

/* ----------------------------------------
 * Names
 * ----------------------------------------
 */

/* Returns whether a name begins with just so many hexadecimal digits. */
static bool
begins_with_digits(const char *name, Size digits)
{
	return strspn(name, HEX_DIGITS) == digits;
}

static uint32
digits_value(const char *digits)
{
	char		number[TLI_DIGITS + 1];

	strlcpy(number, digits, sizeof(number));
	return (uint32) strtoul(number, NULL, 16);
}

/* Returns whether a suffix is that of a compressed file, or is empty. */
static bool
is_compression_suffix(const char *suffix, Size length)
{
	static const char *const suffixes[] = {"", ".gz", ".lz4", ".zst", ".bz2"};

	for (int i = 0; i < lengthof(suffixes); i++)
	{
		if (strlen(suffixes[i]) == length &&
			strncmp(suffix, suffixes[i], length) == 0)
			return true;
	}
	return false;
}

/*
 * What a segment's name with this suffix stands for.  Returns false if the file
 * is of no interest: a backup history file, or one with a name of characters
 * that nobody uses.
 */
static bool
classify_suffix(const char *suffix, WalredoFileKind *kind)
{
	Size		length = strlen(suffix);
	Size		partial = strlen(".partial");
	const char *c;

	if (length > MAX_SUFFIX || strstr(suffix, ".backup") != NULL)
		return false;
	for (c = suffix; *c != '\0'; c++)
	{
		if (*c <= ' ' || *c >= 0x7f)
			return false;
	}

	*kind = WALREDO_FILE_WHOLE;
	if (length > SHA1_DIGITS && suffix[0] == '-' &&
		strspn(suffix + 1, "0123456789abcdef") == SHA1_DIGITS)
	{
		suffix += 1 + SHA1_DIGITS;
		length -= 1 + SHA1_DIGITS;
	}
	if (is_compression_suffix(suffix, length))
		return true;

	if (length >= partial && strcmp(suffix + length - partial, ".partial") == 0)
	{
		*kind = WALREDO_FILE_PARTIAL;
		if (is_compression_suffix(suffix, length - partial))
			return true;
	}
	else if (strncmp(suffix, ".partial", partial) == 0)
	{
		*kind = WALREDO_FILE_PARTIAL;
		if (is_compression_suffix(suffix + partial, length - partial))
			return true;
	}
	*kind = WALREDO_FILE_OTHER;
	return true;
}

/* Returns whether a name is that of a history file, compressed or not. */
static bool
is_history_name(const char *name)
{
	const char *suffix = name + TLI_DIGITS;
	Size		length = strlen(".history");

	return begins_with_digits(name, TLI_DIGITS) &&
		strncmp(suffix, ".history", length) == 0 &&
		is_compression_suffix(suffix + length, strlen(suffix + length));
}

/* ----------------------------------------
 * Reading directories
 * ----------------------------------------
 */

static void
add_file(WalredoListing *listing, const WalredoListedFile *file,
		 const char *suffix)
{
	WalredoListedFile *added;

	if (listing->nfiles == listing->max_files)
	{
		if (listing->max_files > PG_INT32_MAX / 2)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many WAL files")));
		listing->max_files *= 2;
		listing->files = repalloc_huge(listing->files,
									   listing->max_files *
									   sizeof(WalredoListedFile));
	}
	added = &listing->files[listing->nfiles++];
	*added = *file;

	/* Most files of a directory have the same one. */
	if (suffix[0] == '\0')
		added->suffix = "";
	else if (listing->nfiles > 1 &&
			 strcmp(suffix, added[-1].suffix) == 0)
		added->suffix = added[-1].suffix;
	else
		added->suffix = MemoryContextStrdup(listing->context, suffix);
}

/* Adds a file by its name in a directory or folder, if it is of WAL. */
static void
add_name(WalredoListing *listing, int directory, bool in_folder,
		 const char *name)
{
	WalredoListedFile file = {.directory = directory,.in_folder = in_folder};
	WalredoFileKind kind;

	if (!in_folder && is_history_name(name))
	{
		file.kind = WALREDO_FILE_HISTORY;
		file.tli = digits_value(name);
		if (file.tli != 0)
			add_file(listing, &file, name);
		return;
	}
	if (!begins_with_digits(name, XLOG_FNAME_LEN) ||
		!classify_suffix(name + XLOG_FNAME_LEN, &kind))
		return;
	file.kind = kind;
	file.tli = digits_value(name);
	file.log = digits_value(name + TLI_DIGITS);
	file.seg = digits_value(name + 2 * TLI_DIGITS);

	/* 0 is no timeline. */
	if (file.tli != 0)
		add_file(listing, &file, name + XLOG_FNAME_LEN);
}

/* Takes note of a directory that is about to be listed. */
static void
note_directory(WalredoListing *listing, const char *path)
{
	MemoryContext old_context = MemoryContextSwitchTo(listing->context);
	ListedDirectory *listed = palloc(sizeof(ListedDirectory));

	listed->path = pstrdup(path);
	walredo_file_state_get(path, &listed->state);
	listing->listed = lappend(listing->listed, listed);
	MemoryContextSwitchTo(old_context);
}

static void
list_folder(WalredoListing *listing, int directory, const char *folder)
{
	char		path[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;

	snprintf(path, sizeof(path), "%s/%s",
			 listing->directories[directory].path, folder);
	note_directory(listing, path);
	dir = AllocateDir(path);

	/* It may be a file of that name, or have been removed. */
	if (dir == NULL &&
		(errno == ENOTDIR || errno == ENOENT || errno == ELOOP))
		return;
	while ((de = ReadDirExtended(dir, path,
								 listing->quiet ? LOG : ERROR)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (strncmp(de->d_name, folder, FOLDER_DIGITS) == 0)
			add_name(listing, directory, true, de->d_name);
	}
	FreeDir(dir);
}

static void
list_directory(WalredoListing *listing, int directory)
{
	const char *path = listing->directories[directory].path;
	DIR		   *dir;
	struct dirent *de;

	note_directory(listing, path);
	dir = AllocateDir(path);
	if (dir == NULL && listing->quiet)
		return;
	while ((de = ReadDirExtended(dir, path,
								 listing->quiet ? LOG : ERROR)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (begins_with_digits(de->d_name, FOLDER_DIGITS) &&
			de->d_name[FOLDER_DIGITS] == '\0')
			list_folder(listing, directory, de->d_name);
		else
			add_name(listing, directory, false, de->d_name);
	}
	FreeDir(dir);
}

/* Orders files as walredo_segment_files() says. */
static int
compare_files(const void *a, const void *b)
{
	const WalredoListedFile *fa = a;
	const WalredoListedFile *fb = b;

	bool		is_history = (fa->kind == WALREDO_FILE_HISTORY);

	if (is_history != (fb->kind == WALREDO_FILE_HISTORY))
		return is_history ? 1 : -1;
	if (fa->log != fb->log)
		return fa->log < fb->log ? -1 : 1;
	if (fa->seg != fb->seg)
		return fa->seg < fb->seg ? -1 : 1;
	if (fa->tli != fb->tli)
		return fa->tli < fb->tli ? -1 : 1;
	if (fa->kind != fb->kind)
		return fa->kind < fb->kind ? -1 : 1;
	if (fa->directory != fb->directory)
		return fa->directory < fb->directory ? -1 : 1;
	return strcmp(fa->suffix, fb->suffix);
}

void
walredo_listing_refresh(WalredoListing *listing)
{
	MemoryContext old_context;

	MemoryContextReset(listing->context);
	old_context = MemoryContextSwitchTo(listing->context);
	listing->nfiles = 0;
	listing->nhistories = 0;
	listing->listed = NIL;
	listing->number++;
	listing->max_files = 64;
	listing->files = palloc(listing->max_files * sizeof(WalredoListedFile));
	MemoryContextSwitchTo(old_context);

	for (int i = 0; i < listing->ndirectories; i++)
		list_directory(listing, i);
	qsort(listing->files, listing->nfiles, sizeof(WalredoListedFile),
		  compare_files);
	while (listing->nhistories < listing->nfiles &&
		   listing->files[listing->nfiles - 1 -
						  listing->nhistories].kind == WALREDO_FILE_HISTORY)
		listing->nhistories++;
}

bool
walredo_listing_update(WalredoListing *listing)
{
	ListCell   *lc;

	foreach(lc, listing->listed)
	{
		ListedDirectory *listed = lfirst(lc);

		if (!walredo_file_state_holds(listed->path, &listed->state))
		{
			walredo_listing_refresh(listing);
			return true;
		}
	}
	return false;
}

uint64
walredo_listing_number(WalredoListing *listing)
{
	return listing->number;
}

WalredoListing *
walredo_listing_create(const WalredoDirectory *directories, int ndirectories,
					   bool quiet)
{
	WalredoListing *listing = palloc0(sizeof(WalredoListing));

	listing->directories = directories;
	listing->ndirectories = ndirectories;
	listing->quiet = quiet;
	listing->context = AllocSetContextCreate(CurrentMemoryContext,
											 "walredo listing",
											 ALLOCSET_DEFAULT_SIZES);
	walredo_listing_refresh(listing);
	return listing;
}

/* ----------------------------------------
 * What is there
 * ----------------------------------------
 */

const WalredoListedFile *
walredo_segment_files(WalredoListing *listing, int *nfiles)
{
	*nfiles = listing->nfiles - listing->nhistories;
	return listing->files;
}

const WalredoListedFile *
walredo_history_files(WalredoListing *listing, int *nfiles)
{
	*nfiles = listing->nhistories;
	return listing->files + listing->nfiles - listing->nhistories;
}

int
walredo_listing_find(WalredoListing *listing, uint32 log, uint32 seg,
					 TimeLineID tli)
{
	WalredoListedFile wanted = {.tli = tli,.log = log,.seg = seg,.suffix = ""};
	int			low = 0;
	int			high = listing->nfiles - listing->nhistories;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_files(&listing->files[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void
walredo_listed_name(const WalredoListedFile *file, char *name)
{
	if (file->kind == WALREDO_FILE_HISTORY)
		strlcpy(name, file->suffix, WALREDO_LISTED_NAME);
	else
		snprintf(name, WALREDO_LISTED_NAME, "%08X%08X%08X%s", file->tli,
				 file->log, file->seg, file->suffix);
}

void
walredo_listed_name_in_directory(const WalredoListedFile *file, char *name)
{
	char		plain[WALREDO_LISTED_NAME];
	char		folder[FOLDER_DIGITS + 2] = "";

	walredo_listed_name(file, plain);
	if (file->in_folder)
		snprintf(folder, sizeof(folder), "%.*s/", FOLDER_DIGITS, plain);
	snprintf(name, MAXPGPATH, "%s%s", folder, plain);
}

void
walredo_listed_path(WalredoListing *listing, const WalredoListedFile *file,
					char *path)
{
	char		name[MAXPGPATH];

	walredo_listed_name_in_directory(file, name);
	snprintf(path, MAXPGPATH, "%s/%s",
			 listing->directories[file->directory].path, name);
}
