/*-------------------------------------------------------------------------
 *
 * image.h
 *	  What the server does not check of a full-page image, or look at in one.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/image.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_IMAGE_H
#define WALREDO_IMAGE_H

#include "postgres.h"

#include "access/xlogreader.h"
#include "storage/bufpage.h"

/*
 * True if the image of a block of the decoded record is compressed, and
 * decompresses to fewer bytes than the page has without its hole.  What
 * RestoreBlockImage() makes of such an image ends with whatever was in memory
 * before, so it must not be used.  The block must have an image, and the
 * record must have passed walredo_xlogrecord_check().  Nothing is changed.
 */
extern bool walredo_image_is_short(XLogReaderState *reader, uint8 block_id);

/*
 * The header that the page had when the server made the image, with the LSN of
 * that time, of which redo keeps nothing.  No more of the image is
 * decompressed than that takes, where the method allows it.  Requires the same
 * as above.  False if the image cannot be decompressed, or is shorter than a
 * header; it need not be whole otherwise.
 */
extern bool walredo_image_header(XLogReaderState *reader, uint8 block_id,
								 PageHeaderData *header);

#endif							/* WALREDO_IMAGE_H */
