/*-------------------------------------------------------------------------
 *
 * summaries.c
 *	  What the server's own summaries of its WAL say of a page.
 *
 * Since PostgreSQL 17, a server with summarize_wal = on writes, for each range
 * of WAL between two checkpoints, which blocks its records name.  That does not
 * tell where in the range the records are, but where a block is not named, the
 * range need not be read for it.  Summaries are used where there is no index.
 *
 * What a summary leaves out, the page must not depend on.  The server's
 * walsummarizer.c puts in
 *
 *		each block that a record names, except those of free space maps;
 *		as the "limit block" of a fork, the shortest length that it has had: 0 if
 *		it was created or dropped;
 *		a limit block of relation 0 for a database's files in a tablespace, if
 *		they were created, copied or dropped.
 *
 * changes.c and changes_end.c say what else can concern a page.  These are the
 * visibility map's pages, which records change without naming them; forks other
 * than the main one, which end when the main one is created; and all files of a
 * tablespace when that is dropped.  So only blocks of main forks in the two
 * tablespaces that cannot be dropped are looked for here.
 *
 * WAL of wal_level = minimal, which may not tell everything, is not summarized.
 * A range begins and ends between two records.  Hence, if ranges that follow
 * each other cover a segment, all records that begin in it are in one of them.
 *
 * A summary is of WAL as it was.  After a crash of a server with fsync = off,
 * there can be other WAL of the same timeline in its place, and the server does
 * not notice that.  So nothing about the segment file, not even its name, may
 * have changed after a summary was written.  A checkpoint in the middle of a
 * segment ends a summary that does not pass this test, so such a segment is
 * read.
 *
 * The server's own functions to read summaries are not used, because they trust
 * the size of a chunk, and would write beyond their buffer if it is wrong: they
 * compare the checksum only at the end.  What is read here is what
 * WriteBlockRefTable() in src/common/blkreftable.c writes.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/index/summaries.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog_internal.h"
#include "catalog/pg_tablespace_d.h"
#include "compat.h"
#include "index/store.h"
#include "index/summaries.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#define SUMMARY_DIRECTORY	XLOGDIR "/summaries"

/* A summary's name: TLI, first LSN and end LSN, as hexadecimal digits. */
#define SUMMARY_DIGITS		40
#define SUMMARY_SUFFIX		".summary"

/*
 * If there are more summaries, none is used.  The server keeps them for ten
 * days; with a checkpoint every thirty seconds, these are half as many.
 */
#define MAX_SUMMARIES		65536

/*
 * The blocks of a fork are kept in chunks of 2^16 blocks.  A chunk is an array
 * of 16-bit offsets, or if that would not be smaller, a bitmap of this size.
 */
#define BLOCKS_PER_CHUNK	65536
#define MAX_CHUNK_ENTRIES	(BLOCKS_PER_CHUNK / 16)
#define MAX_CHUNKS			65536

/* How much is read at a time. */
#define READ_SIZE			65536

/* How many answers are remembered. */
#define MAX_ANSWERS			64

/* A summary that was in the directory when that was listed. */
typedef struct Summary
{
	TimeLineID	tli;
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
} Summary;

/* What precedes the chunks of a fork in a summary. */
typedef struct SummaryEntry
{
	Oid			spcOid;
	Oid			dbOid;
	RelFileNumber relNumber;
	int32		forknum;
	BlockNumber limit_block;
	uint32		nchunks;
} SummaryEntry;

/* A summary that is read from its beginning. */
typedef struct SummaryReader
{
	int			fd;
	pg_crc32c	crc;			/* of what was taken */
	char	   *buf;
	Size		filled;
	Size		taken;			/* of the buffer */
} SummaryReader;

/* Whether a summary rules a page out, as found when it was read last. */
typedef struct Answer
{
	Summary		summary;
	uint64		inode;
	int64		size;
	int64		mtime;
	WalredoTag	tag;
	bool		rules_out;
} Answer;

