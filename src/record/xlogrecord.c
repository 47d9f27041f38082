/*-------------------------------------------------------------------------
 *
 * xlogrecord.c
 *	  Looking into a WAL record that need not be sound.
 *
 * Mirrors the first half of DecodeXLogRecord() in xlogreader.c, the part that
 * reads headers, with the layout that access/xlogrecord.h describes.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/xlogrecord.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "record/xlogrecord.h"
#include "replication/origin.h"

/*
 * Inlined, so that each size is known to the compiler: a request may have
 * 100,000 records, which all come by here.
 */
static pg_attribute_always_inline bool
take(WalredoBlockIterator *iter, void *field, uint32 size)
{
	if (iter->remaining < size)
	{
		iter->error = "A header goes past the end of the record.";
		return false;
	}
	memcpy(field, iter->ptr, size);
	iter->ptr += size;
	iter->remaining -= size;
	return true;
}

static inline void
begin_walk(WalredoBlockIterator *iter, const XLogRecord *record)
{
	memset(iter, 0, sizeof(*iter));
	iter->ptr = (const char *) record + SizeOfXLogRecord;
	iter->remaining = record->xl_tot_len - SizeOfXLogRecord;
	iter->last_id = -1;
}

/*
 * The headers have come to their end: what is left must be the data.
 */
static bool
end_of_headers(WalredoBlockIterator *iter)
{
	if (iter->remaining != iter->data_size)
		iter->error = "The lengths of the parts of the record do not add up to its total length.";
	iter->remaining = 0;
	iter->data_size = 0;
	return false;
}

/*
 * Reads what follows the flags of a block reference that has an image.
 */
static bool
take_image_header(WalredoBlockIterator *iter)
{
	uint16		length;
	uint16		hole_offset;
	uint16		hole_length;
	uint8		info;

	if (!take(iter, &length, sizeof(length)) ||
		!take(iter, &hole_offset, sizeof(hole_offset)) ||
		!take(iter, &info, sizeof(info)))
		return false;
	if (BKPIMAGE_COMPRESSED(info) && (info & BKPIMAGE_HAS_HOLE) != 0)
	{
		if (!take(iter, &hole_length, sizeof(hole_length)))
			return false;
	}
	else
		hole_length = BKPIMAGE_COMPRESSED(info) ? 0 : BLCKSZ - length;

	if (length > BLCKSZ || hole_offset > BLCKSZ ||
		hole_offset + hole_length > BLCKSZ)
	{
		iter->error = "The record contains a page image that is larger than a page.";
		return false;
	}
	iter->data_size += length;
	iter->block.image_length = length;
	iter->block.image_has_hole = hole_length > 0;
	iter->block.image_size = length;
	iter->block.has_image = (info & BKPIMAGE_APPLY) != 0;
	if (iter->block.has_image)
		iter->block.will_init = true;
	return true;
}

