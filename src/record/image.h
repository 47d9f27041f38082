/*-------------------------------------------------------------------------
 *
 * image.h
 *	  What the server does not check of a full-page image.
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

/*
 * True if the image of a block of the decoded record is compressed, and
 * decompresses to fewer bytes than the page has without its hole.  What
 * RestoreBlockImage() makes of such an image ends with whatever was in memory
 * before, so it must not be used.  The block must have an image, and the
 * record must have passed walredo_xlogrecord_check().  Nothing is changed.
 */
extern bool walredo_image_is_short(XLogReaderState *reader, uint8 block_id);

#endif							/* WALREDO_IMAGE_H */
