/*-------------------------------------------------------------------------
 *
 * proto.h
 *	  What a backend and a wal-redo child say to each other over pipes.
 *
 * Requests go to the child's standard input.  Each message is a type byte and
 * a big-endian length, which counts itself but not the type, then the
 * payload.  All integers are big-endian.
 *
 *	'B'	begin redo for block	tag
 *	'P'	push page				tag, page image
 *	'A'	apply record			end LSN (uint64), the whole WAL record
 *	'G'	get page				tag; answered
 *	'H'	ping					nothing; answered
 *	'M'	mask page				rmgr ID (uint8), block (uint32), page image;
 *								answered with the masked page
 *	'D'	describe record			end LSN (uint64), the whole WAL record;
 *								answered with text, which zeroes follow
 *
 * where a tag is fork number (uint8), tablespace, database, relation and
 * block number (uint32 each).  Every answer, on the child's standard output,
 * is one page of BLCKSZ bytes with no header.  The child reports no error in
 * the protocol: it writes log text to its standard error and exits.
 *
 * Code here is used by both sides, so it may not ereport().
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/proto/proto.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PROTO_H
#define WALREDO_PROTO_H

#include "postgres.h"

#include "port/pg_bswap.h"
#include "storage/block.h"

/*
 * Set in the environment of a process that is to become a child, to the
 * process ID of its parent.
 */
#define WALREDO_CHILD_ENV	"WALREDO_CHILD_OF"

/*
 * What the worker and its template (see child/template.c) say to each other
 * over a SOCK_SEQPACKET socket, the template's standard input.  An order is as
 * below, with the descriptors that are to be a new child's 0, 1 and 2.  Each
 * answer is an int32: the child's process ID, or a negative errno if there is
 * none.  The template begins with an answer to no order, when it is ready.
 */
#define WALREDO_TEMPLATE_ORDER	'F'
#define WALREDO_TEMPLATE_READY	0

/* Room for the names of a database and of a role. */
#define WALREDO_TITLE_SIZE		(2 * NAMEDATALEN)

typedef struct WalredoTemplateOrder
{
	char		type;			/* WALREDO_TEMPLATE_ORDER */

	/* Whom the child serves, for its title; ends with a zero byte. */
	char		title[WALREDO_TITLE_SIZE];
} WalredoTemplateOrder;

typedef enum WalredoMessageType
{
	WALREDO_MSG_BEGIN = 'B',
	WALREDO_MSG_PUSH = 'P',
	WALREDO_MSG_APPLY = 'A',
	WALREDO_MSG_GET = 'G',
	WALREDO_MSG_PING = 'H',
	WALREDO_MSG_MASK = 'M',
	WALREDO_MSG_DESCRIBE = 'D'
} WalredoMessageType;

#define WALREDO_WIRE_HEADER_SIZE	5
#define WALREDO_WIRE_TAG_SIZE		17
#define WALREDO_WIRE_LSN_SIZE		8	/* what precedes a record */
#define WALREDO_WIRE_MASK_SIZE		5	/* what precedes the page */

/*
 * The longest payload.  A record for the child names at most 33 blocks, each
 * with an image and less than 64 kB of data, and its main data is small, so
 * nothing real is refused.
 */
#define WALREDO_WIRE_MAX_PAYLOAD	(16 * 1024 * 1024 + WALREDO_WIRE_LSN_SIZE)

/* The block that a request is about. */
typedef struct WalredoWireTag
{
	uint8		forknum;
	uint32		spcOid;
	uint32		dbOid;
	uint32		relNumber;
	BlockNumber blkno;
} WalredoWireTag;

/*
 * The put functions write at p, for which the caller has made room, and
 * return the byte after what they wrote.  The get functions read at p.
 */
static inline char *
walredo_put_uint32(char *p, uint32 value)
{
	value = pg_hton32(value);
	memcpy(p, &value, sizeof(value));
	return p + sizeof(value);
}

static inline char *
walredo_put_uint64(char *p, uint64 value)
{
	value = pg_hton64(value);
	memcpy(p, &value, sizeof(value));
	return p + sizeof(value);
}

static inline uint32
walredo_get_uint32(const char *p)
{
	uint32		value;

	memcpy(&value, p, sizeof(value));
	return pg_ntoh32(value);
}

static inline uint64
walredo_get_uint64(const char *p)
{
	uint64		value;

	memcpy(&value, p, sizeof(value));
	return pg_ntoh64(value);
}

static inline char *
walredo_put_header(char *p, WalredoMessageType type, uint32 payload_size)
{
	*p++ = (char) type;
	return walredo_put_uint32(p, payload_size + sizeof(uint32));
}

extern char *walredo_put_tag(char *p, const WalredoWireTag *tag);
extern void walredo_get_tag(const char *p, WalredoWireTag *tag);

/*
 * Reads from a blocking descriptor until at least min bytes are there, and at
 * most max.  Returns how many were read; fewer than min at the end of the
 * stream; -1 with errno on an error.
 */
extern ssize_t walredo_read(int fd, char *buf, size_t min, size_t max);

/* Writes all of buf to a blocking descriptor; false with errno on an error. */
extern bool walredo_write(int fd, const char *buf, size_t size);

/*
 * Sends descriptors along with data, which may not be empty, and receives as
 * many as were sent; a receiver owns copies, marked close-on-exec.  flags are
 * those of sendmsg().  False if that was not possible; anything but size
 * bytes and nfds descriptors is taken for an error, with errno EPROTO.
 */
#define WALREDO_MAX_FDS		3

extern bool walredo_send_fds(int sock, const void *data, size_t size,
							 const int *fds, int nfds, int flags);
extern bool walredo_receive_fds(int sock, void *data, size_t size,
								int *fds, int nfds);

#endif							/* WALREDO_PROTO_H */
