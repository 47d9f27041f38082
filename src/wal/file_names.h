/*-------------------------------------------------------------------------
 *
 * file_names.h
 *	  Which relations the files in WAL belong to, and which transactions wrote
 *	  about them.
 *
 * WAL names files by numbers.  Which relation a file belongs to is in a row of
 * pg_class, and WAL has these rows, too: where they are written, and in
 * full-page images of the pages that they are in.  WalredoFileNames collects
 * both on the way through WAL, and knows at each LSN what has been found out up
 * to there.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/file_names.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_FILE_NAMES_H
#define WALREDO_FILE_NAMES_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "access/xlogrecord.h"
#include "compat.h"
#include "datatype/timestamp.h"
#include "utils/hsearch.h"

typedef enum WalredoXactState
{
	WALREDO_XACT_RUNNING,		/* WAL has no end of it, so far */
	WALREDO_XACT_COMMITTED,
	WALREDO_XACT_ABORTED
} WalredoXactState;

/* A transaction, or subtransaction, that something was asked of. */
typedef struct WalredoXact
{
	TransactionId xid;
	TransactionId top_xid;		/* once it has ended; else as xid */
	WalredoXactState state;
	TimestampTz ended_at;		/* as its end has it, once it has ended */
	XLogRecPtr	end_lsn;		/* end LSN of the record of its end */
} WalredoXact;

/* A row of pg_class that has the number of a file. */
typedef struct WalredoClassRow
{
	NameData	relname;
	Oid			oid;
	WalredoXact *xact;			/* that wrote it; NULL if it is known to have
								 * committed */
	bool		from_image;		/* it was there before the record */
	BlockNumber blkno;			/* where the row is */
	OffsetNumber offnum;
} WalredoClassRow;

/* A file, and the rows that are known of it, in the order of their time. */
typedef struct WalredoNamedFile
{
	RelFileLocator locator;		/* hash key */
	int			nrows;
	int			max_rows;
	WalredoClassRow *rows;
	int			pending;		/* for files.c: see there */
} WalredoNamedFile;

typedef struct WalredoFileNames WalredoFileNames;

/*
 * Creates it in the current memory context.  of_server says that the WAL is of
 * this server, so that what the server knows now is of use.  If wanted is not
 * NULL, it is a hash table whose keys are the RelFileLocators of the files that
 * are of interest, and rows of other files are not kept.
 */
extern WalredoFileNames *walredo_file_names_create(bool of_server,
												   HTAB *wanted);
extern void walredo_file_names_free(WalredoFileNames *names);

/*
 * Takes what a record says.  To be called for every record, in the order of
 * WAL, before the functions below are called for it.  end_lsn is its end LSN.
 * ERROR XX001 if the end of a transaction is broken.  What else is broken is
 * passed over.
 */
extern void walredo_file_names_add(WalredoFileNames *names,
								   const XLogRecord *record,
								   XLogRecPtr end_lsn);

/* The transaction with an ID, or NULL if that is 0. */
extern WalredoXact *walredo_file_names_xact(WalredoFileNames *names,
											TransactionId xid);

/* The file, made if it was not known. */
extern WalredoNamedFile *walredo_file_names_file(WalredoFileNames *names,
												 const RelFileLocator *locator);

/*
 * Goes through all files: first with *seq all zeroes, then until it returns
 * NULL.
 */
typedef struct WalredoFileSeq
{
	bool		begun;
	HASH_SEQ_STATUS status;
} WalredoFileSeq;

extern WalredoNamedFile *walredo_file_names_next(WalredoFileNames *names,
												 WalredoFileSeq *seq);

/* Forgets a file, and the rows of it.  May be called while going through. */
extern void walredo_file_names_forget(WalredoFileNames *names,
									  WalredoNamedFile *file);

/*
 * The name that the relation of a file has, as far as WAL has been read, or
 * NULL.  lsn is the end LSN of the record that was added last, and xact the
 * transaction that it is of, or NULL.  *certain is set to false if older WAL
 * might tell more.  The name is valid until a row is added or forgotten.
 */
extern const char *walredo_file_names_current(const WalredoNamedFile *file,
											  XLogRecPtr lsn,
											  const WalredoXact *xact,
											  bool *certain);

/*
 * The first name of those in the rows from number first on, or NULL.  *xact is
 * the transaction that made the file, or NULL if it is not known; then it is
 * set to the one that wrote the row.
 */
extern const char *walredo_file_names_first(const WalredoNamedFile *file,
											int first, WalredoXact **xact);

/*
 * The name that this server has for the relation of a file, palloc'd, or NULL
 * if it knows none.  is_there says that the file may be one that the server has
 * now; otherwise, only catalogs have names.
 */
extern char *walredo_file_name_of_server(const RelFileLocator *locator,
										 bool is_there);

#endif							/* WALREDO_FILE_NAMES_H */
