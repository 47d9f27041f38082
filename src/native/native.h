/*-------------------------------------------------------------------------
 *
 * native.h
 *	  Small changes that are applied to an image in the backend itself.
 *
 * These are the pages whose redo is plain arithmetic on a few bytes: CLOG,
 * multixact and commit-timestamp pages, and single bits of the visibility
 * map.  Nothing here trusts the image: no byte of it decides where to write.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/native/native.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_NATIVE_H
#define WALREDO_NATIVE_H

#include "record/record.h"
#include "record/tag.h"

/*
 * Applies one native record to the image of a page.
 *
 * image is a bytea that the caller owns, or NULL if there is none yet; it may
 * have any length.  Returns the new image, which is either the same bytea,
 * changed in place, or a new one, palloc'd; in the latter case, image is left
 * to the caller.  ERROR 22023 if the record needs an image and there is none,
 * if the image of a page is not BLCKSZ bytes, or if the record does not belong
 * to the page that tag names: every transaction, multixact or member of the
 * record must lie on it, and of a visibility map record at least one block.
 */
extern bytea *walredo_native_apply(const WalredoTag *tag,
								   const WalredoRecord *rec, bytea *image);

#endif							/* WALREDO_NATIVE_H */
