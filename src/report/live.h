/*-------------------------------------------------------------------------
 *
 * live.h
 *	  A page as the server has it now, and whether it is what WAL says.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/live.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_LIVE_H
#define WALREDO_REPORT_LIVE_H

#include "postgres.h"

#include "page/verify.h"
#include "record/tag.h"

typedef struct WalredoLivePage
{
	Oid			relid;			/* the relation that has the page, or 0 */
	const char *relname;		/* its name, with its schema, or NULL */
	int			rmid;			/* whose pages it has, or -1 */

	/*
	 * The page, if has_page is set.  If the server cannot read it, this is
	 * what its file has, and problem says so; else problem says why there is
	 * no page, or is NULL.  All problems are sentences.
	 */
	bool		has_page;
	bool		is_elsewhere;	/* not where it could be read */
	bool		from_file;
	PGAlignedBlock page;
	const char *problem;

	/* What the comparison with WAL says, or why there is none. */
	bool		is_compared;
	bool		has_failed;		/* the comparison raised an error, which
								 * not_compared has */
	WalredoVerifyResult result;
	const char *not_compared;

	MemoryContext context;		/* of all that this points to */
} WalredoLivePage;

/*
 * Reads the page of a tag, and compares it with WAL of a directory and of the
 * server if of_server says that what is in the directory is its own.  known is
 * what was made of the page from the directory, or NULL; WAL that it has is not
 * read once more.  Locks the relation for moments.  Damage is no error.
 */
extern void walredo_live_read(const WalredoTag *tag, const char *directory,
							  bool of_server, const WalredoKnownPage *known,
							  WalredoLivePage *live);

#endif							/* WALREDO_REPORT_LIVE_H */
