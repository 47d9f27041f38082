/*-------------------------------------------------------------------------
 *
 * held_file.h
 *	  Files that are kept open from one call to the next.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/source/held_file.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_HELD_FILE_H
#define WALREDO_HELD_FILE_H

#include "postgres.h"

#include <sys/stat.h>

#include "lib/ilist.h"

/*
 * A place for a file that is open as long as it may be, and that its owner has
 * to be able to open again at any time.
 */
typedef struct WalredoHeldFile
{
	int			fd;				/* -1 if no file is open */
	struct stat st;				/* its status when it was opened */
	SubTransactionId subid;		/* to which the descriptor belongs */
	dlist_node	node;
} WalredoHeldFile;

/*
 * Creates one in the current memory context, with no file.  When the context
 * is reset or deleted, the file is closed.
 */
extern WalredoHeldFile *walredo_held_file_create(void);

/*
 * Takes over a transient file that was opened in the current subtransaction.
 * The file held before is closed, and so may be one that is held elsewhere, if
 * there are too many.
 */
extern void walredo_held_file_take(WalredoHeldFile *held, int fd,
								   const struct stat *st);

/* Closes the file, if there is one. */
extern void walredo_held_file_close(WalredoHeldFile *held);

#endif							/* WALREDO_HELD_FILE_H */