/* The list of summaries, and the time of the directory that it is of. */
static Summary *summaries = NULL;
static int	nsummaries = 0;
static int64 listed_mtime = 0;

static Answer answers[MAX_ANSWERS];
static int	next_answer = 0;

static inline int64
time_ns(struct timespec time)
{
	return (int64) time.tv_sec * 1000000000 + time.tv_nsec;
}

/* ----------------------------------------
 * Which summaries there are
 * ----------------------------------------
 */

/* Reads the name of a summary, as GetWalSummaries() in walsummary.c does. */
static bool
parse_name(const char *name, Summary *summary)
{
	uint32		start[2];
	uint32		end[2];

	if (strspn(name, "0123456789ABCDEF") != SUMMARY_DIGITS ||
		strcmp(name + SUMMARY_DIGITS, SUMMARY_SUFFIX) != 0 ||
		sscanf(name, "%08X%08X%08X%08X%08X", &summary->tli, &start[0],
			   &start[1], &end[0], &end[1]) != 5)
		return false;
	summary->start_lsn = (uint64) start[0] << 32 | start[1];
	summary->end_lsn = (uint64) end[0] << 32 | end[1];
	return true;
}

static void
summary_path(const Summary *summary, char *path)
{
	snprintf(path, MAXPGPATH,
			 SUMMARY_DIRECTORY "/%08X%08X%08X%08X%08X" SUMMARY_SUFFIX,
			 summary->tli, LSN_FORMAT_ARGS(summary->start_lsn),
			 LSN_FORMAT_ARGS(summary->end_lsn));
}

/* qsort() comparator: orders summaries by where they begin. */
static int
compare_summaries(const void *a, const void *b)
{
	const Summary *sa = a;
	const Summary *sb = b;

	if (sa->tli != sb->tli)
		return sa->tli < sb->tli ? -1 : 1;
	if (sa->start_lsn != sb->start_lsn)
		return sa->start_lsn < sb->start_lsn ? -1 : 1;
	return 0;
}

/*
 * Lists the summaries, unless the directory is as it was.  If it has changed
 * within the resolution of its time, the list lacks a summary, or has one that
 * cannot be opened, which does no harm.
 */
static void
list_summaries(void)
{
	struct stat st;
	DIR		   *dir;
	struct dirent *entry;
	int			max;

	if (stat(SUMMARY_DIRECTORY, &st) != 0)
	{
		nsummaries = 0;
		listed_mtime = 0;
		return;
	}
	if (listed_mtime == time_ns(st.st_mtim))
		return;

	listed_mtime = 0;
	nsummaries = 0;
	max = 64;
	if (summaries != NULL)
		pfree(summaries);
	summaries = NULL;
	summaries = MemoryContextAlloc(TopMemoryContext, max * sizeof(Summary));
	dir = AllocateDir(SUMMARY_DIRECTORY);
	if (dir == NULL)
		return;
	while ((entry = ReadDirExtended(dir, SUMMARY_DIRECTORY, DEBUG1)) != NULL)
	{
		Summary		summary;

		CHECK_FOR_INTERRUPTS();
		if (!parse_name(entry->d_name, &summary))
			continue;
		if (nsummaries == MAX_SUMMARIES)
		{
			nsummaries = 0;
			break;
		}
		if (nsummaries == max)
		{
			max *= 2;
			summaries = repalloc(summaries, max * sizeof(Summary));
		}
		summaries[nsummaries++] = summary;
	}
	FreeDir(dir);
	qsort(summaries, nsummaries, sizeof(Summary), compare_summaries);
	listed_mtime = time_ns(st.st_mtim);
}

/* ----------------------------------------
 * Reading a summary
 * ----------------------------------------
 */

/*
 * Takes the next bytes of a summary, or skips them if data is NULL.  Returns
 * false if it has less.
 */
