/*-------------------------------------------------------------------------
 *
 * image_file.h
 *	  Images of pages in a temporary file.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/image_file.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_IMAGE_FILE_H
#define WALREDO_IMAGE_FILE_H

#include "postgres.h"

#include "utils/resowner.h"

typedef struct WalredoImageFile WalredoImageFile;

/*
 * Creates a WalredoImageFile in the current memory context.  The temporary file
 * belongs to the given resource owner, even if another one is current when the
 * first image is written.
 */
extern WalredoImageFile *walredo_image_file_create(ResourceOwner owner);

/*
 * Writes an image of BLCKSZ bytes into slot number *slot of the file.  If *slot
 * is -1, a new slot is used, and *slot is set to its number.
 */
extern void walredo_image_file_write(WalredoImageFile *file, int64 *slot,
									 const char *image);

/* Reads the image that was last written into a slot: BLCKSZ bytes. */
extern void walredo_image_file_read(WalredoImageFile *file, int64 slot,
									char *image);

extern void walredo_image_file_close(WalredoImageFile *file);

#endif							/* WALREDO_IMAGE_FILE_H */