/* Inlined, as a scan of WAL walks over the blocks of every record. */
static pg_attribute_always_inline bool
next_block(WalredoBlockIterator *iter)
{
	WalredoBlockRef *block = &iter->block;

	/* Headers end where only the data that they announced is left. */
	while (iter->error == NULL && iter->remaining > iter->data_size)
	{
		uint8		id;
		uint16		data_length;

		if (!take(iter, &id, sizeof(id)))
			return false;

		if (id == XLR_BLOCK_ID_DATA_SHORT || id == XLR_BLOCK_ID_DATA_LONG)
		{
			uint8		short_length = 0;
			uint32		long_length = 0;

			if (id == XLR_BLOCK_ID_DATA_SHORT ?
				!take(iter, &short_length, sizeof(short_length)) :
				!take(iter, &long_length, sizeof(long_length)))
				return false;
			iter->main_size = short_length + long_length;
			iter->data_size += iter->main_size;

			/* The main data comes last. */
			return end_of_headers(iter);
		}
		if (id == XLR_BLOCK_ID_ORIGIN)
		{
			if (!take(iter, &iter->origin, sizeof(iter->origin)))
				return false;
			continue;
		}
		if (id == XLR_BLOCK_ID_TOPLEVEL_XID)
		{
			if (!take(iter, &iter->toplevel_xid, sizeof(iter->toplevel_xid)))
				return false;
			continue;
		}
		if (id > XLR_MAX_BLOCK_ID || id <= iter->last_id)
		{
			iter->error = "The record contains a part of an unknown kind, or parts in the wrong order.";
			return false;
		}

		iter->last_id = block->id = id;
		if (!take(iter, &block->flags, sizeof(block->flags)) ||
			!take(iter, &data_length, sizeof(data_length)))
			return false;
		if (((block->flags & BKPBLOCK_HAS_DATA) != 0) != (data_length != 0))
		{
			iter->error = "The record has flags for a block that contradict the length of the block's data.";
			return false;
		}
		iter->data_size += data_length;
		block->data_length = data_length;
		block->image_length = 0;
		block->forknum = block->flags & BKPBLOCK_FORK_MASK;
		if (block->forknum > MAX_FORKNUM)
		{
			iter->error = "The record names a fork that does not exist.";
			return false;
		}
		block->will_init = (block->flags & BKPBLOCK_WILL_INIT) != 0;
		block->has_image = false;
		block->image_has_hole = false;
		block->image_size = 0;

		if ((block->flags & BKPBLOCK_HAS_IMAGE) != 0 &&
			!take_image_header(iter))
			return false;
		if ((block->flags & BKPBLOCK_SAME_REL) == 0)
		{
			if (!take(iter, &block->locator, sizeof(block->locator)))
				return false;
			iter->have_locator = true;
		}
		else if (!iter->have_locator)
		{
			iter->error = "The first block of the record is declared to belong to the same relation as the block before it.";
			return false;
		}
		return take(iter, &block->blkno, sizeof(block->blkno));
	}

	if (iter->error != NULL)
		return false;
	return end_of_headers(iter);
}

/* As ValidXLogRecord() in xlogreader.c: the header comes last. */
pg_crc32c
walredo_xlogrecord_crc(const XLogRecord *record)
{
	const char *data = (const char *) record;
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data + SizeOfXLogRecord,
				record->xl_tot_len - SizeOfXLogRecord);
	COMP_CRC32C(crc, data, offsetof(XLogRecord, xl_crc));
	FIN_CRC32C(crc);
	return crc;
}

void
walredo_block_iterator_init(WalredoBlockIterator *iter,
							const XLogRecord *record)
{
	begin_walk(iter, record);
}

bool
walredo_block_iterator_next(WalredoBlockIterator *iter)
{
	return next_block(iter);
}

const char *
walredo_xlogrecord_check(const XLogRecord *record)
{
	WalredoBlockIterator iter;

	walredo_block_iterator_init(&iter, record);
	while (walredo_block_iterator_next(&iter))
		;
	return iter.error;
}

/*
 * As below, for a record of which all block references are plain, as in most
 * records: without an image.  False for others, and for a record that is
 * broken.
 */
