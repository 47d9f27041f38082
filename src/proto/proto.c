/*-------------------------------------------------------------------------
 *
 * proto.c
 *	  Encoding of the tag, and full reads and writes.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/proto/proto.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "proto/proto.h"

char *
walredo_put_tag(char *p, const WalredoWireTag *tag)
{
	*p++ = (char) tag->forknum;
	p = walredo_put_uint32(p, tag->spcOid);
	p = walredo_put_uint32(p, tag->dbOid);
	p = walredo_put_uint32(p, tag->relNumber);
	return walredo_put_uint32(p, tag->blkno);
}

void
walredo_get_tag(const char *p, WalredoWireTag *tag)
{
	tag->forknum = (uint8) p[0];
	tag->spcOid = walredo_get_uint32(p + 1);
	tag->dbOid = walredo_get_uint32(p + 5);
	tag->relNumber = walredo_get_uint32(p + 9);
	tag->blkno = walredo_get_uint32(p + 13);
}

ssize_t
walredo_read(int fd, char *buf, size_t min, size_t max)
{
	size_t		done = 0;

	while (done < min)
	{
		ssize_t		n = read(fd, buf + done, max - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += n;
	}
	return done;
}

bool
walredo_write(int fd, const char *buf, size_t size)
{
	size_t		done = 0;

	while (done < size)
	{
		ssize_t		n = write(fd, buf + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		done += n;
	}
	return true;
}
