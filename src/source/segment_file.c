/*-------------------------------------------------------------------------
 *
 * segment_file.c
 *	  Reading one segment file, which can be compressed.
 *
 * A compressed file is decompressed as a stream, so that no more than two
 * buffers and the library's state are in memory, whatever the file says.  The
 * reader goes through a segment in ascending order, and from one call to the
 * next the stream goes on where it was.  To go back, it begins again.
 *
 * No descriptor is kept: see the head of source.c.  So a call has to make sure
 * that the file is still the one whose stream it goes on with.  If another one
 * has got its name, begin again, and read the same bytes of that one.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/segment_file.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"
#include "source/segment_file.h"
#include "storage/fd.h"
#include "utils/memutils.h"

/* Bytes of a compressed file that are read at once. */
#define INPUT_SIZE		(128 * 1024)

/* Bytes that are decompressed at once on the way to an offset. */
#define SKIP_SIZE		(64 * 1024)

/* The longest text about a file. */
#define MAX_PROBLEM		256

struct WalredoSegmentFile
{
	MemoryContext context;

	/* Which file it is. */
	bool		is_open;
	struct stat st;
	WalredoCompression compression;

	/* The stream, of a compressed file. */
	WalredoDecompressor *decompressors[WALREDO_NUM_COMPRESSIONS];
	off_t		next_input;		/* offset of what is to be read next */
	char	   *input;			/* INPUT_SIZE bytes, or NULL */
	const char *in;				/* what is left of it */
	Size		in_left;
	uint64		position;		/* offset of the next byte of the contents */
	const char *problem;		/* why the stream cannot go on, or NULL */
	char		problem_text[MAX_PROBLEM];
	char	   *skipped;		/* SKIP_SIZE bytes, or NULL */
};

WalredoSegmentFile *
walredo_segment_file_create(void)
{
	WalredoSegmentFile *file = palloc0(sizeof(WalredoSegmentFile));

	file->context = CurrentMemoryContext;
	return file;
}

/*
 * The directory may be anyone's, so the name may be that of a FIFO.  With
 * O_NONBLOCK, opening one does not wait for a writer.
 */
int
walredo_open_regular_file(const char *path, struct stat *st)
{
	int			fd = OpenTransientFile(path,
									   O_RDONLY | O_NONBLOCK | PG_BINARY);

	/* These are a symbolic link to itself, and a device that is not there. */
	if (fd < 0 && (errno == ELOOP || errno == ENXIO))
		errno = EISDIR;
	if (fd >= 0 && (fstat(fd, st) != 0 || !S_ISREG(st->st_mode)))
	{
		int			save_errno = fstat(fd, st) != 0 ? errno : EISDIR;

		CloseTransientFile(fd);
		errno = save_errno;
		return -1;
	}
	return fd;
}

/*
 * Reads up to length bytes at an offset.  Returns their number, which is less
 * only at the end of the file, or after an error: then *problem and errno are
 * set.
 */
static Size
read_fully(int fd, char *buf, Size length, off_t offset, const char **problem)
{
	Size		nread = 0;

	*problem = NULL;
	while (nread < length)
	{
		ssize_t		n = pg_pread(fd, buf + nread, length - nread,
								 offset + nread);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
		{
			int			save_errno = errno;

			*problem = psprintf("it cannot be read: %m");
			errno = save_errno;
		}
		if (n <= 0)
			break;
		nread += n;
	}
	return nread;
}

bool
walredo_is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
		a->st_size == b->st_size &&
		a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
		a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
		a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
		a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/*
 * Takes note of why the stream cannot go on, as printf() would write it.  A
 * source can look at thousands of bad files, again and again, so the text takes
 * no memory of its own.
 */
static void
pg_attribute_printf(2, 3)
set_problem(WalredoSegmentFile *file, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(file->problem_text, MAX_PROBLEM, format, args);
	va_end(args);
	file->problem = file->problem_text;
}

