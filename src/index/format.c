/*-------------------------------------------------------------------------
 *
 * format.c
 *	  Reading the index of one segment.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/index/format.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "index/format.h"
#include "index/format_internal.h"
#include "record/slru.h"
#include "utils/memutils.h"

/* A larger file is none that a builder has written. */
#define MAX_FILE_SIZE		(2 * INDEX_MAX_SIZE)

struct WalredoIndexFile
{
	WalredoIndexInfo info;
	uint32		num_blocks;
	uint32		num_end_blocks;
	IndexBlock *blocks;
	uint32	   *offsets;		/* of the blocks, in the file */
	char	  **data;			/* of the blocks, or NULL if not kept */
	Size		data_bytes;		/* of all that are kept */
};

/* A larger block, which has a page with very many records, is not kept. */
#define MAX_KEPT_BLOCK		(64 * 1024)

/* The references that a lookup has found so far. */
typedef struct Found
{
	WalredoIndexRef *refs;
	Size		num_refs;
	Size		max_refs;
	bool		is_sorted;		/* they ascend, without duplicates */
} Found;

/* Reads exactly so many bytes. */
static bool
read_at(int fd, void *buf, Size size, off_t at)
{
	char	   *to = buf;

	while (size > 0)
	{
		ssize_t		nread = pg_pread(fd, to, size, at);

		if (nread < 0 && errno == EINTR)
			continue;
		if (nread <= 0)
			return false;
		to += nread;
		size -= nread;
		at += nread;
	}
	return true;
}

/* ----------------------------------------
 * Opening
 * ----------------------------------------
 */

static bool
same_segment(const WalredoSegmentId *a, const WalredoSegmentId *b)
{
	return a->system_identifier == b->system_identifier &&
		a->tli == b->tli && a->segno == b->segno &&
		a->segsize == b->segsize && a->size == b->size &&
		a->mtime == b->mtime && a->inode == b->inode &&
		a->valid_end == b->valid_end &&
		strcmp(a->directory, b->directory) == 0 &&
		strcmp(a->name, b->name) == 0;
}

/*
 * Reads the header.  Returns false if it is not valid, or not of an index that
 * this server can use.
 */
static bool
read_header(int fd, IndexHeader *header, WalredoIndexInfo *info)
{
	WalredoSegmentId *id = &info->id;
	char		strings[2 * MAXPGPATH];
	Size		size;
	pg_crc32c	crc;

	if (!read_at(fd, header, sizeof(IndexHeader), 0) ||
		header->magic != INDEX_MAGIC || header->version != INDEX_VERSION ||
		header->directory_length >= MAXPGPATH ||
		header->name_length >= MAXPGPATH)
		return false;
	size = header->directory_length + header->name_length;
	if (!read_at(fd, strings, size, sizeof(IndexHeader)))
		return false;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, (char *) header + INDEX_HEADER_CRC_START,
				sizeof(IndexHeader) - INDEX_HEADER_CRC_START);
	COMP_CRC32C(crc, strings, size);
	FIN_CRC32C(crc);
	if (!EQ_CRC32C(crc, header->crc) ||
		header->wal_magic != XLOG_PAGE_MAGIC ||
		header->block_size != BLCKSZ ||
		header->alignment != MAXIMUM_ALIGNOF ||
		!IsValidWalSegSize(header->segsize))
		return false;

	memset(info, 0, sizeof(*info));
	id->system_identifier = header->system_identifier;
	id->tli = header->tli;
	id->segno = header->segno;
	id->segsize = header->segsize;
	memcpy(id->directory, strings, header->directory_length);
	memcpy(id->name, strings + header->directory_length, header->name_length);
	id->size = header->size;
	id->mtime = header->mtime;
	id->inode = header->inode;
	id->valid_end = header->valid_end;
	info->first_lsn = header->first_lsn;
	info->first_prev = header->first_prev;
	info->last_lsn = header->last_lsn;
	info->end_lsn = header->end_lsn;
	return XLByteInSeg(info->first_lsn, id->segno, id->segsize) &&
		XLByteInSeg(info->last_lsn, id->segno, id->segsize) &&
		info->first_lsn <= info->last_lsn && info->last_lsn < info->end_lsn;
}

/*
 * Reads the directory of blocks, and finds out where they are.  Returns false
 * if it is not valid.
 */
