/*-------------------------------------------------------------------------
 *
 * builder.h
 *	  Making the index of one segment.
 *
 * A builder is given each record that begins in a segment, and then writes the
 * index.  It never raises an error: a record that contradicts itself, or more
 * pages than fit into the memory that a builder may take, make it give up, and
 * the segment has no index.  What it is given comes from scans, which must not
 * fail because of it, nor become slow: it needs some 20 ns for a record.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/index/builder.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_INDEX_BUILDER_H
#define WALREDO_INDEX_BUILDER_H

#include "postgres.h"

#include "access/xlogrecord.h"
#include "index/format.h"

typedef struct WalredoIndexBuilder WalredoIndexBuilder;

/*
 * Creates a builder, which can be used for one segment after the other.  It has
 * a memory context of its own, below the current one, and never takes more than
 * 32 MB.
 */
extern WalredoIndexBuilder *walredo_index_builder_create(void);

/* Begins with a segment, and forgets what the builder has. */
extern void walredo_index_builder_begin(WalredoIndexBuilder *builder,
										XLogRecPtr segment_start, int segsize);

/*
 * Adds a record.  The caller adds all records that begin in the segment, in
 * their order, and no others; the checksum of each must be right.
 */
extern void walredo_index_builder_add(WalredoIndexBuilder *builder,
									  const XLogRecord *record,
									  XLogRecPtr start_lsn,
									  XLogRecPtr end_lsn);

/*
 * Has the builder given up on this segment?  Then there is no need to add
 * further records.
 */
extern bool walredo_index_builder_has_failed(WalredoIndexBuilder *builder);

/*
 * Writes the index to a new, empty file, of which fd is a plain descriptor.
 * info->id says which segment file the records came from; the other fields of
 * *info are set.  Returns false if the builder has given up, if no record
 * begins in the segment, or if the file cannot be written, with errno, or 0 in
 * the first two cases.  The file is then of no use.  The caller flushes it, if
 * need be.
 */
extern bool walredo_index_builder_finish(WalredoIndexBuilder *builder,
										 WalredoIndexInfo *info, int fd);

extern void walredo_index_builder_free(WalredoIndexBuilder *builder);

#endif							/* WALREDO_INDEX_BUILDER_H */
