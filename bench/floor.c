/*-------------------------------------------------------------------------
 *
 * floor.c
 *	  The least that a wal-redo child could do.
 *
 * Reads requests of the wire protocol (src/proto/proto.h) from standard input,
 * looks only at the type and the length of each message, and writes the same
 * page as the answer to every message that is answered.  The time that it takes
 * is spent in the kernel; what a real child takes longer is the cost of replay.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * bench/floor.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "proto/proto.h"

#define INPUT_SIZE		(128 * 1024)

static char input[INPUT_SIZE];
static char page[BLCKSZ];

/* True if messages of the type are answered. */
static inline bool
is_answered(char message_type)
{
	switch ((WalredoMessageType) message_type)
	{
#define MESSAGE_IS_ANSWERED(symbol, type, name, payload, order, answered) \
		case symbol: \
			return answered;
			WALREDO_MESSAGES(MESSAGE_IS_ANSWERED)
#undef MESSAGE_IS_ANSWERED
	}
	return false;
}

static bool
answer(void)
{
	size_t		done = 0;

	while (done < BLCKSZ)
	{
		ssize_t		n = write(STDOUT_FILENO, page + done, BLCKSZ - done);

		if (n < 0)
			return false;
		done += n;
	}
	return true;
}

int
main(void)
{
	size_t		start = 0;		/* of the bytes not yet looked at */
	size_t		end = 0;		/* of the bytes that have been read */
	size_t		skip = 0;		/* bytes left of the current message */
	bool		wants_answer = false;

	for (;;)
	{
		ssize_t		n;

		while (end - start >= WALREDO_WIRE_HEADER_SIZE ||
			   (skip > 0 && end > start))
		{
			const char *header = input + start;
			size_t		size;

			if (skip == 0)
			{
				skip = 1 + walredo_get_uint32(header + 1);
				wants_answer = is_answered(header[0]);
			}
			size = skip < end - start ? skip : end - start;
			start += size;
			skip -= size;
			if (skip == 0 && wants_answer && !answer())
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
