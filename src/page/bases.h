/*-------------------------------------------------------------------------
 *
 * bases.h
 *	  Backups as the source of base images, for one scan of WAL.
 *
 * Pages that no record starts can be rebuilt from a base image, to which all
 * records since are applied.  For all pages together, that is a backup, and WAL
 * from its start on.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/bases.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_BASES_H
#define WALREDO_PAGE_BASES_H

#include "postgres.h"

#include "backup/backup.h"
#include "record/tag.h"
#include "wal/reader.h"

typedef struct WalredoBases
{
	List	   *backups;		/* WalredoBackup, in the order of the setting */
	List	   *reasons;		/* sentences, of char *: why backups are not
								 * used */
	bool		has_warned;		/* that WAL does not reach back to a backup */

	/*
	 * Set by walredo_bases_begin_reader(): the backup that is used, or NULL;
	 * and the LSN for walredo_rebuild_set_backup(), which is the one as of
	 * which pages are wanted, or, if that is the unknown end of WAL, one at
	 * which they are known to be usable.
	 */
	WalredoBackup *backup;
	XLogRecPtr	lsn;
} WalredoBases;

/*
 * Opens the backups of walredo.backup_directory.  The result, which lives in
 * the current memory context, has no backups if the setting is empty.  Raises
 * the errors of walredo_backups_open().
 */
extern WalredoBases *walredo_bases_open(void);

/*
 * Begins to read WAL up to end_lsn, from the start of the backup on that fits
 * best for pages as of lsn, as by walredo_reader_begin_at().  lsn is not after
 * end_lsn.  If tag is not NULL, only this page, or object, is wanted, and a
 * backup whose copy of it cannot be used is taken only if there is no other.
 *
 * If no backup can be used, the range begins with WALREDO_START_OF_WAL.  If
 * that is because WAL does not reach back to any, a WARNING says so, but only
 * once.
 */
extern WalredoReader *walredo_bases_begin_reader(WalredoBases *bases,
												 const char *directory,
												 const WalredoTag *tag,
												 XLogRecPtr lsn,
												 XLogRecPtr end_lsn);

#endif							/* WALREDO_PAGE_BASES_H */
