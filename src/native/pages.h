/*-------------------------------------------------------------------------
 *
 * pages.h
 *	  The kinds of pages that native records change, for native.c.
 *
 * Each function applies one record to one page.  native.c has seen to it that
 * the record's kind belongs to the tag's kind and that page has BLCKSZ bytes;
 * page need not be aligned to more than four bytes, being inside a bytea.
 * A function that finds a part of the record that does not lie on the page
 * calls walredo_not_on_page() at once: the page is a private copy, which
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

/*
 * The kinds of records, and the function that applies each.  Several kinds may
 * have one function.  As with the server's rmgrlist.h, whoever uses the list
 * defines NATIVE_KIND: below that makes the declarations, in native.c a table.
 * A kind that is not here changes no page of BLCKSZ bytes.
 */
#define WALREDO_NATIVE_KINDS \
	NATIVE_KIND(WALREDO_CLEAR_VISIBILITY_MAP_FLAGS, \
				walredo_visibilitymap_clear_apply) \
	NATIVE_KIND(WALREDO_TRUNCATE_VISIBILITY_MAP, \
				walredo_visibilitymap_truncate_apply) \
	NATIVE_KIND(WALREDO_CLOG_SET_COMMITTED, walredo_clog_apply) \
	NATIVE_KIND(WALREDO_CLOG_SET_ABORTED, walredo_clog_apply) \
	NATIVE_KIND(WALREDO_CLOG_SET_SUBCOMMITTED, walredo_clog_apply) \
	NATIVE_KIND(WALREDO_MULTIXACT_OFFSET_CREATE, \
				walredo_multixact_offset_apply) \
	NATIVE_KIND(WALREDO_MULTIXACT_MEMBERS_CREATE, \
				walredo_multixact_members_apply) \
	NATIVE_KIND(WALREDO_COMMIT_TS_SET, walredo_commit_ts_apply) \
	NATIVE_KIND(WALREDO_ZERO_PAGE, walredo_zero_page_apply)

#define NATIVE_KIND(kind, apply) \
	extern void apply(const WalredoTag *tag, const WalredoRecord *rec, \
					  char *page);
WALREDO_NATIVE_KINDS
#undef NATIVE_KIND

#endif							/* WALREDO_PAGES_H */
