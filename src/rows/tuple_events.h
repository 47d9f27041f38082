/*-------------------------------------------------------------------------
 *
 * tuple_events.h
 *	  Which row versions a WAL record makes and ends.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/tuple_events.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_TUPLE_EVENTS_H
#define WALREDO_ROWS_TUPLE_EVENTS_H

#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlogdefs.h"
#include "access/xlogrecord.h"
#include "compat.h"

typedef enum WalredoTupleEventKind
{
	WALREDO_TUPLE_MADE,			/* inserted, or the new version of an update */
	WALREDO_TUPLE_ENDED,		/* deleted, or the old version of an update */
	WALREDO_TUPLE_REVOKED		/* a speculative insertion was taken back */
} WalredoTupleEventKind;

/* What a record does to one tuple of a heap, in a main fork. */
typedef struct WalredoTupleEvent
{
	WalredoTupleEventKind kind;
	RelFileLocator locator;
	BlockNumber blkno;
	OffsetNumber offnum;		/* from 1 to MaxHeapTuplesPerPage */
} WalredoTupleEvent;

/* A record has no more events than that. */
#define WALREDO_MAX_TUPLE_EVENTS	Max(MaxHeapTuplesPerPage, 2)

/*
 * Finds out what a record does to tuples, and returns the number of events,
 * which can be 0.  events has room for WALREDO_MAX_TUPLE_EVENTS.  The old
 * version of an update comes before the new one.  The transaction that does it
 * is the one in the record's header, be the tuple's xmax a multixact or not.
 *
 * Nothing in the record is trusted: ERROR XX001 if
 * it contradicts itself.  end_lsn is its end LSN.
 */
extern int	walredo_tuple_events_of(const XLogRecord *record,
									XLogRecPtr end_lsn,
									WalredoTupleEvent *events);

/*
 * Are all tuples that were in the pages that a record names still there after
 * it, with the same values?  False if that is not known.
 */
extern bool walredo_record_keeps_tuples(const XLogRecord *record);

#endif							/* WALREDO_ROWS_TUPLE_EVENTS_H */
