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