static bool
read_blocks(int fd, const IndexHeader *header, WalredoIndexFile *file)
{
	Size		size = header->num_blocks * sizeof(IndexBlock);
	uint64		offset = sizeof(IndexHeader) + header->directory_length +
		header->name_length;
	pg_crc32c	crc;

	if (!read_at(fd, file->blocks, size, header->blocks_offset))
		return false;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, file->blocks, size);
	FIN_CRC32C(crc);
	if (!EQ_CRC32C(crc, header->blocks_crc))
		return false;

	for (uint32 i = 0; i < file->num_blocks; i++)
	{
		const IndexBlock *block = &file->blocks[i];

		if (i > 0 && walredo_tag_compare(&block[-1].first_key,
										 &block->first_key) >= 0)
			return false;
		if ((block->first_key.kind >= INDEX_ENDS_OF_RELATION) !=
			(i >= file->num_blocks - file->num_end_blocks))
			return false;
		file->offsets[i] = offset;
		offset += block->length;
		if (offset > header->blocks_offset)
			return false;
	}
	return offset == header->blocks_offset;
}

WalredoIndexFile *
walredo_index_file_open(int fd, const WalredoSegmentId *id)
{
	WalredoIndexFile *file;
	WalredoIndexInfo info;
	IndexHeader header;
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
		st.st_size > MAX_FILE_SIZE ||
		!read_header(fd, &header, &info) ||
		(id != NULL && !same_segment(&info.id, id)))
		return NULL;

	/* Nothing is allocated that is larger than what there is of the file. */
	if (header.blocks_offset > st.st_size ||
		header.num_blocks >
		(st.st_size - header.blocks_offset) / sizeof(IndexBlock) ||
		header.num_end_blocks > header.num_blocks)
		return NULL;
	file = palloc0(sizeof(WalredoIndexFile));
	file->info = info;
	file->num_blocks = header.num_blocks;
	file->num_end_blocks = header.num_end_blocks;
	file->blocks = palloc(Max(1, file->num_blocks) * sizeof(IndexBlock));
	file->offsets = palloc(Max(1, file->num_blocks) * sizeof(uint32));
	file->data = palloc0(Max(1, file->num_blocks) * sizeof(char *));
	if (!read_blocks(fd, &header, file))
	{
		walredo_index_file_free(file);
		return NULL;
	}
	return file;
}

const WalredoIndexInfo *
walredo_index_file_info(WalredoIndexFile *file)
{
	return &file->info;
}

Size
walredo_index_file_memory(const WalredoIndexFile *file)
{
	return sizeof(WalredoIndexFile) +
		file->num_blocks *
		(sizeof(IndexBlock) + sizeof(uint32) + sizeof(char *)) +
		file->data_bytes;
}

void
walredo_index_file_free(WalredoIndexFile *file)
{
	for (uint32 i = 0; i < file->num_blocks; i++)
	{
		if (file->data[i] != NULL)
			pfree(file->data[i]);
	}
	pfree(file->blocks);
	pfree(file->offsets);
	pfree(file->data);
	pfree(file);
}

/* ----------------------------------------
 * Looking up
 * ----------------------------------------
 */

/* What is left of a block, or of an entry. */
typedef struct Input
{
	const uint8 *ptr;
	const uint8 *end;
} Input;

/* Reads an integer.  Returns false if it does not end, or is too large. */
static inline bool
take_integer(Input *input, uint64 max, uint64 *value)
{
	uint64		result = 0;

	for (int shift = 0; shift < 64 && input->ptr < input->end; shift += 7)
	{
		uint8		byte = *input->ptr++;
		uint64		bits = byte & 0x7F;

		if (shift == 63 && bits > 1)
			return false;
		result |= bits << shift;
		if ((byte & 0x80) == 0)
		{
			*value = result;
			return result <= max;
		}
	}
	return false;
}

/*
 * Reads a key, and advances from the key before it.  Returns false if it is
 * none.
 */
static inline bool
take_key(Input *input, WalredoTag *key)
{
	uint64		delta;
	uint64		spc;
	uint64		db;
	uint64		rel;

	if (!take_integer(input, PG_UINT64_MAX - key->number, &delta))
		return false;
	if (delta > 0)
	{
		key->number += delta;
		return true;
	}
	if (input->end - input->ptr < 2)
		return false;
	key->kind = *input->ptr++;
	key->forknum = *input->ptr++;
	if (!take_integer(input, PG_UINT32_MAX, &spc) ||
		!take_integer(input, PG_UINT32_MAX, &db) ||
		!take_integer(input, PG_UINT32_MAX, &rel) ||
		!take_integer(input, PG_UINT64_MAX, &key->number))
		return false;
	key->spcOid = spc;
	key->dbOid = db;
	key->relNumber = rel;
	return true;
}

