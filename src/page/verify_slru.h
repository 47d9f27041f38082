/*-------------------------------------------------------------------------
 *
 * verify_slru.h
 *	  Comparing the pages of SLRUs with WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify_slru.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_VERIFY_SLRU_H
#define WALREDO_VERIFY_SLRU_H

#include "postgres.h"

#include "page/verify.h"
#include "record/tag.h"

/* Is given a result.  detail is a sentence, or NULL, and valid in the call. */
typedef void (*WalredoReportSlruPage) (const WalredoTag *tag,
									   WalredoVerifyStatus status,
									   const char *detail, void *arg);

/*
 * A verification of SLRUs.  walredo_slru_begin() reads WAL from its beginning,
 * or that of a backup, to its end.  slrus is a set of WALREDO_KIND_BIT()s, and
 * directory is the WAL directory, or NULL.  It lives in the current memory
 * context until walredo_slru_end().
 */
typedef struct WalredoSlruVerification WalredoSlruVerification;

extern WalredoSlruVerification *walredo_slru_begin(int slrus,
												   const char *directory,
												   WalredoReportSlruPage report,
												   void *arg);
extern void walredo_slru_end(WalredoSlruVerification *verification);

/* Verifies all pages of one of them, and reports them by page number. */
extern void walredo_slru_verify(WalredoSlruVerification *verification,
								WalredoTagKind kind);

/* Reads WAL on, up to the last record that has been inserted. */
extern void walredo_slru_read_on(WalredoSlruVerification *verification);

/*
 * Gets a page as of the end of what has been read of WAL: BLCKSZ bytes.
 * *last_lsn is the end LSN of the last record in it, or 0/0 if it is as it was
 * in the backup.  Returns false if WAL and the backup do not tell what is in
 * the page.
 */
extern bool walredo_slru_rebuilt_page(WalredoSlruVerification *verification,
									  const WalredoTag *tag, char *page,
									  XLogRecPtr *last_lsn);

/* Says why they do not; palloc'd. */
extern char *walredo_slru_why_unknown(WalredoSlruVerification *verification,
									  const WalredoTag *tag);

/* Says what pages are rebuilt from; palloc'd, or constant. */
extern const char *walredo_slru_source(const WalredoSlruVerification *verified);

/*
 * Verifies all pages of some SLRUs, which are given as a set of
 * WALREDO_KIND_BIT()s.  directory is the WAL directory, or NULL.  Results are
 * reported by SLRU and page number.
 *
 * There is a result for each page that is in a file of the server, and one for
 * each page that according to WAL must be in a file, but is not.
 */
extern void walredo_verify_slrus(int slrus, const char *directory,
								 WalredoReportSlruPage report, void *arg);

#endif							/* WALREDO_VERIFY_SLRU_H */
