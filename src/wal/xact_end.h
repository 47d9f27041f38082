/*-------------------------------------------------------------------------
 *
 * xact_end.h
 *	  What the record of a transaction's end says.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/xact_end.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_XACT_END_H
#define WALREDO_XACT_END_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "access/xlogrecord.h"
#include "datatype/timestamp.h"

/* The contents of a commit or abort record.  The arrays are not aligned. */
typedef struct XactEnd
{
	bool		is_commit;
	bool		was_prepared;
	TimestampTz xact_time;		/* when it ended */
	TimestampTz timestamp;		/* the same, but for a replicated transaction
								 * when it ended where it came from */
	int			nsubxacts;
	const char *subxacts;		/* TransactionIds */
	int			nrelations;
	const char *relations;		/* RelFileLocators */
	bool		has_prepared_xid;
	TransactionId prepared_xid; /* 0 if there is none */
} XactEnd;

/*
 * Reads the record of a transaction's end.  end_lsn is its end LSN.  Returns
 * false if the record is of another type.  The arrays are in the record.
 * ERROR XX001 if it is broken.
 */
extern bool walredo_record_xact_end(const XLogRecord *record,
									XLogRecPtr end_lsn, XactEnd *end);

/*
 * The transactions that such a record ends: number 0 is the top-level one, and
 * numbers 1 to nsubxacts are its subtransactions.
 */
static inline TransactionId
walredo_xact_end_xid(const XactEnd *end, const XLogRecord *record, int i)
{
	TransactionId xid = end->was_prepared ? end->prepared_xid : record->xl_xid;

	if (i > 0)
		memcpy(&xid, end->subxacts + (i - 1) * sizeof(xid), sizeof(xid));
	return xid;
}

#endif							/* WALREDO_XACT_END_H */
