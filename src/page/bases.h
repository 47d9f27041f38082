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

	/* Private to bases.c. */
	struct WalredoBaseCandidate *candidates;
	int			ncandidates;

	/*
	 * The backup that was chosen, or NULL; and the LSN for
	 * walredo_rebuild_set_backup(), which is the one as of which pages are
	 * wanted, or, if that is the unknown end of WAL, one at which they are
	 * known to be usable.
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
 * Begins to read WAL up to lsn, as of which many pages are wanted, from the
 * start of the backup on that fits best, as by walredo_reader_begin_at().
 *
 * If no backup can be used, the range begins with WALREDO_START_OF_WAL.  If
 * that is because WAL does not reach back to any, a WARNING says so, but only
 * once.
 */
extern WalredoReader *walredo_bases_begin_reader(WalredoBases *bases,
												 const char *directory,
												 XLogRecPtr lsn);

/*
 * The same for one page, or object, for which WAL is read backwards from lsn:
 *
 * walredo_bases_rank() finds out which backups may have the page as of lsn, and
 * returns false if there are none.  A backup whose copy of the page cannot be
 * used is taken only if there is no other.
 *
 * walredo_bases_reached() returns where the backup starts that fits best, if
 * WAL has been read back to there or further, which is to lsn; else 0/0.  Older
 * WAL is not needed then.
 *
 * walredo_bases_settle() chooses the backup, when the range of the reader
 * begins where no older WAL is needed, or none is there.  none_needed says that
 * WAL has the page.
 *
 * WAL that is read ends at wal_end, so that no backup that starts later is
 * used.
 */
extern bool walredo_bases_rank(WalredoBases *bases, const WalredoTag *tag,
							   XLogRecPtr lsn);
extern XLogRecPtr walredo_bases_reached(WalredoBases *bases,
										WalredoReader *reader,
										XLogRecPtr wal_end, XLogRecPtr lsn);
extern void walredo_bases_settle(WalredoBases *bases, WalredoReader *reader,
								 XLogRecPtr wal_end, XLogRecPtr lsn,
								 bool none_needed);

#endif							/* WALREDO_PAGE_BASES_H */