static pg_attribute_always_inline bool
plain_headers(const XLogRecord *record, WalredoRecordHeaders *headers)
{
	const char *ptr = (const char *) record + SizeOfXLogRecord;
	const char *end = (const char *) record + record->xl_tot_len;
	Size		data_size = 0;
	int			n = 0;

	headers->error = NULL;
	headers->origin = InvalidReplOriginId;
	headers->main_size = 0;
	while (end - ptr > data_size)
	{
		uint8		id = (uint8) *ptr;
		XLogRecordBlockHeader header;
		WalredoBlockRef *block = &headers->blocks[n];

		if (id == XLR_BLOCK_ID_DATA_SHORT && end - ptr >= 2)
		{
			headers->main_size = (uint8) ptr[1];
			data_size += headers->main_size;
			ptr += 2;
			break;
		}
		if (id > XLR_MAX_BLOCK_ID || (n > 0 && id <= block[-1].id) ||
			end - ptr < SizeOfXLogRecordBlockHeader + sizeof(BlockNumber))
			return false;

		memcpy(&header, ptr, SizeOfXLogRecordBlockHeader);
		ptr += SizeOfXLogRecordBlockHeader;
		block->id = id;
		block->flags = header.fork_flags;
		block->data_length = header.data_length;
		block->image_length = 0;
		block->forknum = header.fork_flags & BKPBLOCK_FORK_MASK;
		block->will_init = (header.fork_flags & BKPBLOCK_WILL_INIT) != 0;
		block->has_image = false;
		block->image_has_hole = false;
		block->image_size = 0;
		if ((header.fork_flags & BKPBLOCK_HAS_IMAGE) != 0 ||
			((header.fork_flags & BKPBLOCK_HAS_DATA) != 0) !=
			(header.data_length != 0) ||
			block->forknum > MAX_FORKNUM)
			return false;
		data_size += header.data_length;
		if ((header.fork_flags & BKPBLOCK_SAME_REL) != 0)
		{
			if (n == 0)
				return false;
			block->locator = block[-1].locator;
		}
		else
		{
			if (end - ptr < sizeof(RelFileLocator) + sizeof(BlockNumber))
				return false;
			memcpy(&block->locator, ptr, sizeof(RelFileLocator));
			ptr += sizeof(RelFileLocator);
		}
		memcpy(&block->blkno, ptr, sizeof(BlockNumber));
		ptr += sizeof(BlockNumber);
		n++;
	}
	headers->num_blocks = n;
	return end - ptr == data_size;
}

/* Those of a record that is not plain. */
static pg_noinline void
other_headers(const XLogRecord *record, WalredoRecordHeaders *headers)
{
	WalredoBlockIterator iter;

	headers->num_blocks = 0;
	begin_walk(&iter, record);
	while (next_block(&iter))
		headers->blocks[headers->num_blocks++] = iter.block;
	headers->error = iter.error;
	headers->origin = iter.origin;
	headers->main_size = iter.main_size;
}

void
walredo_xlogrecord_headers(const XLogRecord *record,
						   WalredoRecordHeaders *headers)
{
	if (!plain_headers(record, headers))
		other_headers(record, headers);
}

bool
walredo_xlogrecord_may_name(const XLogRecord *record, uint64 relation_bits,
							BlockNumber blkno)
{
	const char *ptr = (const char *) record + SizeOfXLogRecord;
	const char *end = (const char *) record + record->xl_tot_len;
	Size		data_size = 0;
	RelFileLocator locator;
	BlockNumber block;

	/*
	 * As in plain_headers().  Whatever is not as it is in nearly all records
	 * is left to a closer look.
	 */
	LocatorRelNumber(locator) = InvalidOid;
	while (end - ptr > data_size)
	{
		XLogRecordBlockHeader header;

		if ((uint8) *ptr == XLR_BLOCK_ID_DATA_SHORT && end - ptr >= 2)
			return end - ptr - 2 != data_size + (uint8) ptr[1];
		if ((uint8) *ptr > XLR_MAX_BLOCK_ID ||
			end - ptr < SizeOfXLogRecordBlockHeader + sizeof(BlockNumber))
			return true;
		memcpy(&header, ptr, SizeOfXLogRecordBlockHeader);
		ptr += SizeOfXLogRecordBlockHeader;
		if ((header.fork_flags & BKPBLOCK_HAS_IMAGE) != 0)
			return true;
		data_size += header.data_length;
		if ((header.fork_flags & BKPBLOCK_SAME_REL) == 0)
		{
			if (end - ptr < sizeof(RelFileLocator) + sizeof(BlockNumber))
				return true;
			memcpy(&locator, ptr, sizeof(RelFileLocator));
			ptr += sizeof(RelFileLocator);
		}
		memcpy(&block, ptr, sizeof(BlockNumber));
		ptr += sizeof(BlockNumber);
		if ((block == blkno || blkno == InvalidBlockNumber) &&
			(relation_bits &
			 WalredoRelationBit(LocatorRelNumber(locator))) != 0)
			return true;
	}
	return end - ptr != data_size;
}
