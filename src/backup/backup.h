/*-------------------------------------------------------------------------
 *
 * backup.h
 *	  Pages out of base backups.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/backup/backup.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_BACKUP_H
#define WALREDO_BACKUP_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "nodes/pg_list.h"
#include "record/tag.h"

/* The setting walredo.backup_directory. */
extern char *walredo_backup_directory;

typedef struct WalredoBackupCache WalredoBackupCache;

/*
 * A backup: the files of a database cluster that were copied while the server
 * may have been running.  Callers only read the fields.
 *
 * The files are, in general, newer than start_lsn, and not all from the same
 * moment.  But what was changed in them at or after start_lsn is in WAL from
 * start_lsn on, and the first change of each page comes with an image of it,
 * as the server logs full pages during a backup.  So a copy of a page together
 * with all of WAL from start_lsn on always gives the right page.
 */
typedef struct WalredoBackup
{
	char	   *directory;		/* as in the setting */
	uint64		system_identifier;
	TimeLineID	tli;			/* the timeline that it starts on */
	XLogRecPtr	start_lsn;		/* where WAL is needed from: a checkpoint's
								 * redo LSN */
	XLogRecPtr	end_lsn;		/* no file was copied later, or
								 * InvalidXLogRecPtr if that is not known */
	bool		has_checksums;	/* pages have checksums */

	WalredoBackupCache *cache;	/* private */
} WalredoBackup;

/* What a backup says about a page, or another object. */
typedef enum WalredoBackupStatus
{
	/*
	 * It has an image of the page as it was at start_lsn, or with changes
	 * that are in WAL between start_lsn and the LSN that was given, of which
	 * none is later than the LSN of the image, if it has one.
	 */
	WALREDO_BACKUP_HAS,

	/*
	 * It does not have the page, so that this did not exist at start_lsn.
	 */
	WALREDO_BACKUP_LACKS,

	/* What it has is of no use; problem says why. */
	WALREDO_BACKUP_UNUSABLE
} WalredoBackupStatus;

/*
 * Opens the backups of walredo.backup_directory.  Returns a list of
 * WalredoBackup, in the order of the setting, which is empty if the setting
 * is.  Backups of another major version, which cannot be read, are left out;
 * for each, a sentence that says so is added to the list *skipped, of char *.
 *
 * The result lives in the current memory context, and holds no descriptor.
 * ERROR if a directory is not a plain backup that was made by pg_basebackup or
 * in the same way: 58P01 if a file is missing, 55000 if a server was started
 * on it, 0A000 if it is an incremental backup, XX001 if the contents of a file
 * are not valid.
 */
extern List *walredo_backups_open(List **skipped);

/*
 * Reads an object of any kind but a page of a free space map, which is
 * WALREDO_BACKUP_UNUSABLE.
 *
 * lsn is the LSN up to which WAL will be applied.  What was copied must not be
 * newer than that.  A page with a checksum tells by its LSN.  What has no LSN,
 * and a page without a checksum, which could have been torn while it was
 * copied, can only be used if lsn is not before the backup's end.
 *
 * *image is set for WALREDO_BACKUP_HAS, belongs to the backup, and is valid
 * until the next call.  *problem, a palloc'd sentence, is set for
 * WALREDO_BACKUP_UNUSABLE, which is also the status if the file cannot be
 * opened or read.
 *
 * Blocks that are read in ascending order are read from the file many at a
 * time.
 */
extern WalredoBackupStatus walredo_backup_read(WalredoBackup *backup,
											   const WalredoTag *tag,
											   XLogRecPtr lsn,
											   const bytea **image,
											   char **problem);

/*
 * The number of blocks that a fork of a relation has in the backup; 0 if it is
 * not there.  The tag is of any of its blocks.  If only_used is set, blocks at
 * the end that are all zeroes do not count.
 */
extern uint64 walredo_backup_fork_blocks(WalredoBackup *backup,
										 const WalredoTag *tag,
										 bool only_used);

#endif							/* WALREDO_BACKUP_H */
