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
#include "record/xlogrecord.h"
#include "utils/memutils.h"
#include "wal/decode.h"

/* What a decoder state remembers, in its private_data. */
typedef struct Decoder
{
	DecodedXLogRecord *buffer;
	Size		size;
} Decoder;

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

	problem = walredo_xlogrecord_check(record);
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
