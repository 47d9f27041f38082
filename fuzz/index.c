/*-------------------------------------------------------------------------
 *
 * index.c
 *	  Fuzz target: the file of an index of WAL.
 *
 * An input is a tag and the bytes of the file.  Whatever these are, the file is
 * opened or refused, and pages are looked up in it, without any error: the one
 * of the tag, and those that begin the blocks of the file, which a tag that is
 * changed at random would hardly hit.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * fuzz/index.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "fuzz.h"
#include "index/builder.h"
#include "index/format_internal.h"
#include "utils/memutils.h"
#include "wal/changes.h"
#include "wal/reader.h"

/* The file of the index, relative to the data directory. */
#define FUZZ_INDEX_FILE		"walredo_fuzz_index"

/* The most blocks of an input whose first pages are looked up, and how many. */
#define MAX_BLOCKS			8
#define PAGES_OF_BLOCK		3

/*
 * What a lookup may allocate, for a file of so many bytes: a copy of a block,
 * the directory of blocks, and a reference for each byte.
 */
#define MAX_MEMORY(size)	(64 * 1024 + (size) * 2 * sizeof(WalredoIndexRef))

/* How many records a seed is made of, and how many seeds there are. */
#define SEED_RECORDS		300
#define MAX_SEEDS			40

/* The descriptor of the file, which is kept open. */
static int
index_file(void)
{
	static int	fd = -1;

	if (fd < 0)
		fd = open(FUZZ_INDEX_FILE, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		elog(ERROR, "could not create \"%s\": %m", FUZZ_INDEX_FILE);
	return fd;
}

/* Checks what a lookup has returned, and frees it. */
static void
check_refs(WalredoIndexFile *file, Size size, int n, WalredoIndexRef *refs)
{
	const WalredoIndexInfo *info = walredo_index_file_info(file);

	if ((n > 0) != (refs != NULL))
		fuzz_fail("%d references, %s memory", n, refs ? "with" : "without");
	if (n < -1 || n > (int64) size)
		fuzz_fail("%d references in %zu bytes", n, size);
	for (int i = 0; i < n; i++)
	{
		if (refs[i].lsn < info->first_lsn || refs[i].lsn > info->last_lsn)
			fuzz_fail("a reference that is not in the segment");
		if (i > 0 && refs[i].lsn <= refs[i - 1].lsn)
			fuzz_fail("references do not ascend");
	}
	if (MemoryContextMemAllocated(CurrentMemoryContext, true) >
		MAX_MEMORY(size))
		fuzz_fail("%zu bytes of memory for an index of %zu",
				  MemoryContextMemAllocated(CurrentMemoryContext, true), size);
	if (refs != NULL)
		pfree(refs);
}

/* Looks up a page in all ways, if the tag is of one. */
static void
look_up(WalredoIndexFile *file, int fd, Size size, const WalredoTag *tag)
{
	WalredoIndexRef *refs;
	int			n;

	if (!walredo_tag_is_valid(tag))
		return;
	n = walredo_index_file_lookup(file, fd, tag, &refs);
	check_refs(file, size, n, refs);

	/* What has been read is kept. */
	if (n >= 0 && n != walredo_index_file_lookup(file, -1, tag, &refs))
		fuzz_fail("not %d references without the file", n);
	if (n > 0)
		check_refs(file, size, n, refs);
	if (tag->kind != WALREDO_TAG_REL)
		return;
	n = walredo_index_file_lookup_ends(file, fd, tag, &refs);
	check_refs(file, size, n, refs);
}

/* What was opened must be opened again as that segment's, and no other's. */
static void
check_id(WalredoIndexFile *file, int fd)
{
	WalredoSegmentId id = walredo_index_file_info(file)->id;
	WalredoIndexFile *again = walredo_index_file_open(fd, &id);

	if (!IsValidWalSegSize(id.segsize))
		fuzz_fail("segments of %d bytes", id.segsize);
	if (again == NULL)
		fuzz_fail("an index is not of its own segment");
	walredo_index_file_free(again);
	id.inode++;
	if (walredo_index_file_open(fd, &id) != NULL)
		fuzz_fail("an index is of another file");
}

void
fuzz_index_run(const char *data, Size size)
{
	int			fd = index_file();
	WalredoIndexFile *file;
	IndexHeader header;
	WalredoTag	tag;

	fuzz_accepted = true;
	if (size < sizeof(tag))
		return;
	memcpy(&tag, data, sizeof(tag));
	data += sizeof(tag);
	size -= sizeof(tag);
	if (ftruncate(fd, 0) != 0 ||
		pg_pwrite(fd, data, size, 0) != (ssize_t) size)
		fuzz_fail("could not write the file");

	file = walredo_index_file_open(fd, NULL);
	if (file == NULL)
		return;
	check_id(file, fd);
	if (walredo_index_file_memory(file) > MAX_MEMORY(size))
		fuzz_fail("an open index of %zu bytes takes %zu", size,
				  walredo_index_file_memory(file));
	look_up(file, fd, size, &tag);
	memcpy(&header, data, sizeof(header));
	for (uint32 i = 0; i < Min(header.num_blocks, MAX_BLOCKS); i++)
	{
		memcpy(&tag, data + header.blocks_offset + i * sizeof(IndexBlock),
			   sizeof(tag));
		if (tag.kind == INDEX_ENDS_OF_RELATION)
			tag.kind = WALREDO_TAG_REL;
		for (int j = 0; j < PAGES_OF_BLOCK; j++)
		{
			look_up(file, fd, size, &tag);
			tag.number++;
		}
	}
	walredo_index_file_free(file);
}

/* Makes a seed of the file, to which an index has just been written. */
static void
seed_index(const WalredoTag *tag, int fd)
{
	off_t		size = lseek(fd, 0, SEEK_END);
	char	   *seed = palloc(sizeof(WalredoTag) + size);

	memcpy(seed, tag, sizeof(WalredoTag));
	if (pg_pread(fd, seed + sizeof(WalredoTag), size, 0) != size)
		elog(ERROR, "could not read \"%s\": %m", FUZZ_INDEX_FILE);
	fuzz_seed(seed, sizeof(WalredoTag) + size);
	pfree(seed);
}

/* Makes seeds of parts of the server's own WAL. */
void
fuzz_index_seed_once(void)
{
	int			fd = index_file();
	WalredoReader *reader = walredo_reader_begin(NULL, WALREDO_START_OF_WAL,
												 WALREDO_END_OF_WAL);
	int			segsize = walredo_reader_segsize(reader);
	WalredoChanges *changes = walredo_changes_create(walredo_filter_all());
	WalredoIndexBuilder *builder = walredo_index_builder_create();
	WalredoIndexInfo info = {0};
	WalredoTag	tag = {0};
	int			nrecords = 0;
	int			nseeds = 0;

	info.id.tli = 1;
	info.id.segsize = segsize;
	strlcpy(info.id.directory, XLOGDIR, sizeof(info.id.directory));
	while (nseeds < MAX_SEEDS && walredo_reader_next(reader))
	{
		XLogRecPtr	lsn = walredo_reader_start_lsn(reader);
		WalredoPageChange *list;

		if (nrecords == SEED_RECORDS ||
			(nrecords > 0 && !XLByteInSeg(lsn, info.id.segno, segsize)))
		{
			if (ftruncate(fd, 0) != 0 ||
				!walredo_index_builder_finish(builder, &info, fd))
				elog(ERROR, "could not make an index");
			seed_index(&tag, fd);
			nseeds++;
			nrecords = 0;
		}
		if (nrecords++ == 0)
		{
			XLByteToSeg(lsn, info.id.segno, segsize);
			walredo_index_builder_begin(builder, info.id.segno * segsize,
										segsize);
		}
		walredo_index_builder_add(builder, walredo_reader_record(reader), lsn,
								  walredo_reader_end_lsn(reader));
		if (walredo_changes_of(changes, walredo_reader_record(reader),
							   walredo_reader_end_lsn(reader), &list) > 0)
			tag = list[0].tag;
	}
	walredo_index_builder_free(builder);
	walredo_changes_free(changes);
	walredo_reader_end(reader);
}
