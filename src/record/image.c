/*-------------------------------------------------------------------------
 *
 * image.c
 *	  What the server does not check of a full-page image, or look at in one.
 *
 * RestoreBlockImage() decompresses an image into memory that it has not
 * initialized, and copies a whole page from there.  Of the decompressors only
 * pglz is told how many bytes it must make; lz4 and zstd say how many they
 * have made, and RestoreBlockImage() does not look.  The server has no reason
 * to, as it wrote the record itself; a record from elsewhere could have it
 * give away what the process had on its stack.
 *
 * The server does not hand that number on, and walredo is not linked with the
 * libraries that would tell.  But both refuse to decompress into less room
 * than it takes.  So an image is short if there is room for it in one byte
 * less than it has to have.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/image.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlogrecord.h"
#include "common/pg_lzcompress.h"
#include "record/image.h"

/*
 * Is there room for the decompressed image in so many bytes, which are less
 * than a page?
 */
static bool
fits_into(XLogReaderState *reader, uint8 block_id, int room)
{
	DecodedBkpBlock *block = &reader->record->blocks[block_id];
	DecodedBkpBlock saved = *block;
	PGAlignedBlock page;
	bool		fits;

	/*
	 * With the hole at the start nothing can be copied past the end of the
	 * page, wherever the hole was and however long it is now.
	 */
	block->hole_offset = 0;
	block->hole_length = BLCKSZ - room;
	fits = RestoreBlockImage(reader, block_id, page.data);
	*block = saved;
	return fits;
}

bool
walredo_image_is_short(XLogReaderState *reader, uint8 block_id)
{
	const DecodedBkpBlock *block = &reader->record->blocks[block_id];

	/* pglz would cut the last repetition off; its length is checked anyway. */
	if (!BKPIMAGE_COMPRESSED(block->bimg_info) ||
		(block->bimg_info & BKPIMAGE_COMPRESS_PGLZ) != 0)
		return false;
	return block->hole_length >= BLCKSZ ||
		fits_into(reader, block_id, BLCKSZ - block->hole_length - 1);
}

bool
walredo_image_header(XLogReaderState *reader, uint8 block_id,
					 PageHeaderData *header)
{
	const DecodedBkpBlock *block = &reader->record->blocks[block_id];
	PGAlignedBlock page;

	/* The hole of a page that the server has made is after the header. */
	if (block->hole_length == 0 || block->hole_offset >= SizeOfPageHeaderData)
	{
		if (!BKPIMAGE_COMPRESSED(block->bimg_info))
		{
			memcpy(header, block->bkp_image, SizeOfPageHeaderData);
			return true;
		}
		if ((block->bimg_info & BKPIMAGE_COMPRESS_PGLZ) != 0)
			return pglz_decompress(block->bkp_image, block->bimg_len,
								   (char *) header, SizeOfPageHeaderData,
								   false) == SizeOfPageHeaderData;

		/* As above: otherwise, the rest is what was in memory before. */
		if (fits_into(reader, block_id, SizeOfPageHeaderData - 1))
			return false;
	}
	else if (walredo_image_is_short(reader, block_id))
		return false;
	if (!RestoreBlockImage(reader, block_id, page.data))
		return false;
	memcpy(header, page.data, SizeOfPageHeaderData);
	return true;
}
