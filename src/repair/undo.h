/*-------------------------------------------------------------------------
 *
 * undo.h
 *	  Keeping what a repair of a page replaces.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/repair/undo.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPAIR_UNDO_H
#define WALREDO_REPAIR_UNDO_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "repair/install.h"
#include "repair/judge.h"
#include "storage/block.h"

/*
 * Keeps a page that is going to be replaced, as walredo_kept_add() does, and
 * returns the ID of the repair.  found is what is there, or NULL if there is
 * nothing; image, of BLCKSZ bytes, takes its place, or is NULL if that is no
 * page, or more than one.  The others are fields of WalredoKept.
 */
extern int64 walredo_keep_page(const WalredoRepairFork *fork,
							   BlockNumber blkno, const char *source,
							   XLogRecPtr page_lsn, XLogRecPtr rebuilt_lsn,
							   const WalredoFoundBlock *found,
							   const char *image, int64 undo_of);

#endif							/* WALREDO_REPAIR_UNDO_H */
