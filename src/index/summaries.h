/*-------------------------------------------------------------------------
 *
 * summaries.h
 *	  What the server's own summaries of its WAL say of a page.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/index/summaries.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_INDEX_SUMMARIES_H
#define WALREDO_INDEX_SUMMARIES_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "record/tag.h"
#include "source/source.h"

/*
 * Do the server's summaries of its WAL prove that no record that begins in the
 * segment that lsn is in changes or ends a page?  Then walredo_changes_of()
 * with a WALREDO_FILTER_PAGE of the tag would find nothing in that segment.
 *
 * False means nothing: there may be no summaries, not of all of the segment, or
 * damaged ones; or the page is none of those for which summaries are complete.
 *
 * Nothing about a summary is ever raised as an error.  No more than 2 MB of
 * memory are taken.
 */
extern bool walredo_summaries_rule_out(WalredoSource *source, XLogRecPtr lsn,
									   const WalredoTag *tag);

#endif							/* WALREDO_INDEX_SUMMARIES_H */
