/*-------------------------------------------------------------------------
 *
 * report.h
 *	  A page and its history as a document.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/report.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_H
#define WALREDO_REPORT_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "lib/stringinfo.h"
#include "record/tag.h"

/*
 * Appends a document about a page to out: the page that the server has now, if
 * it has it, and whether it is what WAL says; and what the records from
 * start_lsn to end_lsn have made of it.  Arguments are as for
 * walredo_strip_read().
 *
 * What cannot be shown, or is not known, is said in the document.  ERROR only
 * if WAL cannot be read at all, or the range makes no sense.
 */
extern void walredo_report_page(StringInfo out, const WalredoTag *tag,
								XLogRecPtr start_lsn, XLogRecPtr end_lsn,
								const char *directory);

#endif							/* WALREDO_REPORT_H */
