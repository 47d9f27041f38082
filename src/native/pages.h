/*-------------------------------------------------------------------------
 *
 * pages.h
 *	  The kinds of pages that native records change, for native.c.
 *
 * Each function applies one record to one page.  native.c has seen to it that
 * the record's kind belongs to the tag's kind and that page has BLCKSZ bytes;
 * page need not be aligned to more than four bytes, being inside a bytea.
 * A function that finds a part of the record that does not lie on the page
 * calls walredo_record_not_on_page() at once: the page is a private copy, which
 * the error throws away.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/native/pages.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGES_H
#define WALREDO_PAGES_H

#include "record/record.h"
#include "record/tag.h"

extern void walredo_clog_apply(const WalredoTag *tag,
							   const WalredoRecord *rec, char *page);
extern void walredo_multixact_offset_apply(const WalredoTag *tag,
										   const WalredoRecord *rec,
										   char *page);
extern void walredo_multixact_members_apply(const WalredoTag *tag,
											const WalredoRecord *rec,
											char *page);
extern void walredo_commit_ts_apply(const WalredoTag *tag,
									const WalredoRecord *rec, char *page);
extern void walredo_visibilitymap_clear_apply(const WalredoTag *tag,
											  const WalredoRecord *rec,
											  char *page);
extern void walredo_visibilitymap_truncate_apply(const WalredoTag *tag,
												 const WalredoRecord *rec,
												 char *page);

#endif							/* WALREDO_PAGES_H */