/*
 * Adds the references of an entry.  Returns false if they are not valid.
 */
static bool
add_refs(WalredoIndexFile *file, Input refs, Found *found)
{
	const WalredoSegmentId *id = &file->info.id;
	uint64		max = id->segsize / MAXIMUM_ALIGNOF;
	uint64		offset = 0;
	XLogRecPtr	start;
	Size		max_refs = found->num_refs + (refs.end - refs.ptr);

	/* Each takes at least one byte. */
	if (max_refs > found->max_refs)
	{
		Size		size = max_refs * sizeof(WalredoIndexRef);

		found->refs = found->refs == NULL ?
			MemoryContextAllocHuge(CurrentMemoryContext, size) :
			repalloc_huge(found->refs, size);
		found->max_refs = max_refs;
	}

	XLogSegNoOffsetToRecPtr(id->segno, 0, id->segsize, start);
	if (found->num_refs > 0)
		found->is_sorted = false;
	while (refs.ptr < refs.end)
	{
		WalredoIndexRef *ref = &found->refs[found->num_refs];
		uint64		delta;

		if (!take_integer(&refs, max - offset, &delta) || delta == 0)
			return false;
		offset += delta;
		ref->lsn = start + (offset - 1) * MAXIMUM_ALIGNOF;
		ref->may_stop = refs.ptr < refs.end && *refs.ptr == 0;
		if (ref->may_stop)
			refs.ptr++;
		if (ref->lsn < file->info.first_lsn || ref->lsn > file->info.last_lsn)
			return false;
		found->num_refs++;
	}
	return true;
}

/*
 * Looks for the entry of a key in a block, and adds its references.  Returns
 * false if the block is damaged.
 */
static bool
search_block(WalredoIndexFile *file, const char *data, const IndexBlock *block,
			 const WalredoTag *wanted, Found *found)
{
	Input		input = {(const uint8 *) data,
	(const uint8 *) data + block->length};
	WalredoTag	key = {0};
	bool		is_first = true;

	while (input.ptr < input.end)
	{
		Input		refs;
		uint64		nbytes;
		int			cmp;

		if (!take_key(&input, &key) ||
			!take_integer(&input, PG_UINT32_MAX, &nbytes) ||
			nbytes > input.end - input.ptr)
			return false;
		if (is_first &&
			memcmp(&key, &block->first_key, sizeof(WalredoTag)) != 0)
			return false;
		is_first = false;
		refs.ptr = input.ptr;
		refs.end = input.ptr = input.ptr + nbytes;
		cmp = walredo_tag_compare(&key, wanted);
		if (cmp == 0)
			return add_refs(file, refs, found);
		if (cmp > 0)
			break;
	}
	return true;
}

/*
 * Gets a block, which is kept if it is not too large.  *to_free is set if the
 * caller has to free it.  Returns NULL, with *failure set, if it cannot be had.
 */
static const char *
get_block(WalredoIndexFile *file, int fd, uint32 i, char **to_free,
		  int *failure)
{
	const IndexBlock *block = &file->blocks[i];
	char	   *data;
	pg_crc32c	crc;
	bool		is_read;

	*to_free = NULL;
	if (file->data[i] != NULL)
		return file->data[i];
	if (fd < 0)
	{
		*failure = WALREDO_INDEX_NOT_READ;
		return NULL;
	}

	/* The file was at least so large when it was opened. */
	data = MemoryContextAlloc(GetMemoryChunkContext(file), block->length);
	INIT_CRC32C(crc);
	is_read = read_at(fd, data, block->length, file->offsets[i]);
	if (is_read)
		COMP_CRC32C(crc, data, block->length);
	FIN_CRC32C(crc);
	if (!is_read || !EQ_CRC32C(crc, block->crc))
	{
		pfree(data);
		*failure = WALREDO_INDEX_DAMAGED;
		return NULL;
	}
	if (block->length <= MAX_KEPT_BLOCK)
	{
		file->data[i] = data;
		file->data_bytes += block->length;
	}
	else
		*to_free = data;
	return data;
}

