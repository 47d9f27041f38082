/*-------------------------------------------------------------------------
 *
 * segment_file.h
 *	  Reading one segment file, which can be compressed.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/source/segment_file.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_SEGMENT_FILE_H
#define WALREDO_SEGMENT_FILE_H

#include "postgres.h"

#include <sys/stat.h>

#include "source/decompress.h"

/*
 * Reads one file after the other.  What is kept of a compressed file between
 * two calls is the state of its decompression; a descriptor is never kept.
 */
typedef struct WalredoSegmentFile WalredoSegmentFile;

/* Creates one in the current memory context, of which all its memory is. */
extern WalredoSegmentFile *walredo_segment_file_create(void);

/*
 * Opens a file for reading.  The caller closes it, or else the end of the
 * subtransaction does.  If the result is negative, errno is set, to EISDIR for
 * everything that is not a regular file.  Otherwise *st is its status.
 */
extern int	walredo_open_regular_file(const char *path, struct stat *st);

/*
 * Reads up to length bytes of the contents from offset on into buf.  fd and st
 * are of walredo_open_regular_file().  The contents are at most size bytes; if
 * there are more, that is noticed when the last of them are read.
 *
 * Returns the number of bytes read, which is less than length only if the
 * contents end there, or cannot be read further: *problem then says why, in
 * words that can follow "but it cannot be used:", and is valid until the next
 * call; else it is NULL.  If a file that is not compressed has a problem, errno
 * is set, too.
 *
 * A compressed file is read as a stream, so this is fast only if the offset is
 * where the last call for the same file has ended, or a little later.
 */
extern Size walredo_segment_file_read(WalredoSegmentFile *file, int fd,
									  const struct stat *st, uint64 size,
									  uint64 offset, char *buf, Size length,
									  const char **problem);

/*
 * The same for a file of which it is known that it is not compressed.
 */
extern Size walredo_plain_file_read(int fd, uint64 size, uint64 offset,
									char *buf, Size length,
									const char **problem);

/* Are these of the same file, unchanged? */
extern bool walredo_is_same_file(const struct stat *a, const struct stat *b);

/* How the file that was read last is compressed. */
extern WalredoCompression walredo_segment_compression(WalredoSegmentFile *);

#endif							/* WALREDO_SEGMENT_FILE_H */
