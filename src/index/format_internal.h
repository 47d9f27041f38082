/*-------------------------------------------------------------------------
 *
 * format_internal.h
 *	  The layout of an index file, which format.c reads and builder.c writes.
 *
 * The file has a header, blocks, and a directory of the blocks.
 *
 * The header is an IndexHeader, followed by the two strings of the
 * WalredoSegmentId, without a zero byte.  It is written last, so a file that
 * was not written to its end has no valid one.
 *
 * A block has some entries, in the order of their keys.  An entry is a key and
 * the references of that key.  Integers are written in groups of seven bits,
 * lowest first; the highest bit of a byte says that more follow.
 *
 *	 key: If it differs from the key before it only in its number, the
 *	 difference, which is at least 1.  Otherwise, and in the first entry of a
 *	 block, 0, the bytes kind and forknum, and the integers spcOid, dbOid,
 *	 relNumber and number.
 *
 *	 references: The number of bytes that follow, and then for each reference
 *	 where the record begins.  This is an offset in the segment, in units of
 *	 MAXALIGN, plus 1, minus that of the reference before it, and so at least
 *	 1.  If it is followed by 0, the record may start or end the page.
 *
 * Blocks have about INDEX_BLOCK_SIZE bytes, so that a key is found by reading
 * one of them; but an entry is never divided, so the references of a page that
 * is changed all the time make a long block, which has only that entry.
 *
 * The directory is an array of IndexBlocks.
 *
 * All of this is in the byte order of the machine.  The header says which that
 * is.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/index/format_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_INDEX_FORMAT_INTERNAL_H
#define WALREDO_INDEX_FORMAT_INTERNAL_H

#include "postgres.h"

#include "access/xlog_internal.h"
#include "index/format.h"
#include "port/pg_crc32c.h"

/*
 * To be changed with the layout, and whenever walredo_changes_of() learns of
 * changes that it did not know of before: an index that was made without them
 * has too few records.
 */
#define INDEX_VERSION		1

#define INDEX_MAGIC			UINT64CONST(0x57614C7245644978)
#define INDEX_BLOCK_SIZE	4096

/* The memory that a builder takes at most, and so the size of an index. */
#define INDEX_MAX_SIZE		(24 * 1024 * 1024)

/*
 * Keys are tags, in the order of walredo_tag_compare().  Besides those of pages
 * there are keys of these kinds, which come last.  Their references all may end
 * the page.
 *
 * An INDEX_ENDS_OF_RELATION has the fields spcOid, dbOid and relNumber of the
 * relation.  An INDEX_ENDS_OF_KIND has a kind of pages as its number, where
 * WALREDO_TAG_REL stands for relation maps as well.
 */
#define INDEX_ENDS_OF_RELATION	0xF0
#define INDEX_ENDS_OF_KIND		0xF1

typedef struct IndexHeader
{
	uint64		magic;
	uint32		version;
	pg_crc32c	crc;			/* of all that follows in the header */
	uint32		wal_magic;		/* XLOG_PAGE_MAGIC: the major version */
	uint32		block_size;		/* BLCKSZ */
	uint32		alignment;		/* MAXIMUM_ALIGNOF */

	uint32		num_blocks;
	pg_crc32c	blocks_crc;		/* of the directory */
	uint32		blocks_offset;	/* where the directory begins in the file */
	uint32		num_end_blocks; /* the last so many blocks, and no others,
								 * have keys that are not those of pages */

	/* of the WalredoIndexInfo */
	uint32		tli;
	uint32		segsize;
	uint16		directory_length;
	uint16		name_length;
	uint64		system_identifier;
	uint64		segno;
	int64		size;
	int64		mtime;
	uint64		inode;
	XLogRecPtr	valid_end;
	XLogRecPtr	first_lsn;
	XLogRecPtr	first_prev;
	XLogRecPtr	last_lsn;
	XLogRecPtr	end_lsn;
} IndexHeader;

/* The checksum is of what follows it. */
#define INDEX_HEADER_CRC_START \
	(offsetof(IndexHeader, crc) + sizeof(pg_crc32c))

typedef struct IndexBlock
{
	WalredoTag	first_key;
	uint32		length;			/* in bytes */
	pg_crc32c	crc;
} IndexBlock;

/* The keys of ends. */
static inline WalredoTag
index_ends_of_relation(const WalredoTag *block)
{
	WalredoTag	key = *block;

	key.kind = INDEX_ENDS_OF_RELATION;
	key.forknum = 0;
	key.number = 0;
	return key;
}

static inline WalredoTag
index_ends_of_kind(WalredoTagKind kind)
{
	WalredoTag	key = {.kind = INDEX_ENDS_OF_KIND,.number = kind};

	return key;
}

/* Does a key differ from another one at most in its number? */
static inline bool
index_same_but_number(const WalredoTag *a, const WalredoTag *b)
{
	return memcmp(a, b, offsetof(WalredoTag, number)) == 0;
}

#endif							/* WALREDO_INDEX_FORMAT_INTERNAL_H */
