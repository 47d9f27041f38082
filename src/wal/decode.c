/*-------------------------------------------------------------------------
 *
 * decode.c
 *	  Decoding a whole WAL record that may come from anywhere.
 *
 * The server's DecodeXLogRecord() is made for records that the server wrote
 * itself.  It checks that the lengths of a record's parts add up to the
 * record's own, but does so modulo 2^32: main data of nearly 4 GB passes, and
 * is then copied.  A CRC is no defense, as anyone can compute one.  So every
 * record is walked here first, with sums that cannot overflow, and only then
 * handed to the server's function.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/decode.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "compat.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "wal/decode.h"

/* What a decoder state remembers, in its private_data. */
typedef struct Decoder
{
	DecodedXLogRecord *buffer;
	Size		size;
} Decoder;

static const char *check_parts(const XLogRecord *record);

XLogReaderState *
walredo_decoder_create(void)
{
	XLogReaderState *state;

	/* Nothing is read, but the segment size must look like one. */
	state = XLogReaderAllocate(WalSegMinSize, NULL,
							   XL_ROUTINE(.page_read = NULL),
							   palloc0(sizeof(Decoder)));
	if (state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	return state;
}

void
walredo_decoder_decode(XLogReaderState *state, const XLogRecord *record,
					   XLogRecPtr start_lsn, XLogRecPtr end_lsn)
{
	Decoder    *decoder = state->private_data;
	Size		needed;
	const char *problem;
	char	   *errormsg;

	state->record = NULL;
	state->ReadRecPtr = start_lsn;
	state->EndRecPtr = end_lsn;

	problem = check_parts(record);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid WAL record that ends at %X/%X",
						LSN_FORMAT_ARGS(end_lsn)),
				 errdetail_internal("%s", problem)));

	needed = DecodeXLogRecordRequiredSpace(record->xl_tot_len);
	if (decoder->size < needed)
	{
		MemoryContext cxt = GetMemoryChunkContext(decoder);

		if (decoder->buffer != NULL)
			pfree(decoder->buffer);
		decoder->buffer = NULL;
		decoder->size = 0;

		/* Growing in powers of 2 wastes less time on growing records. */
		needed = pg_nextpower2_size_t(Max(needed, BLCKSZ));
		decoder->buffer = MemoryContextAllocHuge(cxt, needed);
		decoder->size = needed;
	}

	/* The record is ours from here on: nothing of it is freed by others. */
	decoder->buffer->oversized = false;

	if (!DecodeXLogRecord(state, decoder->buffer,
						  unconstify(XLogRecord *, record),
						  start_lsn, &errormsg))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid WAL record that ends at %X/%X",
						LSN_FORMAT_ARGS(end_lsn)),
				 errdetail_internal("%s", errormsg)));

	decoder->buffer->next_lsn = end_lsn;
	state->record = decoder->buffer;
}

void
walredo_decoder_free(XLogReaderState *state)
{
	Decoder    *decoder = state->private_data;

	if (decoder->buffer != NULL)
		pfree(decoder->buffer);
	pfree(decoder);
	state->record = NULL;
	XLogReaderFree(state);
}

/*
 * Walks the headers of a record's parts as DecodeXLogRecord() does, and says
 * what is wrong with them, or returns NULL.
 *
 * Only what that function does not look at is checked: that the lengths add
 * up without overflow, that the fork is one, and that an image with its hole
 * is no longer than a page.
 */
static const char *
check_parts(const XLogRecord *record)
{
	const char *ptr = (const char *) record + SizeOfXLogRecord;
	uint64		remaining = record->xl_tot_len - SizeOfXLogRecord;
	uint64		total = 0;

#define TAKE(dst, size) \
	do { \
		if (remaining < (size)) \
			return "The record is too short for its parts."; \
		memcpy((dst), ptr, (size)); \
		ptr += (size); \
		remaining -= (size); \
	} while (0)

#define SKIP(size) \
	do { \
		if (remaining < (size)) \
			return "The record is too short for its parts."; \
		ptr += (size); \
		remaining -= (size); \
	} while (0)

	while (remaining > total)
	{
		uint8		block_id;

		TAKE(&block_id, sizeof(uint8));

		if (block_id == XLR_BLOCK_ID_DATA_SHORT)
		{
			uint8		length;

			TAKE(&length, sizeof(uint8));
			total += length;
			break;				/* main data is always last */
		}
		else if (block_id == XLR_BLOCK_ID_DATA_LONG)
		{
			uint32		length;

			TAKE(&length, sizeof(uint32));
			total += length;
			break;				/* main data is always last */
		}
		else if (block_id == XLR_BLOCK_ID_ORIGIN)
			SKIP(sizeof(RepOriginId));
		else if (block_id == XLR_BLOCK_ID_TOPLEVEL_XID)
			SKIP(sizeof(TransactionId));
		else if (block_id <= XLR_MAX_BLOCK_ID)
		{
			uint8		fork_flags;
			uint16		length;

			TAKE(&fork_flags, sizeof(uint8));
			if ((fork_flags & BKPBLOCK_FORK_MASK) > MAX_FORKNUM)
				return "The record names a fork that does not exist.";

			TAKE(&length, sizeof(uint16));
			total += length;

			if (fork_flags & BKPBLOCK_HAS_IMAGE)
			{
				uint16		image_length;
				uint16		hole_offset;
				uint16		hole_length = 0;
				uint8		info;

				TAKE(&image_length, sizeof(uint16));
				TAKE(&hole_offset, sizeof(uint16));
				TAKE(&info, sizeof(uint8));
				if (image_length > BLCKSZ)
					return "The record holds an image that is longer than a page.";
				total += image_length;

				if (!BKPIMAGE_COMPRESSED(info))
					hole_length = BLCKSZ - image_length;
				else if (info & BKPIMAGE_HAS_HOLE)
					TAKE(&hole_length, sizeof(uint16));
				if ((uint32) hole_offset + hole_length > BLCKSZ)
					return "The record holds an image with a hole that is not within the page.";
			}

			if (!(fork_flags & BKPBLOCK_SAME_REL))
				SKIP(sizeof(RelFileLocator));
			SKIP(sizeof(BlockNumber));
		}
		else
			return "The record holds a part of unknown kind.";
	}

	if (remaining != total)
		return "The lengths of the record's parts do not add up to its own.";

	return NULL;
#undef TAKE
#undef SKIP
}
