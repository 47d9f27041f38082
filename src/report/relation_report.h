/*-------------------------------------------------------------------------
 *
 * relation_report.h
 *	  Reports about a relation: maps of its blocks.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/relation_report.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_RELATION_REPORT_H
#define WALREDO_REPORT_RELATION_REPORT_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "common/relpath.h"
#include "lib/stringinfo.h"

/*
 * Appends an HTML document, as html.h describes it, about a fork of a relation:
 * maps of its blocks, which show their status, when each was changed last, and
 * how much WAL in a range is about it, and tables of those that matter most.
 * The range, directory and errors are those of walredo_collect_relation().
 *
 * However large the relation is, the document is smaller than 2 MB: a cell of a
 * map stands for several blocks if there are many.
 */
extern void walredo_report_relation(StringInfo out, Oid relid,
									ForkNumber forknum, XLogRecPtr start_lsn,
									XLogRecPtr end_lsn, const char *directory);

#endif							/* WALREDO_REPORT_RELATION_REPORT_H */
