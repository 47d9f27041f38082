/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  Comparing the pages of relations with WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_VERIFY_H
#define WALREDO_VERIFY_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "catalog/pg_control.h"
#include "common/relpath.h"
#include "page/rebuild.h"
#include "record/tag.h"
#include "storage/block.h"
#include "wal/reader.h"

typedef enum WalredoVerifyStatus
{
	WALREDO_VERIFY_OK,
	WALREDO_VERIFY_MISMATCH,
	WALREDO_VERIFY_UNVERIFIABLE,
	WALREDO_VERIFY_UNLOGGED
} WalredoVerifyStatus;

/* A fork to be verified, or one block of it. */
typedef struct WalredoVerifyFork
{
	Oid			relid;
	ForkNumber	forknum;
	BlockNumber blkno;			/* InvalidBlockNumber: all blocks */
} WalredoVerifyFork;

/*
 * A page that the caller has made already: a rebuild has its image as of
 * end_lsn, where a record of the server's WAL ends.
 */
typedef struct WalredoKnownPage
{
	WalredoTag	tag;
	WalredoRebuild *rebuild;
	XLogRecPtr	end_lsn;
} WalredoKnownPage;

/* How forks are verified.  All zeroes is the default. */
typedef struct WalredoVerifyOptions
{
	/* As for walredo_reader_begin(); the server's own WAL is added. */
	const char *directory;

	/*
	 * If it is not InvalidXLogRecPtr, WAL is read from here on, and only the
	 * blocks that it names are verified.  If this is the redo point of a
	 * checkpoint, and full_page_writes was on since, WAL has an image of the
	 * page of nearly every block that it names.  Backups are not used.  ERROR
	 * 58P01 if WAL has been removed since.  No effect on single blocks.
	 */
	XLogRecPtr	since;

	/*
	 * Pages that are clean in shared buffers are also read from their files,
	 * which must have the same.
	 */
	bool		from_disk;

	/*
	 * Or NULL.  WAL before its end_lsn is not read once more for this block,
	 * if it is verified alone, and start_lsn of its result does not tell of
	 * that WAL.
	 */
	const WalredoKnownPage *known;
} WalredoVerifyOptions;

/* What is wrong with a block, or a fork, that is a mismatch. */
typedef enum WalredoDamage
{
	WALREDO_DAMAGE_CONTENTS,	/* the page is another one than WAL makes */
	WALREDO_DAMAGE_LOST_WRITE,	/* ... and older */
	WALREDO_DAMAGE_ZEROED,		/* ... and all zeroes */
	WALREDO_DAMAGE_LSN,			/* ... and its LSN past the end of WAL */
	WALREDO_DAMAGE_MISSING,		/* there is no such block, or no file */
	WALREDO_DAMAGE_UNREADABLE,	/* the server cannot read it */
	WALREDO_DAMAGE_DISK			/* the file has another page than shared
								 * buffers */
} WalredoDamage;

/* The result for a block, or for a fork as a whole. */
typedef struct WalredoVerifyResult
{
	Oid			relid;
	ForkNumber	forknum;
	BlockNumber blkno;			/* InvalidBlockNumber: the fork as a whole */
	XLogRecPtr	page_lsn;		/* LSN of the server's page, or
								 * InvalidXLogRecPtr if it was not read */
	WalredoVerifyStatus status;
	WalredoDamage damage;		/* of a WALREDO_VERIFY_MISMATCH */
	const char *detail;			/* a sentence, or NULL */

	/*
	 * If only this block is verified: the end LSN of the record from which on
	 * the page was rebuilt, because it starts the page.  That can be an image
	 * which the server has logged with the first change after a checkpoint,
	 * and which has all damage that the page had then.  InvalidXLogRecPtr if
	 * there is no such record, or if it does nothing but log a page, which is
	 * how pages that were made anew are logged, or repaired.
	 */
	XLogRecPtr	start_lsn;
} WalredoVerifyResult;

/* The functions to which results are passed. */
typedef struct WalredoVerifySink
{
	/* Is given a result, which is valid only during the call. */
	void		(*report) (const WalredoVerifyResult *result, void *arg);

	/*
	 * Is called after some results of a fork.  If keep is true, the results
	 * that were reported since the last such call are final.  Otherwise they
	 * must be discarded, because the relation has got another file in
	 * between, and all blocks of the fork will be reported again.
	 */
	void		(*end_fork) (bool keep, void *arg);

	void	   *arg;
} WalredoVerifySink;

/*
 * Verifies every block of some forks, and reports the results to sink, in
 * block order.  A fork must not be in the array twice, and the forks of a
 * relation must follow each other.  Each block is reported once, not counting
 * results that the sink was told to discard; but a block that was truncated
 * away meanwhile is not reported.  WAL is read once for all forks, as a rule:
 * see verify.c.
 *
 * With the option since, only blocks that WAL names are reported, and forks as
 * a whole.  All of WAL since then is read once for all forks.
 *
 * An element of the array can also be a single block.  Then WAL is read
 * backwards, only for this block, and no further than its page needs.  If the
 * fork does not have the block, and need not have it according to WAL, nothing
 * is reported.  Several blocks of a fork can be in the array.
 *
 * WAL comes from the directory of the options, and then, as the server's pages
 * are as of now, from the server's own WAL.
 *
 * A relation that was dropped is left out.  A fork that cannot be read because
 * its files or catalogs are damaged is reported as a whole, and the other forks
 * are verified nevertheless.  Relations are locked one at a time, each for a
 * moment.  They must have storage, and must not be temporary.
 */
extern void walredo_verify_forks(const WalredoVerifyFork *forks, int nforks,
								 const WalredoVerifyOptions *options,
								 const WalredoVerifySink *sink);

/* The server's control file, palloc'd.  ERROR XX001 if it is damaged. */
extern ControlFileData *walredo_read_control_file(void);

/*
 * Returns the redo point of the last complete checkpoint, or restartpoint: the
 * server has written all changes of pages before it.
 */
extern XLogRecPtr walredo_last_redo_lsn(void);

/*
 * ERROR 55000 unless a reader reads the WAL that the server writes, or replays,
 * as the server's pages cannot be compared with any other.
 */
extern void walredo_verify_check_reader(WalredoReader *reader);

#endif							/* WALREDO_VERIFY_H */