/* Begins with a file, or begins again. */
static void
begin_file(WalredoSegmentFile *file, int fd, const struct stat *st)
{
	char		magic[WALREDO_MAGIC_LENGTH];
	const char *problem;
	Size		length;

	/* If the file cannot be read, it is found out again when it is read. */
	file->is_open = false;
	file->problem = NULL;
	length = read_fully(fd, magic, sizeof(magic), 0, &problem);
	file->st = *st;
	file->compression = walredo_compression_of(magic, length);
	file->next_input = 0;
	file->in_left = 0;
	file->position = 0;

	if (file->compression == WALREDO_UNSUPPORTED)
		file->problem = "it is compressed or encrypted in a way that is not supported";
	else if (file->compression != WALREDO_PLAIN)
	{
		MemoryContext old_context = MemoryContextSwitchTo(file->context);

		if (file->input == NULL)
			file->input = palloc(INPUT_SIZE);
		if (file->decompressors[file->compression] == NULL)
			file->decompressors[file->compression] =
				walredo_decompressor_create(file->compression);
		walredo_decompressor_start(file->decompressors[file->compression]);
		MemoryContextSwitchTo(old_context);
	}
	file->is_open = true;
}

/*
 * Decompresses the next bytes of the contents, up to length.  Returns their
 * number, which is less only at the end of the contents, or if they cannot be
 * decompressed further: then file->problem is set.
 */
static Size
read_stream(WalredoSegmentFile *file, int fd, char *buf, Size length)
{
	WalredoDecompressor *decompressor = file->decompressors[file->compression];
	char	   *out = buf;
	Size		out_left = length;

	while (out_left > 0 && file->problem == NULL)
	{
		const char *problem;
		bool		at_end = false;

		CHECK_FOR_INTERRUPTS();

		if (file->in_left == 0)
		{
			file->in = file->input;
			file->in_left = read_fully(fd, file->input, INPUT_SIZE,
									   file->next_input, &problem);
			file->next_input += file->in_left;
			if (problem != NULL)
			{
				set_problem(file, "%s", problem);
				break;
			}
			at_end = (file->in_left == 0);
		}
		problem = walredo_decompress(decompressor, &file->in, &file->in_left,
									 &out, &out_left);
		if (problem != NULL)
			set_problem(file, "decompression by %s fails: %s",
						walredo_compression_name(file->compression), problem);
		else if (at_end)
		{
			if (!walredo_decompressor_is_at_end(decompressor))
				file->problem = "its compressed data is cut off";
			break;
		}
	}
	file->position += length - out_left;
	return length - out_left;
}

/* Moves the stream forward to an offset, if the contents reach so far. */
static void
skip_to(WalredoSegmentFile *file, int fd, uint64 offset)
{
	if (file->skipped == NULL)
		file->skipped = MemoryContextAlloc(file->context, SKIP_SIZE);
	while (file->position < offset)
	{
		if (read_stream(file, fd, file->skipped,
						Min(SKIP_SIZE, offset - file->position)) == 0)
			break;
	}
}

Size
walredo_plain_file_read(int fd, uint64 size, uint64 offset, char *buf,
						Size length, const char **problem)
{
	if (offset >= size)
		length = 0;
	length = Min(length, size - offset);
	return read_fully(fd, buf, length, offset, problem);
}

Size
walredo_segment_file_read(WalredoSegmentFile *file, int fd,
						  const struct stat *st, uint64 size, uint64 offset,
						  char *buf, Size length, const char **problem)
{
	Size		nread;

	if (!file->is_open || !walredo_is_same_file(st, &file->st) ||
		(file->compression != WALREDO_PLAIN && offset < file->position))
		begin_file(file, fd, st);

	if (file->compression == WALREDO_PLAIN)
		return walredo_plain_file_read(fd, size, offset, buf, length, problem);
	if (offset >= size)
		length = 0;
	length = Min(length, size - offset);

	/* If this is left by an error, the position is not known any more. */
	file->is_open = false;
	skip_to(file, fd, offset);
	nread = file->position == offset ? read_stream(file, fd, buf, length) : 0;
	if (offset + nread == size && file->problem == NULL)
	{
		char		extra;

		if (read_stream(file, fd, &extra, 1) > 0)
			file->problem = "its contents are too long";
		if (file->problem != NULL)
			nread = 0;
	}
	file->is_open = true;
	*problem = file->problem;
	return nread;
}

WalredoCompression
walredo_segment_compression(WalredoSegmentFile *file)
{
	return file->compression;
}
