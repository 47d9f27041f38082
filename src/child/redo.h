/*-------------------------------------------------------------------------
 *
 * redo.h
 *	  Replay of records on one page, inside the wal-redo child.
 *
 * All functions ereport() what is wrong, which is the end of the child.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/redo.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_CHILD_REDO_H
#define WALREDO_CHILD_REDO_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "proto/proto.h"

/*
 * Makes all that replay needs and that takes system calls.  To be called
 * once, before the sandbox closes.
 */
extern void walredo_redo_startup(void);

/*
 * Begins a request for one block, which has no image yet.  Whatever an
 * earlier request left is out of sight.
 */
extern void walredo_redo_begin(const WalredoWireTag *tag);

/* Gives the block its base image, of BLCKSZ bytes. */
extern void walredo_redo_push_page(const WalredoWireTag *tag, const char *page);

/*
 * Replays one record, of size bytes with its header, whose end LSN is lsn.
 * The record must be whole and sound, and name the block.
 */
extern void walredo_redo_apply(XLogRecPtr lsn, const char *record, uint32 size);

/* The block's image; it stays valid until the next call of this room. */
extern const char *walredo_redo_get_page(const WalredoWireTag *tag);

/* Masks a page in place as rmid's own rm_mask does. */
extern void walredo_redo_mask_page(uint8 rmid, BlockNumber blkno, char *page);

/*
 * Puts the text that the record's resource manager describes it with into
 * text, of BLCKSZ bytes: cut if need be, and filled up with zeroes.
 */
extern void walredo_redo_describe(XLogRecPtr lsn, const char *record,
								  uint32 size, char *text);

#endif							/* WALREDO_CHILD_REDO_H */
