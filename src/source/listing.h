/*-------------------------------------------------------------------------
 *
 * listing.h
 *	  Which files of WAL are in some directories.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/source/listing.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_LISTING_H
#define WALREDO_LISTING_H

#include "postgres.h"

#include "access/xlogdefs.h"

/*
 * The directories of a list: the path of each as it is opened, and whether it
 * stands for the server's own pg_wal.
 */
typedef struct WalredoDirectory
{
	char	   *path;
	char	   *absolute;		/* the same, not relative to the data
								 * directory */
	bool		is_pg_wal;		/* given as $pg_wal */
} WalredoDirectory;

/*
 * Takes a list of directories apart that are separated by colons, as in
 * dynamic_library_path.  "$pg_wal" stands for the server's own.  Returns their
 * number, which is at least 1, and sets *directories, palloc'd.  ERROR 22023
 * for an empty component, 42622 for a path that is too long.
 */
extern int	walredo_directories_parse(const char *list,
									  WalredoDirectory **directories);

/* What kind of file has a name that begins as that of a segment. */
typedef enum WalredoFileKind
{
	WALREDO_FILE_WHOLE,			/* a segment, compressed or not */
	WALREDO_FILE_PARTIAL,		/* ... that its writer left unfinished */
	WALREDO_FILE_HISTORY,		/* a timeline history file */
	WALREDO_FILE_OTHER			/* something else, such as a copy in progress */
} WalredoFileKind;

/* A file. */
typedef struct WalredoListedFile
{
	/* The numbers in its name; of a history file only the timeline. */
	TimeLineID	tli;
	uint32		log;
	uint32		seg;

	uint16		directory;		/* its index */
	uint8		kind;			/* a WalredoFileKind */
	bool		in_folder;		/* below the directory, in a folder whose name
								 * is the first 16 digits of the file's */
	const char *suffix;			/* what follows the digits of a segment's
								 * name, or all of a history file's */
} WalredoListedFile;

typedef struct WalredoListing WalredoListing;

/*
 * Lists some directories, in the current memory context.  The array must live
 * as long as the listing.  ERROR as for pg_ls_dir() if a directory cannot be
 * read, unless it is quiet.
 */
extern WalredoListing *walredo_listing_create(const WalredoDirectory *dirs,
											  int ndirs, bool quiet);

/* Lists them again. */
extern void walredo_listing_refresh(WalredoListing *listing);

/*
 * The same, unless nothing has changed in any of the directories, which takes a
 * stat() of each, and of each folder.  Returns whether they have been listed
 * again.
 */
extern bool walredo_listing_update(WalredoListing *listing);

/* A number that changes whenever the directories are listed again. */
extern uint64 walredo_listing_number(WalredoListing *listing);

/*
 * The files, ordered by log, seg, and tli, all ascending.  Files of one segment
 * stand in the order in which they should be tried: whole before partial ones,
 * then in the order of the directories.  History files and others come last.
 */
extern const WalredoListedFile *walredo_segment_files(WalredoListing *listing,
													  int *nfiles);

/*
 * The index of the first file whose numbers are not less than these, or the
 * number of files.
 */
extern int	walredo_listing_find(WalredoListing *listing, uint32 log,
								 uint32 seg, TimeLineID tli);

/* The history files, ordered by timeline, and then by directory. */
extern const WalredoListedFile *walredo_history_files(WalredoListing *listing,
													  int *nfiles);

/*
 * The path of a file, and its path within its directory, each in a buffer of
 * MAXPGPATH bytes; and its name, in a buffer of WALREDO_LISTED_NAME bytes.
 */
#define WALREDO_LISTED_NAME		128
extern void walredo_listed_path(WalredoListing *listing,
								const WalredoListedFile *file, char *path);
extern void walredo_listed_name_in_directory(const WalredoListedFile *file,
											 char *name);
extern void walredo_listed_name(const WalredoListedFile *file, char *name);

#endif							/* WALREDO_LISTING_H */
