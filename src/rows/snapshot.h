/*-------------------------------------------------------------------------
 *
 * snapshot.h
 *	  Which transactions had committed at an LSN, and which tuples a snapshot
 *	  taken there would see.
 *
 * A transaction had committed at an LSN if its commit record ends at or before
 * it.  A snapshot is filled with the records of WAL, in their order, from
 * somewhere before the LSN to the end of WAL.  For transactions whose end is
 * not in this WAL, it asks the server: what has committed, but not in WAL since
 * the LSN, had committed before it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/snapshot.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_SNAPSHOT_H
#define WALREDO_ROWS_SNAPSHOT_H

#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlogdefs.h"
#include "access/xlogrecord.h"
#include "datatype/timestamp.h"

typedef struct WalredoSnapshot WalredoSnapshot;

/* What is known of a transaction, or of a tuple. */
typedef enum WalredoAnswer
{
	WALREDO_NO,
	WALREDO_YES,
	WALREDO_UNKNOWN
} WalredoAnswer;

/*
 * Creates a snapshot as of lsn, in the current memory context.  of_server says
 * that the WAL is of this server, so that pg_xact and pg_multixact of this
 * server can be asked.
 *
 * The server's transactions are looked at here, once.  All WAL that the server
 * has inserted up to the return of this function has to be added, so that it is
 * known which of them have committed after the LSN.
 */
extern WalredoSnapshot *walredo_snapshot_create(XLogRecPtr lsn,
												bool of_server);

/*
 * Takes what a record says.  To be called for every record, in the order of
 * WAL.  end_lsn is its end LSN.  ERROR XX001 if the end of a transaction is
 * broken, and 54000 if what is known takes more than maintenance_work_mem.
 */
extern void walredo_snapshot_add(WalredoSnapshot *snapshot,
								 const XLogRecord *record,
								 XLogRecPtr end_lsn);

/* Had a transaction, or subtransaction, committed at the LSN? */
extern WalredoAnswer walredo_snapshot_committed(WalredoSnapshot *snapshot,
												TransactionId xid);

/*
 * Would a snapshot at the LSN see a tuple?  Mirrors HeapTupleSatisfiesMVCC() in
 * heapam_visibility.c, without the cases of tuples of the own transaction.
 *
 * page_is_later says that the page is not as of the LSN, but as it was at some
 * time later.  Nothing is taken from hint bits that could be wrong at the LSN.
 * The header must have been checked to be in a page as a whole; nothing in it
 * is trusted.
 */
extern WalredoAnswer walredo_snapshot_sees(WalredoSnapshot *snapshot,
										   HeapTupleHeader tuple,
										   bool page_is_later);

/*
 * Can a transaction have deleted a tuple before the LSN, or updated it, and
 * have committed after the LSN, before another one?  If a record that ends
 * there has removed what was dead, such a tuple, which a snapshot at the LSN
 * would see, can be among what is gone.
 *
 * while_read says that the transaction can have done that in records that were
 * added, and not only before these.
 */
extern bool walredo_snapshot_may_have_deleted(WalredoSnapshot *snapshot,
											  bool while_read,
											  XLogRecPtr lsn);

#endif							/* WALREDO_ROWS_SNAPSHOT_H */
