/*-------------------------------------------------------------------------
 *
 * store.h
 *	  The files of indexes: private to this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/index/store.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_INDEX_STORE_H
#define WALREDO_INDEX_STORE_H

#include "postgres.h"

#include "index/builder.h"
#include "index/format.h"
#include "source/source.h"

/*
 * Gets the identity of the n-th file of the segment that lsn is in, as
 * walredo_source_identify() does, but only of files that can have an index.
 * valid_end is set to the end of the segment, so that the index of a segment
 * stays valid when a new timeline begins in a later segment.
 */
extern bool walredo_store_identify(WalredoSource *source, XLogRecPtr lsn,
								   int *n, WalredoSegmentId *id);

/* Can a file have an index?  If so, sets id->valid_end as above. */
extern bool walredo_store_accepts(WalredoSegmentId *id);

/*
 * Has this segment file an index?  If so, sets *bytes, unless that is NULL, to
 * what it takes on disk.
 */
extern bool walredo_store_has(const WalredoSegmentId *id, int64 *bytes);

/*
 * Would an index of this segment file be kept?  It is not if the store is full
 * of indexes of newer WAL, or if indexes could not be written recently.
 */
extern bool walredo_store_wants(const WalredoSegmentId *id);

/*
 * Writes the index that a builder has made of the segment file info->id, and
 * removes the indexes of the oldest WAL if that would make the store too large.
 * Returns false, without an error, if the index cannot be written.
 */
extern bool walredo_store_write(WalredoIndexBuilder *builder,
								WalredoIndexInfo *info);

/*
 * Removes the indexes of a directory's segment files that are not there any
 * more, or have changed.
 */
extern void walredo_store_clean(const char *directory);

#endif							/* WALREDO_INDEX_STORE_H */
