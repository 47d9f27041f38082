/*-------------------------------------------------------------------------
 *
 * proto.h
 *	  The protocol between a backend and a wal-redo child, and the one between
 *	  the worker and the template.
 *
 * Requests go to the child's standard input.  Each message is a type byte and
 * a big-endian length, which counts itself but not the type, then the
 * payload.  All integers are big-endian.  Which messages there are, what their
 * payloads look like and when they may come is said in one table,
 * WALREDO_MESSAGES below; the enum of their types, the checks that the child
 * makes, its functions that handle them, and the inputs that fuzzing begins
 * with are all made from it.
 *
 * Every answer, on the child's standard output, is one page of BLCKSZ bytes
 * with no header.  The child reports no error in the protocol: it writes log
 * text to its standard error and exits.
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
 * The worker sends orders to its template (see child/template.c) over a
 * SOCK_SEQPACKET socket, which is the template's standard input.  An order is a
 * WalredoTemplateOrder, with the descriptors that are to be 0, 1, 2 and 3 of a
 * new child.  The last one is its standard input once more, but non-blocking.
 * The template replies to each with an int32: the child's process ID, or a
 * negative errno if it could not be forked.  Without an order, it sends
 * WALREDO_TEMPLATE_READY once, as soon as it is ready for orders.
 */
#define WALREDO_TEMPLATE_ORDER	'F'
#define WALREDO_TEMPLATE_READY	0

#define WALREDO_CHILD_NUM_FDS	4

/* Room for the names of a database and of a role. */
#define WALREDO_TITLE_SIZE		(2 * NAMEDATALEN)

typedef struct WalredoTemplateOrder
{
	char		type;			/* WALREDO_TEMPLATE_ORDER */

	/* The database and role that the child serves; ends with a zero byte. */
	char		title[WALREDO_TITLE_SIZE];
} WalredoTemplateOrder;

/*
 * All messages to a child.  This is used like PostgreSQL's rmgrlist.h: the
 * argument of WALREDO_MESSAGES() is a macro, which is expanded once for each
 * message, with these arguments:
 *
 *	MESSAGE(symbol, type byte, name, payload, order, answered)
 *
 * To add a message, add a line here, the function walredo_redo_NAME() that
 * handles it in the child to child/redo.c (child/child.c if it is not about
 * replay), and a function that sends it to
 * redo/replay.c.  If it needs a new sort of payload, the compiler says in which
 * functions of proto.[ch] and fuzz/child.c a case is missing;
 * walredo_payload_layout() must have a line for it, too.
 *
 *	begin		the following messages are about this block
 *	push		the base image of the block
 *	apply		a whole WAL record, to be replayed on the block
 *	get			answered with the block's image
 *	ping		answered with zeroes
 *	look		after the next answer, look for another message for some
 *				microseconds before sleeping until there is one
 *	mask		answered with the page as the resource manager's mask leaves it
 *	describe	answered with the text that the record's resource manager
 *				describes it with, filled up with zeroes
 *
 * A request for a page is begin, push if there is a base image, apply for each
 * record, and get.
 */
#define WALREDO_MESSAGES(MESSAGE) \
	MESSAGE(WALREDO_MSG_BEGIN, 'B', begin, \
			WALREDO_PAYLOAD_TAG, WALREDO_ORDER_FIRST, false) \
	MESSAGE(WALREDO_MSG_PUSH, 'P', push, \
			WALREDO_PAYLOAD_TAG_PAGE, WALREDO_ORDER_AFTER_FIRST, false) \
	MESSAGE(WALREDO_MSG_APPLY, 'A', apply, \
			WALREDO_PAYLOAD_RECORD, WALREDO_ORDER_AFTER_FIRST, false) \
	MESSAGE(WALREDO_MSG_GET, 'G', get, \
			WALREDO_PAYLOAD_TAG, WALREDO_ORDER_AFTER_FIRST, true) \
	MESSAGE(WALREDO_MSG_PING, 'H', ping, \
			WALREDO_PAYLOAD_NOTHING, WALREDO_ORDER_ANY, true) \
	MESSAGE(WALREDO_MSG_LOOK, 'L', look, \
			WALREDO_PAYLOAD_NOTHING, WALREDO_ORDER_ANY, false) \
	MESSAGE(WALREDO_MSG_MASK, 'M', mask, \
			WALREDO_PAYLOAD_MASK, WALREDO_ORDER_ANY, true) \
	MESSAGE(WALREDO_MSG_DESCRIBE, 'D', describe, \
			WALREDO_PAYLOAD_RECORD, WALREDO_ORDER_ANY, true)

