/*-------------------------------------------------------------------------
 *
 * decode.h
 *	  Decoding a whole WAL record that may come from anywhere.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/decode.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_DECODE_H
#define WALREDO_DECODE_H

#include "postgres.h"

#include "access/xlogreader.h"

/*
 * A reader state that reads nothing: it only carries a decoded record to the
 * server's XLogRec*() functions.  Lives in the current memory context.
 */
extern XLogReaderState *walredo_decoder_create(void);

/*
 * Decodes a record into state->record, with ReadRecPtr and EndRecPtr set to
 * start_lsn and end_lsn, replacing what was decoded before.
 *
 * The caller has checked that xl_tot_len bytes are there and at least a
 * header; no other byte is trusted, a right CRC included.  ERROR XX001 if the
 * record's parts do not add up to it, or if it names a fork or an image that
 * cannot be.
 */
extern void walredo_decoder_decode(XLogReaderState *state,
								   const XLogRecord *record,
								   XLogRecPtr start_lsn,
								   XLogRecPtr end_lsn);

extern void walredo_decoder_free(XLogReaderState *state);

#endif							/* WALREDO_DECODE_H */
