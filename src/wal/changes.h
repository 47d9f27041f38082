/*-------------------------------------------------------------------------
 *
 * changes.h
 *	  From one WAL record to the pages that it changes.
 *
 * A WAL record names some of the pages that its redo changes, as block
 * references, and leaves others to the redo routine: visibility map pages,
 * and the pages of CLOG, multixacts and commit timestamps, which are not
 * blocks of a relation.  Lowering makes them all explicit: one record of the
 * log becomes a list of pairs of a page and what happens to it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/changes.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_CHANGES_H
#define WALREDO_CHANGES_H

#include "postgres.h"

#include "access/xlogrecord.h"
#include "record/record.h"
#include "record/tag.h"
#include "record/xlogrecord.h"

/* What a WAL record does to one page. */
typedef struct WalredoPageRecord
{
	WalredoTag	tag;
	WalredoRecord *record;
} WalredoPageRecord;

typedef struct WalredoLowering WalredoLowering;

/* What lowers one record after the other; in the current memory context. */
extern WalredoLowering *walredo_lowering_create(void);

/*
 * Lowers a record that ends at end_lsn.  Returns the number of pairs, which
 * may be none, and the pairs in *pairs, in the order in which redo makes the
 * changes; one page can be in it several times, and one record belong to
 * several pairs, so nobody may write into it.  They are valid until the next
 * call.
 *
 * only, if not NULL, says which page is wanted, or with whole_fork that all
 * pages of its fork, or of its SLRU, are.  Other pages are left out, and a
 * record that has none of those wanted costs next to nothing.
 *
 * The caller has checked that xl_tot_len bytes are there, at least a header,
 * and that the checksum is right; nothing else is relied on.  ERROR XX001 if
 * the record contradicts itself.
 *
 * Commit timestamps come with every commit: WAL does not tell whether
 * the server that reads it keeps them.
 *
 * What ends pages without naming them is not among the changes: see
 * walredo_file_changes().
 */
extern int	walredo_lower(WalredoLowering *lowering, const XLogRecord *record,
						  XLogRecPtr end_lsn, const WalredoTag *only,
						  bool whole_fork, WalredoPageRecord **pairs);

/*
 * As walredo_lower(), of all pages, but only a part of the result: from pair
 * number first_pair on, counted from 0, until their records have taken max_size
 * bytes.  That is for who does not know the record: one of four bytes a
 * transaction can make three pairs of each.  *more says that more may follow.
 */
extern int	walredo_lower_part(WalredoLowering *lowering,
							   const XLogRecord *record, XLogRecPtr end_lsn,
							   uint64 first_pair, Size max_size,
							   WalredoPageRecord **pairs, bool *more);

/*
 * Can a record change such pages?  Most cannot, and this is cheaper than to
 * lower them, which walredo_lower() does not do without looking here.
 */
extern bool walredo_lower_may_concern(const XLogRecord *record,
									  const WalredoTag *only,
									  bool whole_fork);

/*
 * As walredo_lower(), for a record whose headers have been read, and which is
 * likely to have a page that is wanted.
 */
extern int	walredo_lower_with_headers(WalredoLowering *lowering,
									   const XLogRecord *record,
									   const WalredoRecordHeaders *headers,
									   XLogRecPtr end_lsn,
									   const WalredoTag *only,
									   bool whole_fork,
									   WalredoPageRecord **pairs);

extern void walredo_lowering_free(WalredoLowering *lowering);

/*
 * How what WAL knows of a page can come to an end, other than by a record that
 * makes the page anew.
 */
typedef enum WalredoPageEnd
{
	WALREDO_NOT_ENDED,
	WALREDO_TRUNCATED,			/* the fork, or the SLRU, was truncated */
	WALREDO_FILE_REMOVED,		/* the file, or the two-phase state, is gone */
	WALREDO_FILE_CREATED,		/* a new, empty file has taken its place */
	WALREDO_FILE_COPIED,		/* a copy has, whose pages are not logged */
	WALREDO_UNKNOWN_CHANGE		/* by a resource manager that is not known */
} WalredoPageEnd;

/* Which pages a change of files is about. */
typedef enum WalredoFileScope
{
	WALREDO_SCOPE_OBJECT,		/* the one that the tag names */
	WALREDO_SCOPE_FORK,			/* the tag's fork, from the tag's block on */
	WALREDO_SCOPE_RELATION,		/* all forks of the tag's relation */
	WALREDO_SCOPE_DATABASE,		/* all files of a database in a tablespace */
	WALREDO_SCOPE_TABLESPACE,	/* all files in a tablespace */
	WALREDO_SCOPE_SLRU,			/* segments wholly before the tag's page */
	WALREDO_SCOPE_KIND			/* all pages of the tag's kind */
} WalredoFileScope;

/* What a WAL record does to files, without naming the pages in them. */
typedef struct WalredoFileChange
{
	WalredoPageEnd end;
	WalredoFileScope scope;
	WalredoTag	tag;

	/* Of multixact members: segments only from that of this page on. */
	uint64		first_page;
} WalredoFileChange;

/*
 * Can a record create, truncate, replace or remove files?  Few can, and this
 * is cheap.  The record must be sound.
 */
extern bool walredo_may_change_files(const XLogRecord *record);

/*
 * What a record does to files, in *changes.  Returns how many changes there
 * are; they are valid until the next call.  Requires and raises what
 * walredo_lower() does.
 */
extern int	walredo_file_changes(WalredoLowering *lowering,
								 const XLogRecord *record,
								 const WalredoRecordHeaders *headers,
								 XLogRecPtr end_lsn,
								 WalredoFileChange **changes);

/*
 * The first page, of those in the tag's fork, that a change ends.  For a tag
 * of another kind, the tag's own number or none.  PG_UINT64_MAX if none.
 */
extern uint64 walredo_file_change_from(const WalredoFileChange *change,
									   const WalredoTag *tag);

/* The ERROR that walredo_lower() raises; error is a sentence. */
extern void walredo_report_broken_record(XLogRecPtr end_lsn,
										 const char *error);

#endif							/* WALREDO_CHANGES_H */
