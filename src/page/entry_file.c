/*-------------------------------------------------------------------------
 *
 * entry_file.c
 *	  Entries of pages in a temporary file, in the order of their tags.
 *
 * The file consists of blocks, which are kept as if they were images of pages.
 * The first tag of each block is kept in memory, so that one block has to be
 * read to find an entry.  The last block that was read is kept, too, as the
 * next entry that is asked for is often in the same one.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/entry_file.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "page/entry_file.h"
#include "page/image_file.h"
#include "utils/memutils.h"

struct WalredoEntryFile
{
	Size		entry_size;
	int			per_block;		/* entries of a block */
	int64		num_entries;
	WalredoImageFile *blocks;

	WalredoTag *first_tags;		/* of each block */
	int64		num_blocks;
	int64		max_blocks;		/* allocated size of first_tags */

	/* The block that was read last, or is being filled. */
	int64		block_number;	/* -1 if there is none */
	PGAlignedBlock block;
};

WalredoEntryFile *
walredo_entry_file_create(Size entry_size, ResourceOwner owner)
{
	WalredoEntryFile *file = palloc0(sizeof(WalredoEntryFile));

	file->entry_size = entry_size;
	file->per_block = BLCKSZ / entry_size;
	file->blocks = walredo_image_file_create(owner);
	file->max_blocks = 64;
	file->first_tags = palloc(file->max_blocks * sizeof(WalredoTag));
	file->block_number = -1;
	return file;
}

void
walredo_entry_file_close(WalredoEntryFile *file)
{
	walredo_image_file_close(file->blocks);
	pfree(file->first_tags);
	pfree(file);
}

/* Writes the block that is being filled, which is the last one. */
static void
write_block(WalredoEntryFile *file)
{
	int64		slot = -1;

	walredo_image_file_write(file->blocks, &slot, file->block.data);
	Assert(slot == file->block_number);
}

void
walredo_entry_file_add(WalredoEntryFile *file, const void *entry)
{
	int			i = file->num_entries % file->per_block;

	if (i == 0)
	{
		if (file->num_blocks > 0)
			write_block(file);
		if (file->num_blocks == file->max_blocks)
		{
			file->max_blocks *= 2;
			file->first_tags = repalloc_huge(file->first_tags,
											 file->max_blocks *
											 sizeof(WalredoTag));
		}
		memcpy(&file->first_tags[file->num_blocks], entry,
			   sizeof(WalredoTag));
		file->block_number = file->num_blocks++;
	}
	memcpy(file->block.data + i * file->entry_size, entry, file->entry_size);
	file->num_entries++;
}

void
walredo_entry_file_finish(WalredoEntryFile *file)
{
	if (file->num_blocks > 0)
		write_block(file);
}

int64
walredo_entry_file_count(const WalredoEntryFile *file)
{
	return file->num_entries;
}

const void *
walredo_entry_file_get(WalredoEntryFile *file, int64 number)
{
	int64		block_number = number / file->per_block;

	Assert(number >= 0 && number < file->num_entries);
	if (block_number != file->block_number)
	{
		file->block_number = -1;
		walredo_image_file_read(file->blocks, block_number, file->block.data);
		file->block_number = block_number;
	}
	return file->block.data + number % file->per_block * file->entry_size;
}

int64
walredo_entry_file_find(WalredoEntryFile *file, const WalredoTag *tag)
{
	int64		low = 0;
	int64		high = file->num_blocks;

	/* Find the first block that begins after the tag. */
	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (walredo_tag_compare(&file->first_tags[middle], tag) <= 0)
			low = middle + 1;
		else
			high = middle;
	}

	/* What is looked for is in the block before, or begins that block. */
	high = Min(low * file->per_block, file->num_entries);
	low = Max(low - 1, 0) * file->per_block;
	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (walredo_tag_compare(walredo_entry_file_get(file, middle), tag) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