static bool
take_bytes(SummaryReader *reader, void *data, Size size)
{
	char	   *to = data;

	while (size > 0)
	{
		Size		n = Min(size, reader->filled - reader->taken);
		const char *from = reader->buf + reader->taken;

		if (n == 0)
		{
			int			nread;

			CHECK_FOR_INTERRUPTS();
			nread = read(reader->fd, reader->buf, READ_SIZE);
			if (nread < 0 && errno == EINTR)
				continue;
			if (nread <= 0)
				return false;
			reader->filled = nread;
			reader->taken = 0;
			continue;
		}
		COMP_CRC32C(reader->crc, from, n);
		if (to != NULL)
		{
			memcpy(to, from, n);
			to += n;
		}
		reader->taken += n;
		size -= n;
	}
	return true;
}

/*
 * Takes the chunks of an entry.  If blkno is valid, *is_named is set if it is
 * in them.  Returns false if the summary is damaged.
 */
static bool
take_chunks(SummaryReader *reader, const SummaryEntry *entry,
			BlockNumber blkno, bool *is_named)
{
	uint32		wanted = BlockNumberIsValid(blkno) ?
		blkno / BLOCKS_PER_CHUNK : MAX_CHUNKS;
	uint16		offset = blkno % BLOCKS_PER_CHUNK;
	uint16		wanted_size = 0;
	uint16		chunk[MAX_CHUNK_ENTRIES];
	uint64		before = 0;		/* entries of the chunks before it, */
	uint64		after = 0;		/* ... and of those after it */

	if (entry->nchunks > MAX_CHUNKS)
		return false;
	for (uint32 i = 0; i < entry->nchunks; i++)
	{
		uint16		size;

		if (!take_bytes(reader, &size, sizeof(size)) ||
			size > MAX_CHUNK_ENTRIES)
			return false;
		if (i == wanted)
			wanted_size = size;
		else if (i < wanted)
			before += size;
		else
			after += size;
	}
	if (!take_bytes(reader, NULL, before * sizeof(uint16)) ||
		!take_bytes(reader, chunk, wanted_size * sizeof(uint16)) ||
		!take_bytes(reader, NULL, after * sizeof(uint16)))
		return false;

	if (wanted_size == MAX_CHUNK_ENTRIES)
		*is_named = (chunk[offset / 16] & (1 << (offset % 16))) != 0;
	else
	{
		for (int i = 0; i < wanted_size; i++)
		{
			if (chunk[i] == offset)
				*is_named = true;
		}
	}
	return true;
}

/*
 * Reads all of a summary.  Returns false if it names the page, or anything that
 * may end the page, or if it is damaged.
 */
static bool
summary_lacks(SummaryReader *reader, const WalredoTag *tag)
{
	uint32		magic;
	SummaryEntry entry;
	SummaryEntry last = {0};
	pg_crc32c	expected;
	pg_crc32c	crc;

	if (!take_bytes(reader, &magic, sizeof(magic)) ||
		magic != WALREDO_SUMMARY_MAGIC)
		return false;
	for (;;)
	{
		BlockNumber blkno = InvalidBlockNumber;
		bool		is_named = false;

		if (!take_bytes(reader, &entry, sizeof(entry)))
			return false;
		if (memcmp(&entry, &last, sizeof(entry)) == 0)
			break;
		if (entry.spcOid == tag->spcOid && entry.dbOid == tag->dbOid &&
			entry.forknum == MAIN_FORKNUM)
		{
			if (entry.relNumber == 0)
				return false;
			if (entry.relNumber == tag->relNumber)
			{
				blkno = (BlockNumber) tag->number;
				if (blkno >= entry.limit_block)
					return false;
			}
		}
		if (!take_chunks(reader, &entry, blkno, &is_named) || is_named)
			return false;
	}

	/* The checksum is not of itself. */
	expected = reader->crc;
	FIN_CRC32C(expected);
	return take_bytes(reader, &crc, sizeof(crc)) &&
		EQ_CRC32C(crc, expected) && !take_bytes(reader, &magic, 1);
}

/*
 * Does a summary rule a page out?  The summary must have been written after
 * changed, in ns since 1970.
 */
