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
 * image is a bytea of the caller's own, which may be changed in place, or
 * NULL if there is none yet; it may have any length.  Returns the new image,
 * which is the same bytea wherever the length stays.  ERROR 22023 if the
 * record needs an image and there is none, if the image of a page is not
 * BLCKSZ bytes, or if the record does not belong to the page that tag names:
 * every transaction, multixact or member of the record must lie on it, and of
 * a visibility map record at least one block.
 */
extern bytea *walredo_native_apply(const WalredoTag *tag,
								   const WalredoRecord *rec, bytea *image);

#endif							/* WALREDO_NATIVE_H */
