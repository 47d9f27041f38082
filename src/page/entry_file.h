/*-------------------------------------------------------------------------
 *
 * entry_file.h
 *	  Entries of pages in a temporary file, in the order of their tags.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/entry_file.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ENTRY_FILE_H
#define WALREDO_ENTRY_FILE_H

#include "postgres.h"

#include "record/tag.h"
#include "utils/resowner.h"

typedef struct WalredoEntryFile WalredoEntryFile;

/*
 * Creates a file of entries of the given size, each of which begins with a
 * WalredoTag.  Its memory is in the current memory context.  The temporary file
 * belongs to the given resource owner.
 */
extern WalredoEntryFile *walredo_entry_file_create(Size entry_size,
												   ResourceOwner owner);

/*
 * Adds an entry whose tag must be greater than those before it.  After the last
 * one walredo_entry_file_finish() has to be called, and none is added any more.
 */
extern void walredo_entry_file_add(WalredoEntryFile *file, const void *entry);
extern void walredo_entry_file_finish(WalredoEntryFile *file);

extern int64 walredo_entry_file_count(const WalredoEntryFile *file);

/* Returns the number, from 0 on, of the first entry not before a tag. */
extern int64 walredo_entry_file_find(WalredoEntryFile *file,
									 const WalredoTag *tag);

/* Returns an entry by its number; it is valid until the next call. */
extern const void *walredo_entry_file_get(WalredoEntryFile *file,
										  int64 number);

extern void walredo_entry_file_close(WalredoEntryFile *file);

#endif							/* WALREDO_ENTRY_FILE_H */
