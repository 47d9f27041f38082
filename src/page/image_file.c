/*-------------------------------------------------------------------------
 *
 * image_file.c
 *	  Images of pages in a temporary file.
 *
 * Each page has a slot of BLCKSZ bytes, which it keeps: newer images are
 * written over older ones, so that the file never takes more than the pages
 * that are in it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/image_file.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "page/image_file.h"
#include "storage/buffile.h"
#include "utils/memutils.h"

struct WalredoImageFile
{
	MemoryContext context;
	ResourceOwner owner;
	BufFile    *file;			/* NULL before the first image is written */
	int64		num_slots;
};

WalredoImageFile *
walredo_image_file_create(ResourceOwner owner)
{
	WalredoImageFile *file = palloc0(sizeof(WalredoImageFile));

	file->context = CurrentMemoryContext;
	file->owner = owner;
	return file;
}

void
walredo_image_file_close(WalredoImageFile *file)
{
	if (file->file)
		BufFileClose(file->file);
	pfree(file);
}

static void
seek_slot(WalredoImageFile *file, int64 slot)
{
	/* A block of a BufFile has BLCKSZ bytes, too. */
	if (BufFileSeekBlock(file->file, slot) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in temporary file")));
}

void
walredo_image_file_write(WalredoImageFile *file, int64 *slot,
						 const char *image)
{
	if (file->file == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(file->context);
		ResourceOwner old_owner = CurrentResourceOwner;

		/*
		 * The first image may be written in a subtransaction, as verification
		 * catches errors.  The file must not be closed at its end.
		 */
		CurrentResourceOwner = file->owner;
		file->file = BufFileCreateTemp(false);
		CurrentResourceOwner = old_owner;
		MemoryContextSwitchTo(old_context);
	}
	if (*slot < 0)
		*slot = file->num_slots++;
	seek_slot(file, *slot);
	BufFileWrite(file->file, unconstify(char *, image), BLCKSZ);
}

void
walredo_image_file_read(WalredoImageFile *file, int64 slot, char *image)
{
	seek_slot(file, slot);
	walredo_buffile_read_exact(file->file, image, BLCKSZ);
}