typedef enum WalredoMessageType
{
#define MESSAGE_TYPE(symbol, type, name, payload, order, answered) \
	symbol = type,
	WALREDO_MESSAGES(MESSAGE_TYPE)
#undef MESSAGE_TYPE
} WalredoMessageType;

/*
 * What a payload consists of: fields of a fixed size, and then a body, which
 * is a page, a record, or nothing.  A tag is fork number (uint8), tablespace,
 * database, relation and block number (uint32 each).
 */
typedef enum WalredoPayload
{
	WALREDO_PAYLOAD_NOTHING,
	WALREDO_PAYLOAD_TAG,		/* tag */
	WALREDO_PAYLOAD_TAG_PAGE,	/* tag; page image */
	WALREDO_PAYLOAD_RECORD,		/* end LSN (uint64); the whole WAL record */
	WALREDO_PAYLOAD_MASK		/* rmgr ID (uint8), block (uint32); page */
} WalredoPayload;

/* When a message may come. */
typedef enum WalredoMessageOrder
{
	WALREDO_ORDER_FIRST,		/* at any time; begins a request for a block */
	WALREDO_ORDER_AFTER_FIRST,	/* only once such a request has begun */
	WALREDO_ORDER_ANY			/* at any time, and changes nothing */
} WalredoMessageOrder;

#define WALREDO_WIRE_HEADER_SIZE	5
#define WALREDO_WIRE_TAG_SIZE		17
#define WALREDO_WIRE_LSN_SIZE		8	/* what precedes a record */
#define WALREDO_WIRE_MASK_SIZE		5	/* what precedes a page to be masked */

/* The longest header with the fields of a payload, without a body. */
#define WALREDO_WIRE_MAX_HEAD_SIZE \
	(WALREDO_WIRE_HEADER_SIZE + WALREDO_WIRE_TAG_SIZE)

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

/* What the table says of a message, to be looked up by its type. */
typedef struct WalredoMessageRule
{
	WalredoMessageType type;
	WalredoPayload payload;
	WalredoMessageOrder order;
	bool		answered;
} WalredoMessageRule;

/* How long the two parts of a payload are. */
typedef struct WalredoPayloadLayout
{
	uint32		fields_size;
	uint32		min_body;
	uint32		max_body;
} WalredoPayloadLayout;

/* A message, decoded.  Fields that its payload does not have are undefined. */
typedef struct WalredoMessage
{
	WalredoMessageType type;
	WalredoWireTag tag;			/* WALREDO_PAYLOAD_TAG and _TAG_PAGE */
	uint64		lsn;			/* WALREDO_PAYLOAD_RECORD: the record's end */
	uint8		rmid;			/* WALREDO_PAYLOAD_MASK */
	BlockNumber blkno;			/* WALREDO_PAYLOAD_MASK */
	const char *body;			/* page or record; need not be aligned */
	uint32		body_size;
} WalredoMessage;

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
 * The rule for messages of a type, NULL if there is no such type.  This and the
 * following functions are inline, with the tables in them, because a child
 * calls them for each record.
 */
static inline const WalredoMessageRule *
walredo_message_rule(uint8 type)
{
	static const WalredoMessageRule rules[] = {
#define MESSAGE_RULE(symbol, type, name, payload, order, answered) \
		{symbol, payload, order, answered},
		WALREDO_MESSAGES(MESSAGE_RULE)
#undef MESSAGE_RULE
	};

	for (int i = 0; i < lengthof(rules); i++)
	{
		if (rules[i].type == (WalredoMessageType) type)
			return &rules[i];
	}
	return NULL;
}

