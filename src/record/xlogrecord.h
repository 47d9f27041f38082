/*-------------------------------------------------------------------------
 *
 * xlogrecord.h
 *	  Looking into a WAL record that need not be sound.
 *
 * The server's DecodeXLogRecord() relies on a record's CRC to mean that the
 * server wrote it: its sum of lengths can overflow, and then it copies past
 * the record's end.  What is here checks that before anyone decodes a record,
 * and tells, without decoding, which blocks the record is about.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/xlogrecord.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_XLOGRECORD_H
#define WALREDO_XLOGRECORD_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "access/xlogrecord.h"
#include "common/relpath.h"
#include "compat.h"
#include "port/pg_crc32c.h"

/* A block that a record refers to. */
typedef struct WalredoBlockRef
{
	uint8		id;
	uint8		flags;			/* BKPBLOCK_* */
	ForkNumber	forknum;
	RelFileLocator locator;
	BlockNumber blkno;

	/* The bytes of its data, and of its image, as they are in the record. */
	uint16		data_length;
	uint16		image_length;

	/* Redo makes the page without looking at what it was. */
	bool		will_init;

	/*
	 * It has an image that redo restores, whatever the resource manager.  An
	 * image that is there for wal_consistency_checking only does not count.
	 */
	bool		has_image;

	/* It has an image from whose middle a part was left out, as free space. */
	bool		image_has_hole;

	/* Bytes that an image of any sort takes in the record, or 0. */
	uint16		image_size;
} WalredoBlockRef;

/* A walk over the references of one record. */
typedef struct WalredoBlockIterator
{
	WalredoBlockRef block;		/* the current one */

	/*
	 * Why the record is broken, as a sentence, or NULL.  To be looked at
	 * after the last block.
	 */
	const char *error;

	/* Both are known after the last block. */
	ReplOriginId origin;
	uint32		main_size;		/* of the main data, the record's last bytes */

	/* As is this: 0, or the top-level transaction of the record's one. */
	TransactionId toplevel_xid;

	const char *ptr;			/* next header */
	uint32		remaining;		/* bytes from there to the record's end */
	uint64		data_size;		/* bytes of data announced so far */
	int			last_id;
	bool		have_locator;
} WalredoBlockIterator;

/*
 * Begins a walk.  The record must be at least a header, and be xl_tot_len
 * bytes long.
 */
extern void walredo_block_iterator_init(WalredoBlockIterator *iter,
										const XLogRecord *record);

/*
 * Moves to the next block.  False at the end, or where the record is broken.
 */
extern bool walredo_block_iterator_next(WalredoBlockIterator *iter);

/*
 * The checksum that a record should have in xl_crc.  The record must be at
 * least a header, and be xl_tot_len bytes long.
 */
extern pg_crc32c walredo_xlogrecord_crc(const XLogRecord *record);

/*
 * Checks the lengths in a record's headers against its size.  NULL if they
 * are sound, else what is wrong.
 */
extern const char *walredo_xlogrecord_check(const XLogRecord *record);

/* All that the headers of a record say. */
typedef struct WalredoRecordHeaders
{
	const char *error;			/* as in the iterator */
	ReplOriginId origin;
	uint32		main_size;
	int			num_blocks;
	WalredoBlockRef blocks[XLR_MAX_BLOCK_ID + 1];	/* in order of their ids */
} WalredoRecordHeaders;

/* Reads them.  Requires what walredo_block_iterator_init() does. */
extern void walredo_xlogrecord_headers(const XLogRecord *record,
									   WalredoRecordHeaders *headers);

/*
 * A set of relations as 64 bits, of which each relation has one.  Others may
 * have the same, so it tells which relations are not in the set.
 */
#define WalredoRelationBit(relNumber)	(UINT64CONST(1) << ((relNumber) % 64))

/*
 * A first look at a record, which for most records is all that somebody who
 * looks for a few pages needs to know: false if it names no block of that
 * number (of any number, if blkno is InvalidBlockNumber) in a relation of the
 * set. True if it may, or if the record is broken.
 */
extern bool walredo_xlogrecord_may_name(const XLogRecord *record,
										uint64 relation_bits,
										BlockNumber blkno);

#endif							/* WALREDO_XLOGRECORD_H */
