/*-------------------------------------------------------------------------
 *
 * record.h
 *	  One change to one page: the SQL type walredo_record.
 *
 * A record is an end LSN and one of a closed set of changes.  The struct is
 * the type's on-disk form: a varlena with double alignment, so an element of
 * an array of records can be read in place.  Every way into the type (the
 * constructors, text and binary input) goes through
 * walredo_record_validate(), so code that holds a WalredoRecord may rely on
 * what that function promises.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/record.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_RECORD_H
#define WALREDO_RECORD_H

#include "postgres.h"

#include "access/multixact.h"
#include "access/xlogdefs.h"
#include "compat.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "record/tag.h"
#include "storage/block.h"

/* Stored on disk: append only. */
typedef enum WalredoRecordKind
{
	WALREDO_POSTGRES = 0,		/* a whole WAL record */
	WALREDO_CLEAR_VISIBILITY_MAP_FLAGS,
	WALREDO_TRUNCATE_VISIBILITY_MAP,
	WALREDO_CLOG_SET_COMMITTED,
	WALREDO_CLOG_SET_ABORTED,
	WALREDO_CLOG_SET_SUBCOMMITTED,
	WALREDO_MULTIXACT_OFFSET_CREATE,
	WALREDO_MULTIXACT_MEMBERS_CREATE,
	WALREDO_COMMIT_TS_SET,
	WALREDO_ZERO_PAGE,
	WALREDO_REPLACE
} WalredoRecordKind;

#define WALREDO_RECORD_NKINDS	(WALREDO_REPLACE + 1)

/*
 * The longest bodies.  A WAL record, or an object that is contained in one as
 * a whole, can be as long as the server allows (XLogRecordMaxSize); in a row,
 * it is still within the limit of palloc().  The second limit is for all other
 * kinds, which change a few bytes of one page.
 */
#define WALREDO_MAX_RECORD_SIZE	(1020 * 1024 * 1024)
#define WALREDO_MAX_NATIVE_SIZE	(16 * 1024 * 1024)

/*
 * The longest WAL record that is sent to a wal-redo child.  PostgreSQL itself
 * logs longer ones, such as messages and ends of transactions, but those that
 * change a block of a relation are much shorter.
 */
#define WALREDO_MAX_REPLAY_SIZE	(16 * 1024 * 1024)

/*
 * Flag bits, which only WALREDO_POSTGRES can have.  The first is set if
 * whoever made the record has said whether it initializes the page, and the
 * second if it was said to.
 */
#define WALREDO_WILL_INIT_GIVEN	0x01
#define WALREDO_WILL_INIT		0x02

/* As in access/multixact.h, but with fields of known size. */
typedef struct WalredoMultiXactMember
{
	TransactionId xid;
	uint32		status;			/* MultiXactStatus */
} WalredoMultiXactMember;

typedef struct WalredoClearVisibilityMapFlags
{
	BlockNumber new_heap_blkno; /* InvalidBlockNumber if absent */
	BlockNumber old_heap_blkno; /* InvalidBlockNumber if absent */
	uint32		flags;			/* VISIBILITYMAP_* bits to clear */
} WalredoClearVisibilityMapFlags;

/*
 * Where visibilitymap_prepare_truncate() cuts the last page that it keeps:
 * bytes after trunc_byte are cleared, and so are the bits of trunc_byte from
 * bit trunc_offs on.  A heap block has two bits.
 */
typedef struct WalredoTruncateVisibilityMap
{
	uint32		trunc_byte;
	uint32		trunc_offs;
} WalredoTruncateVisibilityMap;

typedef struct WalredoMultiXactOffset
{
	uint64		moff;
	MultiXactId mid;
	uint32		unused;			/* always zero */
} WalredoMultiXactOffset;

typedef struct WalredoMultiXactMembers
{
	uint64		moff;			/* offset of the first member below */
	WalredoMultiXactMember members[FLEXIBLE_ARRAY_MEMBER];
} WalredoMultiXactMembers;

typedef struct WalredoCommitTs
{
	TimestampTz timestamp;
	uint32		origin;			/* ReplOriginId */
	TransactionId xids[FLEXIBLE_ARRAY_MEMBER];
} WalredoCommitTs;

