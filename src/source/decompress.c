/*-------------------------------------------------------------------------
 *
 * decompress.c
 *	  Decompression of files, as a stream.
 *
 * A file can consist of several frames, one after the other: parallel
 * compressors write such files, and so does "cat".  All four libraries stop at
 * the end of a frame, and are started again for the next one here.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/decompress.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>
#ifdef WALREDO_HAVE_BZIP2
#include <bzlib.h>
#endif

#include "access/xlog_internal.h"
#include "source/decompress.h"
#include "utils/memutils.h"

/*
 * A zstd frame says how much of its contents the decompressor has to remember.
 * This is the largest value that zstd writes unless it is told to use more
 * (--long=31), and it is enough for every level.
 */
#define MAX_ZSTD_WINDOW_LOG	27

/* gzip's part of zlib's windowBits: only the gzip format, largest window. */
#define GZIP_WINDOW_BITS	(16 + MAX_WBITS)

struct WalredoDecompressor
{
	WalredoCompression compression;
	bool		in_frame;		/* a frame has begun, and not ended */

	/* The library's state: the one of the compression is not NULL. */
	z_stream   *gzip;
	LZ4F_dctx  *lz4;
	ZSTD_DCtx  *zstd;
#ifdef WALREDO_HAVE_BZIP2
	bz_stream  *bzip2;
	bool		bzip2_is_started;
#endif

	MemoryContextCallback callback;
};

WalredoCompression
walredo_compression_of(const char *magic, Size length)
{
	static const struct
	{
		WalredoCompression compression;
		int			length;
		const char *magic;
	}			magics[] =
	{
		{WALREDO_GZIP, 2, "\x1f\x8b"},
		{WALREDO_LZ4, 4, "\x04\x22\x4d\x18"},
		{WALREDO_ZSTD, 4, "\x28\xb5\x2f\xfd"},
#ifdef WALREDO_HAVE_BZIP2
		{WALREDO_BZIP2, 3, "BZh"},
#else
		{WALREDO_UNSUPPORTED, 3, "BZh"},
#endif
		{WALREDO_UNSUPPORTED, 6, "\xfd" "7zXZ\0"},	/* xz */
		{WALREDO_UNSUPPORTED, 4, "PK\x03\x04"}, /* zip */
		{WALREDO_UNSUPPORTED, 4, "\x02\x21\x4c\x18"},	/* old lz4 */
		{WALREDO_UNSUPPORTED, 2, "\x1f\x9d"},	/* compress */
		{WALREDO_UNSUPPORTED, 6, "Salted"}, /* openssl, pgBackRest */
	};

	for (int i = 0; i < lengthof(magics); i++)
	{
		if (length >= magics[i].length &&
			memcmp(magic, magics[i].magic, magics[i].length) == 0)
			return magics[i].compression;
	}
	return WALREDO_PLAIN;
}

const char *
walredo_compression_name(WalredoCompression compression)
{
	static const char *const names[] = {
		[WALREDO_PLAIN] = "plain",
		[WALREDO_GZIP] = "gzip",
		[WALREDO_LZ4] = "lz4",
		[WALREDO_ZSTD] = "zstd",
		[WALREDO_BZIP2] = "bzip2",
		[WALREDO_UNSUPPORTED] = "unsupported"
	};

	return names[compression];
}

/* Called when the memory context is reset: frees what is not in it. */
static void
free_library_state(void *arg)
{
	WalredoDecompressor *decompressor = arg;

	if (decompressor->gzip != NULL)
		inflateEnd(decompressor->gzip);
	LZ4F_freeDecompressionContext(decompressor->lz4);
	ZSTD_freeDCtx(decompressor->zstd);
#ifdef WALREDO_HAVE_BZIP2
	if (decompressor->bzip2_is_started)
		BZ2_bzDecompressEnd(decompressor->bzip2);
#endif
}

static void
report_no_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("Could not start the decompression of a file.")));
}

WalredoDecompressor *
walredo_decompressor_create(WalredoCompression compression)
{
	WalredoDecompressor *decompressor = palloc0(sizeof(WalredoDecompressor));

	decompressor->compression = compression;
	decompressor->callback.func = free_library_state;
	decompressor->callback.arg = decompressor;
	MemoryContextRegisterResetCallback(CurrentMemoryContext,
									   &decompressor->callback);
	switch (compression)
	{
		case WALREDO_GZIP:
			{
				z_stream   *gzip = palloc0(sizeof(z_stream));

				if (inflateInit2(gzip, GZIP_WINDOW_BITS) != Z_OK)
					report_no_memory();
				decompressor->gzip = gzip;
				break;
			}
		case WALREDO_LZ4:
			if (LZ4F_isError(LZ4F_createDecompressionContext(&decompressor->lz4,
															 LZ4F_VERSION)))
				report_no_memory();
			break;
		case WALREDO_ZSTD:
			decompressor->zstd = ZSTD_createDCtx();
			if (decompressor->zstd == NULL ||
				ZSTD_isError(ZSTD_DCtx_setParameter(decompressor->zstd,
													ZSTD_d_windowLogMax,
													MAX_ZSTD_WINDOW_LOG)))
				report_no_memory();
			break;
		case WALREDO_BZIP2:
#ifdef WALREDO_HAVE_BZIP2
			decompressor->bzip2 = palloc0(sizeof(bz_stream));
			break;
#endif
		case WALREDO_PLAIN:
		case WALREDO_UNSUPPORTED:
			elog(ERROR, "no decompression for compression %d", compression);
	}
	return decompressor;
}

