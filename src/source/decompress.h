/*-------------------------------------------------------------------------
 *
 * decompress.h
 *	  Decompression of files, as a stream.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/source/decompress.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_DECOMPRESS_H
#define WALREDO_DECOMPRESS_H

#include "postgres.h"

/* How a file is compressed. */
typedef enum WalredoCompression
{
	WALREDO_PLAIN,				/* not at all */
	WALREDO_GZIP,
	WALREDO_LZ4,
	WALREDO_ZSTD,
	WALREDO_BZIP2,
	WALREDO_UNSUPPORTED			/* in another way, or bzip2 without its
								 * library */
} WalredoCompression;

#define WALREDO_NUM_COMPRESSIONS	(WALREDO_BZIP2 + 1)

/* The number of bytes of a file that tell how it is compressed. */
#define WALREDO_MAGIC_LENGTH	6

/*
 * Finds out from the first bytes of a file how it is compressed.  Suffixes do
 * not tell: some archives keep a compressed file under the segment's own name.
 */
extern WalredoCompression walredo_compression_of(const char *magic,
												 Size length);

/* What the compression is called, for messages. */
extern const char *walredo_compression_name(WalredoCompression compression);

/*
 * The state of a decompression.  Memory of the compression's library, which is
 * not palloc'd, is freed when the memory context of the decompressor is reset
 * or deleted.
 */
typedef struct WalredoDecompressor WalredoDecompressor;

/*
 * Creates a decompressor in the current memory context.  One is enough for any
 * number of files.
 */
extern WalredoDecompressor *walredo_decompressor_create(WalredoCompression);

/* Begins with a new file. */
extern void walredo_decompressor_start(WalredoDecompressor *decompressor);

/*
 * Decompresses bytes from *in, of which there are *in_left, to *out, where
 * there is room for *out_left, and moves all four.  When it returns, *out_left
 * is 0, or *in_left is 0 and there is no more output without more input.
 *
 * Returns NULL, or what is wrong with the file, in words that can follow "the
 * file cannot be used:".  Nothing in the file is trusted.  The library's memory
 * is bounded: see MAX_ZSTD_WINDOW_LOG.
 */
extern const char *walredo_decompress(WalredoDecompressor *decompressor,
									  const char **in, Size *in_left,
									  char **out, Size *out_left);

/*
 * May the file end here?  This is so before its first byte, and between two of
 * the frames, streams or members of which a file can have several.
 */
extern bool walredo_decompressor_is_at_end(WalredoDecompressor *decompressor);

#endif							/* WALREDO_DECOMPRESS_H */