typedef struct WalredoRecord
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	uint8		kind;			/* WalredoRecordKind */
	uint8		flags;			/* WALREDO_WILL_INIT* */
	uint16		unused;			/* always zero */
	XLogRecPtr	lsn;			/* end of the record, as in a page's header */

	/*
	 * Arrays are as long as the varlena says; C allows no flexible array
	 * member directly in a union.
	 */
	union
	{
		char		data[1];	/* POSTGRES, REPLACE */
		WalredoClearVisibilityMapFlags clear_vm;
		WalredoTruncateVisibilityMap truncate_vm;
		TransactionId xids[1];	/* CLOG_* */
		WalredoMultiXactOffset mxact_offset;
		WalredoMultiXactMembers mxact_members;
		WalredoCommitTs commit_ts;
	}			u;
} WalredoRecord;

#define WALREDO_RECORD_HDRSZ	offsetof(WalredoRecord, u)

/* True for all kinds but WALREDO_POSTGRES. */
#define WalredoRecordIsNative(rec)	((rec)->kind != WALREDO_POSTGRES)

/* Bytes of u, and how many entries the arrays in u have. */
#define WalredoRecordBodySize(rec) \
	(VARSIZE(rec) - WALREDO_RECORD_HDRSZ)
#define WalredoRecordNXids(rec) \
	(WalredoRecordBodySize(rec) / sizeof(TransactionId))
#define WalredoRecordNMembers(rec) \
	((WalredoRecordBodySize(rec) - offsetof(WalredoMultiXactMembers, members)) \
	 / sizeof(WalredoMultiXactMember))
#define WalredoRecordNCommitTsXids(rec) \
	((WalredoRecordBodySize(rec) - offsetof(WalredoCommitTs, xids)) \
	 / sizeof(TransactionId))

#define DatumGetWalredoRecordP(X) \
	((WalredoRecord *) PG_DETOAST_DATUM(X))
#define PG_GETARG_WALREDO_RECORD_P(n) \
	DatumGetWalredoRecordP(PG_GETARG_DATUM(n))

/*
 * A zeroed record with room for body_size bytes in u, palloc'd.  ERROR 54000
 * if that is more than its kind may have.
 */
extern WalredoRecord *walredo_record_make(WalredoRecordKind kind,
										  XLogRecPtr lsn, Size body_size);

/*
 * True if native records of that kind make the whole page or object, whatever
 * it was before.  (For a WAL record that depends on the page: see
 * wal/changes.h.)
 */
extern bool walredo_record_starts_page(WalredoRecordKind kind);

/* True if a native record of that kind is one for the page of the tag. */
extern bool walredo_record_fits_page(WalredoRecordKind kind,
									 const WalredoTag *tag);

/*
 * ERROR 22023: something that the record changes, such as a transaction, is not
 * on the page of the tag.  what and number say what.  Does not return.
 */
extern void walredo_not_on_page(const WalredoTag *tag,
								const WalredoRecord *rec,
								const char *what, uint64 number);

/*
 * Checks a record from outside, and ereports what is wrong with it: ERROR
 * 22023 for a change that makes no sense, ERROR XX001 for a WAL record of
 * wrong length or CRC.  After it: the kind is known, the body has exactly the
 * size that the kind and its counts ask for, arrays have at least one entry,
 * numbers are within PostgreSQL's limits, and a WAL record is at least a
 * header, as long as it says, with the right CRC.
 */
extern void walredo_record_validate(const WalredoRecord *rec);

/*
 * ERROR XX001: a WAL record contradicts itself, or what it is about.  problem
 * is a sentence.
 */
pg_noreturn extern void walredo_report_broken_record(XLogRecPtr end_lsn,
													 const char *problem);

/*
 * ERROR 54000 if a WAL record of that size cannot be replayed by a child.
 */
extern void walredo_record_check_replay_size(XLogRecPtr end_lsn, Size size);

/* The kind's name, as in the text form. */
extern const char *walredo_record_kind_name(WalredoRecordKind kind);

/*
 * The text and the binary form; results are palloc'd.  What is read is
 * validated; besides the errors of walredo_record_validate() there is ERROR
 * 22P02 for bad text and 22P03 for a bad binary form, which must be the whole
 * rest of buf.
 */
extern char *walredo_record_to_cstring(const WalredoRecord *rec);
extern WalredoRecord *walredo_record_from_cstring(const char *str);
extern void walredo_record_write(StringInfo buf, const WalredoRecord *rec);
extern WalredoRecord *walredo_record_read(StringInfo buf);

#endif							/* WALREDO_RECORD_H */
