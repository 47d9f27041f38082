/*-------------------------------------------------------------------------
 *
 * image.c
 *	  What the server does not check of a full-page image.
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
#include "record/image.h"

bool
walredo_image_is_short(XLogReaderState *reader, uint8 block_id)
{
	DecodedBkpBlock *block = &reader->record->blocks[block_id];
	DecodedBkpBlock saved = *block;
	PGAlignedBlock page;
	bool		is_short;

	/* pglz would cut the last repetition off; its length is checked anyway. */
	if (!BKPIMAGE_COMPRESSED(block->bimg_info) ||
		(block->bimg_info & BKPIMAGE_COMPRESS_PGLZ) != 0)
		return false;

	/*
	 * With the hole at the start nothing can be copied past the end of the
	 * page, wherever the hole was and however long it is now.
	 */
	block->hole_offset = 0;
	block->hole_length = saved.hole_length + 1;
	is_short = block->hole_length > BLCKSZ ||
		RestoreBlockImage(reader, block_id, page.data);
	*block = saved;
	return is_short;
}
