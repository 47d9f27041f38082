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

typedef struct WalredoImageFile WalredoImageFile;

/*
 * Creates the file, in the current memory context.  It ends with what is the
 * current resource owner now, whichever is when it is used.
 */
extern WalredoImageFile *walredo_image_file_create(void);

/*
 * Writes an image of BLCKSZ bytes into a slot of the file.  *slot is -1 for a
 * page that has none yet, and is given one then.
 */
extern void walredo_image_file_write(WalredoImageFile *file, int64 *slot,
									 const char *image);

/* Reads the image that was last written into a slot, of BLCKSZ bytes. */
extern void walredo_image_file_read(WalredoImageFile *file, int64 slot,
									char *image);

extern void walredo_image_file_close(WalredoImageFile *file);

#endif							/* WALREDO_IMAGE_FILE_H */