static inline const WalredoPayloadLayout *
walredo_payload_layout(WalredoPayload payload)
{
	static const WalredoPayloadLayout layouts[] = {
		[WALREDO_PAYLOAD_NOTHING] = {0, 0, 0},
		[WALREDO_PAYLOAD_TAG] = {WALREDO_WIRE_TAG_SIZE, 0, 0},
		[WALREDO_PAYLOAD_TAG_PAGE] = {WALREDO_WIRE_TAG_SIZE, BLCKSZ, BLCKSZ},
		[WALREDO_PAYLOAD_RECORD] = {WALREDO_WIRE_LSN_SIZE, 0,
		WALREDO_WIRE_MAX_PAYLOAD - WALREDO_WIRE_LSN_SIZE},
		[WALREDO_PAYLOAD_MASK] = {WALREDO_WIRE_MASK_SIZE, BLCKSZ, BLCKSZ},
	};

	return &layouts[payload];
}

/* True if a message under this rule can have a payload of that size. */
static inline bool
walredo_payload_size_is_valid(const WalredoMessageRule *rule, uint32 size)
{
	const WalredoPayloadLayout *layout = walredo_payload_layout(rule->payload);

	return size >= layout->fields_size + layout->min_body &&
		size <= layout->fields_size + layout->max_body;
}

/*
 * Decodes a payload, whose size must be valid for the rule.  The body is not
 * copied: the message points into the payload.
 */
static inline void
walredo_get_message(const WalredoMessageRule *rule, const char *payload,
					uint32 size, WalredoMessage *message)
{
	uint32		fields_size;

	Assert(walredo_payload_size_is_valid(rule, size));
	fields_size = walredo_payload_layout(rule->payload)->fields_size;
	message->type = rule->type;
	message->body = payload + fields_size;
	message->body_size = size - fields_size;
	switch (rule->payload)
	{
		case WALREDO_PAYLOAD_NOTHING:
			break;
		case WALREDO_PAYLOAD_TAG:
		case WALREDO_PAYLOAD_TAG_PAGE:
			walredo_get_tag(payload, &message->tag);
			break;
		case WALREDO_PAYLOAD_RECORD:
			message->lsn = walredo_get_uint64(payload);
			break;
		case WALREDO_PAYLOAD_MASK:
			message->rmid = (uint8) payload[0];
			message->blkno = walredo_get_uint32(payload + 1);
			break;
	}
}

/*
 * Writes all of a message but its body, which is to follow, at p, and returns
 * the byte after.  That takes at most WALREDO_WIRE_MAX_HEAD_SIZE bytes.
 */
extern char *walredo_put_message_head(char *p, const WalredoMessage *message);

/*
 * Reads from a blocking descriptor until at least min bytes are there, and at
 * most max.  Returns how many were read; fewer than min at the end of the
 * stream; -1 with errno on an error.
 */
extern ssize_t walredo_read(int fd, char *buf, size_t min, size_t max);

/*
 * Reads from a non-blocking descriptor what there is, at most max bytes.  If
 * there is nothing, looks again up to num_looks times, with a short pause
 * between.  Each time takes a fraction of a microsecond, most of it in the
 * kernel.  Returns how many bytes were read: 0 if there were none, and also at
 * the end of the stream or on an error, which the next walredo_read() from the
 * same pipe will find.
 */
extern size_t walredo_look(int fd, char *buf, size_t max, int num_looks);

/*
 * Writes all of buf; false with errno on an error.  The descriptor must be
 * blocking, or known to have room, since EAGAIN is an error like any other.
 */
extern bool walredo_write(int fd, const char *buf, size_t size);

/*
 * The first sends descriptors along with data, which may not be empty; flags
 * are those of sendmsg().  The second receives as many as were sent, and its
 * caller owns these copies, which are marked close-on-exec.  Both return false
 * with errno if that was not possible.  To the second, anything but size bytes
 * and nfds descriptors is an error, EPROTO.
 */
#define WALREDO_MAX_FDS		WALREDO_CHILD_NUM_FDS

extern bool walredo_send_fds(int sock, const void *data, size_t size,
							 const int *fds, int nfds, int flags);
extern bool walredo_receive_fds(int sock, void *data, size_t size,
								int *fds, int nfds);

#endif							/* WALREDO_PROTO_H */