static bool
summary_rules_out(const Summary *summary, int64 changed, const WalredoTag *tag)
{
	char		path[MAXPGPATH];
	struct stat st;
	SummaryReader reader = {0};
	Answer	   *answer;

	summary_path(summary, path);
	if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) ||
		time_ns(st.st_mtim) < changed)
		return false;
	for (int i = 0; i < MAX_ANSWERS; i++)
	{
		answer = &answers[i];
		if (answer->inode == st.st_ino && answer->size == st.st_size &&
			answer->mtime == time_ns(st.st_mtim) &&
			memcmp(&answer->summary, summary, sizeof(Summary)) == 0 &&
			memcmp(&answer->tag, tag, sizeof(WalredoTag)) == 0)
			return answer->rules_out;
	}

	reader.fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (reader.fd < 0)
		return false;
	if (fstat(reader.fd, &st) != 0 || time_ns(st.st_mtim) < changed)
	{
		CloseTransientFile(reader.fd);
		return false;
	}
	reader.buf = palloc(READ_SIZE);
	INIT_CRC32C(reader.crc);
	answer = &answers[next_answer];
	answer->size = -1;			/* of no file, if this is interrupted */
	answer->rules_out = summary_lacks(&reader, tag);
	answer->summary = *summary;
	answer->tag = *tag;
	answer->inode = st.st_ino;
	answer->mtime = time_ns(st.st_mtim);
	answer->size = st.st_size;
	next_answer = (next_answer + 1) % MAX_ANSWERS;
	pfree(reader.buf);
	CloseTransientFile(reader.fd);
	return answer->rules_out;
}

/* ----------------------------------------
 * Segments
 * ----------------------------------------
 */

/*
 * Is this a file of the server's own pg_wal, and the one that would be read?
 * If so, sets *id, and *changed to when anything about the file has changed.
 */
static bool
find_local_segment(WalredoSource *source, XLogRecPtr lsn, WalredoSegmentId *id,
				   int64 *changed)
{
	char		name[MAXFNAMELEN];
	char		path[MAXPGPATH];
	struct stat st;

	if (!source->is_local ||
		!walredo_source_identify(source, lsn, 0, id) ||
		!walredo_store_accepts(id))
		return false;
	XLogFileName(name, id->tli, id->segno, id->segsize);
	snprintf(path, MAXPGPATH, "%s/" XLOGDIR, DataDir);
	if (strcmp(id->name, name) != 0 || strcmp(id->directory, path) != 0)
		return false;
	snprintf(path, MAXPGPATH, XLOGDIR "/%s", name);
	if (stat(path, &st) != 0 || st.st_size != id->segsize)
		return false;
	*changed = time_ns(st.st_ctim);
	return true;
}

bool
walredo_summaries_rule_out(WalredoSource *source, XLogRecPtr lsn,
						   const WalredoTag *tag)
{
	WalredoSegmentId id;
	int64		changed;
	XLogRecPtr	covered;
	XLogRecPtr	end;

	/* Older servers have none. */
	if (WALREDO_SUMMARY_MAGIC == 0)
		return false;
	if (tag->kind != WALREDO_TAG_REL || tag->forknum != MAIN_FORKNUM ||
		(tag->spcOid != DEFAULTTABLESPACE_OID &&
		 tag->spcOid != GLOBALTABLESPACE_OID))
		return false;
	list_summaries();
	if (nsummaries == 0 || !find_local_segment(source, lsn, &id, &changed))
		return false;

	covered = id.segno * id.segsize;
	end = covered + id.segsize;
	for (int i = 0; i < nsummaries && covered < end; i++)
	{
		const Summary *summary = &summaries[i];

		if (summary->tli != id.tli || summary->end_lsn <= covered)
			continue;
		if (summary->start_lsn > covered ||
			!summary_rules_out(summary, changed, tag))
			return false;
		covered = summary->end_lsn;
	}
	if (covered < end)
		return false;
	ereport(DEBUG1,
			(errmsg_internal("WAL file \"%s\" is not read, because WAL summaries do not name the page",
							 id.name)));
	return true;
}
