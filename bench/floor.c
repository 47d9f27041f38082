/*-------------------------------------------------------------------------
 *
 * floor.c
 *	  The least that a wal-redo child could do.
 *
 * Reads requests of the wire protocol (src/proto/proto.h) from standard
 * input, looks at nothing but where messages end, and gives each question its
 * answer of 8192 bytes, always the same.  What a real child takes longer than
 * this is what replay costs; the rest belongs to the kernel.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * bench/floor.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define PAGE_SIZE		8192
#define HEADER_SIZE		5
#define INPUT_SIZE		(128 * 1024)

static char input[INPUT_SIZE];
static char page[PAGE_SIZE];

static bool
answer(void)
{
	size_t		done = 0;

	while (done < PAGE_SIZE)
	{
		ssize_t		n = write(STDOUT_FILENO, page + done, PAGE_SIZE - done);

		if (n < 0)
			return false;
		done += n;
	}
	return true;
}

int
main(void)
{
	size_t		start = 0;		/* of what has not been looked at */
	size_t		end = 0;		/* of what has been read */
	size_t		skip = 0;		/* what is to come of the current message */
	bool		is_question = false;

	for (;;)
	{
		ssize_t		n;

		while (end - start >= HEADER_SIZE || (skip > 0 && end > start))
		{
			const unsigned char *header = (unsigned char *) input + start;
			size_t		size;

			if (skip == 0)
			{
				skip = 1 + (((uint32_t) header[1] << 24) |
							((uint32_t) header[2] << 16) |
							((uint32_t) header[3] << 8) | header[4]);
				is_question = strchr("GHMD", header[0]) != NULL;
			}
			size = skip < end - start ? skip : end - start;
			start += size;
			skip -= size;
			if (skip == 0 && is_question && !answer())
				return 1;
		}
		memmove(input, input + start, end - start);
		end -= start;
		start = 0;

		n = read(STDIN_FILENO, input + end, sizeof(input) - end);
		if (n <= 0)
			return n < 0;
		end += n;
	}
}