/*
 * Adds the references of a key.  Returns 0, or why that is not possible.
 */
static int
look_up_key(WalredoIndexFile *file, int fd, const WalredoTag *key, Found *found)
{
	uint32		low = 0;
	uint32		high = file->num_blocks;
	const char *data;
	char	   *to_free;
	int			result = 0;

	/* There are none in most segments. */
	if (key->kind >= INDEX_ENDS_OF_RELATION && file->num_end_blocks == 0)
		return 0;

	/* The last block whose first key is not greater than the key. */
	while (low < high)
	{
		uint32		middle = low + (high - low) / 2;

		if (walredo_tag_compare(&file->blocks[middle].first_key, key) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return 0;
	data = get_block(file, fd, low - 1, &to_free, &result);
	if (data != NULL &&
		!search_block(file, data, &file->blocks[low - 1], key, found))
		result = WALREDO_INDEX_DAMAGED;
	if (data != NULL && to_free != NULL)
		pfree(to_free);
	return result;
}

static int
compare_refs(const void *a, const void *b)
{
	XLogRecPtr	lsn_a = ((const WalredoIndexRef *) a)->lsn;
	XLogRecPtr	lsn_b = ((const WalredoIndexRef *) b)->lsn;

	return lsn_a < lsn_b ? -1 : lsn_a > lsn_b ? 1 : 0;
}

/* Sorts the references, and merges those of the same record. */
static void
sort_refs(Found *found)
{
	WalredoIndexRef *refs = found->refs;
	Size		n = 0;

	qsort(refs, found->num_refs, sizeof(WalredoIndexRef), compare_refs);
	for (Size i = 0; i < found->num_refs; i++)
	{
		if (n > 0 && refs[n - 1].lsn == refs[i].lsn)
			refs[n - 1].may_stop |= refs[i].may_stop;
		else
			refs[n++] = refs[i];
	}
	found->num_refs = n;
}

/* Looks up several keys.  Returns as walredo_index_file_lookup(). */
static int
look_up(WalredoIndexFile *file, int fd, const WalredoTag *keys, int num_keys,
		WalredoIndexRef **refs)
{
	Found		found = {.is_sorted = true};
	int			failure = 0;

	for (int i = 0; failure == 0 && i < num_keys; i++)
		failure = look_up_key(file, fd, &keys[i], &found);
	if (failure == 0 && !found.is_sorted)
		sort_refs(&found);
	if (found.refs != NULL && (failure != 0 || found.num_refs == 0))
	{
		pfree(found.refs);
		found.refs = NULL;
	}
	*refs = found.refs;
	return failure != 0 ? failure : (int) found.num_refs;
}

int
walredo_index_file_lookup(WalredoIndexFile *file, int fd,
						  const WalredoTag *tag, WalredoIndexRef **refs)
{
	WalredoTag	keys[5];
	int			n = 0;

	keys[n++] = *tag;
	if (tag->kind == WALREDO_TAG_REL)
		keys[n++] = index_ends_of_relation(tag);
	keys[n++] = index_ends_of_kind(tag->kind == WALREDO_TAG_RELMAP ?
								   WALREDO_TAG_REL : tag->kind);

	/* Commit timestamps are where the status of the transactions is. */
	if (tag->kind == WALREDO_TAG_COMMIT_TS)
	{
		uint64		first = tag->number * WALREDO_COMMIT_TS_XACTS_PER_PAGE;
		uint64		last = first + WALREDO_COMMIT_TS_XACTS_PER_PAGE - 1;
		WalredoTag	clog = {.kind = WALREDO_TAG_CLOG};

		clog.number = first / WALREDO_CLOG_XACTS_PER_PAGE;
		keys[n++] = clog;
		if (last / WALREDO_CLOG_XACTS_PER_PAGE != clog.number)
		{
			clog.number++;
			keys[n++] = clog;
		}
	}
	return look_up(file, fd, keys, n, refs);
}

int
walredo_index_file_lookup_ends(WalredoIndexFile *file, int fd,
							   const WalredoTag *tag, WalredoIndexRef **refs)
{
	WalredoTag	keys[2] = {
		index_ends_of_relation(tag), index_ends_of_kind(WALREDO_TAG_REL)
	};

	Assert(tag->kind == WALREDO_TAG_REL);
	return look_up(file, fd, keys, lengthof(keys), refs);
}