void
walredo_decompressor_start(WalredoDecompressor *decompressor)
{
	decompressor->in_frame = false;
	if (decompressor->gzip != NULL)
		inflateReset(decompressor->gzip);
	if (decompressor->lz4 != NULL)
		LZ4F_resetDecompressionContext(decompressor->lz4);
	if (decompressor->zstd != NULL)
		ZSTD_DCtx_reset(decompressor->zstd, ZSTD_reset_session_only);
#ifdef WALREDO_HAVE_BZIP2
	if (decompressor->bzip2_is_started)
		BZ2_bzDecompressEnd(decompressor->bzip2);
	decompressor->bzip2_is_started = false;
#endif
}

/*
 * Each of the following calls its library once, and sets in_frame.  *in_left
 * and *out_left are not more than INT_MAX.
 */
static const char *
decompress_gzip(WalredoDecompressor *decompressor,
				const char **in, Size *in_left, char **out, Size *out_left)
{
	z_stream   *gzip = decompressor->gzip;
	int			result;

	gzip->next_in = (Bytef *) * in;
	gzip->avail_in = *in_left;
	gzip->next_out = (Bytef *) * out;
	gzip->avail_out = *out_left;
	result = inflate(gzip, Z_NO_FLUSH);
	*in = (const char *) gzip->next_in;
	*in_left = gzip->avail_in;
	*out = (char *) gzip->next_out;
	*out_left = gzip->avail_out;

	decompressor->in_frame = (result != Z_STREAM_END);
	if (result == Z_STREAM_END)
		inflateReset(gzip);
	else if (result == Z_MEM_ERROR)
		report_no_memory();
	else if (result != Z_OK && result != Z_BUF_ERROR)
		return gzip->msg != NULL ? gzip->msg : "error of zlib";
	return NULL;
}

static const char *
decompress_lz4(WalredoDecompressor *decompressor,
			   const char **in, Size *in_left, char **out, Size *out_left)
{
	size_t		in_size = *in_left;
	size_t		out_size = *out_left;
	size_t		result;

	result = LZ4F_decompress(decompressor->lz4, *out, &out_size, *in, &in_size,
							 NULL);
	if (LZ4F_isError(result))
		return LZ4F_getErrorName(result);
	*in += in_size;
	*in_left -= in_size;
	*out += out_size;
	*out_left -= out_size;
	decompressor->in_frame = (result != 0);
	return NULL;
}

static const char *
decompress_zstd(WalredoDecompressor *decompressor,
				const char **in, Size *in_left, char **out, Size *out_left)
{
	ZSTD_inBuffer input = {*in, *in_left, 0};
	ZSTD_outBuffer output = {*out, *out_left, 0};
	size_t		result;

	result = ZSTD_decompressStream(decompressor->zstd, &output, &input);
	if (ZSTD_isError(result))
	{
		if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
			report_no_memory();
		return ZSTD_getErrorName(result);
	}
	*in += input.pos;
	*in_left -= input.pos;
	*out += output.pos;
	*out_left -= output.pos;
	decompressor->in_frame = (result != 0);
	return NULL;
}

#ifdef WALREDO_HAVE_BZIP2
static const char *
decompress_bzip2(WalredoDecompressor *decompressor,
				 const char **in, Size *in_left, char **out, Size *out_left)
{
	bz_stream  *bzip2 = decompressor->bzip2;
	int			result;

	if (!decompressor->bzip2_is_started)
	{
		memset(bzip2, 0, sizeof(bz_stream));
		if (BZ2_bzDecompressInit(bzip2, 0, 0) != BZ_OK)
			report_no_memory();
		decompressor->bzip2_is_started = true;
	}
	bzip2->next_in = (char *) *in;
	bzip2->avail_in = *in_left;
	bzip2->next_out = *out;
	bzip2->avail_out = *out_left;
	result = BZ2_bzDecompress(bzip2);
	*in = bzip2->next_in;
	*in_left = bzip2->avail_in;
	*out = bzip2->next_out;
	*out_left = bzip2->avail_out;

	decompressor->in_frame = (result != BZ_STREAM_END);
	if (result == BZ_STREAM_END)
		walredo_decompressor_start(decompressor);
	else if (result == BZ_MEM_ERROR)
		report_no_memory();
	else if (result != BZ_OK)
		return "bzip2 data is corrupted";
	return NULL;
}
#endif

const char *
walredo_decompress(WalredoDecompressor *decompressor,
				   const char **in, Size *in_left, char **out, Size *out_left)
{
	/* Without input, a frame that has begun may still have output. */
	while (*out_left > 0 && (*in_left > 0 || decompressor->in_frame))
	{
		Size		in_before = *in_left;
		Size		out_before = *out_left;
		const char *problem = NULL;

		Assert(*in_left <= INT_MAX && *out_left <= INT_MAX);
		switch (decompressor->compression)
		{
			case WALREDO_GZIP:
				problem = decompress_gzip(decompressor, in, in_left, out,
										  out_left);
				break;
			case WALREDO_LZ4:
				problem = decompress_lz4(decompressor, in, in_left, out,
										 out_left);
				break;
			case WALREDO_ZSTD:
				problem = decompress_zstd(decompressor, in, in_left, out,
										  out_left);
				break;
			case WALREDO_BZIP2:
#ifdef WALREDO_HAVE_BZIP2
				problem = decompress_bzip2(decompressor, in, in_left, out,
										   out_left);
				break;
#endif
			case WALREDO_PLAIN:
			case WALREDO_UNSUPPORTED:
				problem = "unsupported compression";
				break;
		}
		if (problem != NULL)
			return problem;

		if (*in_left == in_before && *out_left == out_before)
		{
			/*
			 * A library that does nothing although it could is no reason to
			 * loop.
			 */
			if (*in_left > 0)
				return "the decompression does not go on";
			break;
		}
	}
	return NULL;
}

bool
walredo_decompressor_is_at_end(WalredoDecompressor *decompressor)
{
	return !decompressor->in_frame;
}
