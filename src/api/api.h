/*-------------------------------------------------------------------------
 *
 * api.h
 *	  What SQL functions of several files share: a header private to this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/api.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_API_H
#define WALREDO_API_H

#include "postgres.h"

#include "access/xlogrecord.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "page/verify.h"
#include "progress/progress.h"
#include "record/record.h"
#include "record/tag.h"
#include "utils/expandeddatum.h"
#include "wal/reader.h"

/*
 * In place of PG_FUNCTION_INFO_V1(), for a function that can last, as those
 * that read WAL do: its progress is shown.  What it does is in name_work().
 */
#define WALREDO_LONG_FUNCTION(name, command) \
	PG_FUNCTION_INFO_V1(name); \
	static Datum name##_work(PG_FUNCTION_ARGS); \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		return walredo_progress_call(fcinfo, command, name##_work); \
	}

/* ERROR 42501 unless the caller may read the server's WAL. */
extern void walredo_check_may_read_wal(void);

/*
 * WARNING that WAL before what the reader reads next was removed before it
 * could be read.
 */
extern void walredo_warn_of_gap(WalredoReader *reader);

/*
 * Is a function the one of that name which is at this address in our library,
 * in whatever schema?
 */
extern bool walredo_is_function(Oid funcid, const char *name,
								PGFunction address);

/* A text argument as a C string, or NULL for a null. */
extern char *walredo_getarg_cstring(FunctionCallInfo fcinfo, int argno);

/*
 * ERROR 22023 unless an argument of type bytea has the length of a page.  It
 * is not fetched or decompressed for that.
 */
extern void walredo_check_page_length(FunctionCallInfo fcinfo, int argno,
									  const char *argname);

/* The forks of a relation that WAL has pages of. */
#define WALREDO_NUM_LOGGED_FORKS	3
extern const ForkNumber walredo_logged_forks[WALREDO_NUM_LOGGED_FORKS];

/* All of those of some relations, palloc'd, to be verified whole. */
extern WalredoVerifyFork *walredo_logged_forks_of(const List *relids,
												  int *nforks);

/* ERROR 22023 for a block number that cannot be. */
extern BlockNumber walredo_check_block_number(int64 blkno);

/* ERROR 22004 because an argument that is an array has a null in it. */
extern void walredo_report_null_element(const char *argname);

/*
 * An argument that is an array of relations as a list of their OIDs, each
 * once.  ERROR 22004 if one of them is null.
 */
extern List *walredo_getarg_relations(FunctionCallInfo fcinfo, int argno);

/*
 * ERROR 42P01, 42809 or 0A000 unless a relation is one that can be verified.
 */
extern void walredo_check_verifiable(Oid relid);

/*
 * The OIDs of all relations of the database that have storage, without
 * temporary ones, in ascending order.  WARNING if some cannot be read.
 */
extern List *walredo_all_relations(void);

/* What each WalredoRepairStatus is called. */
extern const char *const walredo_repair_names[];

/*
 * An argument that is the name of an SLRU, or null for all that WAL has records
 * of, as a set of WALREDO_KIND_BIT()s.  ERROR 22023 if there is no such SLRU.
 */
extern int	walredo_getarg_slrus(FunctionCallInfo fcinfo, int argno);

/*
 * The address of a block of a relation, as it is stored now.  Opens the
 * relation.  ERROR 22023 for a block number that cannot be, 42P01, 42809 or
 * 0A000 for a relation that is not there, has no storage, or is temporary.
 */
extern void walredo_tag_of_relation(Oid relid, const char *forkname,
									int64 blkno, WalredoTag *tag);

/* ----------------------------------------
 * Entries: rows of WAL records, out of which columns are extracted
 * ----------------------------------------
 *
 * An entry is a bytea that consists of the LSNs at which a record begins and
 * ends, the record, and possibly more, which is called its tail.
 *
 * It can have an expanded form (see utils/expandeddatum.h), which is the
 * current row of a scan of historyfuncs.c.  This has the same columns, and is
 * valid until the scan returns its next row.
 */
typedef struct WalredoExpandedEntry
{
	ExpandedObjectHeader eoh;
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
	const XLogRecord *record;
} WalredoExpandedEntry;

extern const ExpandedObjectMethods walredo_expanded_entry_methods;

/* The parts of an entry. */
typedef struct WalredoEntry
{
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
	XLogRecord	header;			/* a copy of the record's header */
	const char *record;			/* xl_tot_len bytes, perhaps not aligned */
	const char *tail;
	Size		tail_size;
	WalredoExpandedEntry *expanded; /* NULL if the entry is flat */
} WalredoEntry;

/* What an entry begins with.  The record follows. */
typedef struct WalredoEntryStart
{
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
} WalredoEntryStart;

/* The size that an entry with this record has as a bytea, without a tail. */
static inline Size
walredo_entry_size(const XLogRecord *record)
{
	return VARHDRSZ + sizeof(WalredoEntryStart) + record->xl_tot_len;
}

/*
 * Writes the contents of such an entry to dst, which need not be aligned.
 * Returns where the tail begins.
 */
static inline char *
walredo_put_entry(char *dst, XLogRecPtr start_lsn, XLogRecPtr end_lsn,
				  const XLogRecord *record)
{
	WalredoEntryStart start = {start_lsn, end_lsn};

	memcpy(dst, &start, sizeof(start));
	dst += sizeof(start);
	memcpy(dst, record, record->xl_tot_len);
	return dst + record->xl_tot_len;
}

/*
 * Reads the first argument, which must be an entry.  Anyone can have made it:
 * nothing but its length, and that of its record, has been checked.  ERROR
 * 22023 if these are wrong.
 */
extern void walredo_getarg_entry(FunctionCallInfo fcinfo, WalredoEntry *entry);

/* ERROR 22023: a value is not an entry of a function.  Does not return. */
extern void walredo_not_an_entry(const char *function);

/* The record of an entry, palloc'd, validated by walredo_record_validate(). */
extern WalredoRecord *walredo_entry_record(const WalredoEntry *entry);

#endif							/* WALREDO_API_H */
