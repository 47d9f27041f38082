/*-------------------------------------------------------------------------
 *
 * proto.c
 *	  Encoding and decoding of messages, full reads and writes, and passing of
 *	  descriptors.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/proto/proto.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>
#include <unistd.h>

#include "proto/proto.h"

static const WalredoMessageRule message_rules[] = {
#define MESSAGE_RULE(symbol, type, name, payload, order, answered) \
	{symbol, payload, order, answered},
	WALREDO_MESSAGES(MESSAGE_RULE)
#undef MESSAGE_RULE
};

/* How long the two parts of a payload are. */
typedef struct PayloadLayout
{
	uint32		fields_size;
	uint32		min_body;
	uint32		max_body;
} PayloadLayout;

static const PayloadLayout payload_layouts[] = {
	[WALREDO_PAYLOAD_NOTHING] = {0, 0, 0},
	[WALREDO_PAYLOAD_TAG] = {WALREDO_WIRE_TAG_SIZE, 0, 0},
	[WALREDO_PAYLOAD_TAG_PAGE] = {WALREDO_WIRE_TAG_SIZE, BLCKSZ, BLCKSZ},
	[WALREDO_PAYLOAD_RECORD] = {WALREDO_WIRE_LSN_SIZE, 0,
	WALREDO_WIRE_MAX_PAYLOAD - WALREDO_WIRE_LSN_SIZE},
	[WALREDO_PAYLOAD_MASK] = {WALREDO_WIRE_MASK_SIZE, BLCKSZ, BLCKSZ},
};

StaticAssertDecl(lengthof(payload_layouts) == WALREDO_NUM_PAYLOADS,
				 "every sort of payload must have its layout");

const WalredoMessageRule *
walredo_message_rule(uint8 type)
{
	for (int i = 0; i < lengthof(message_rules); i++)
	{
		if (message_rules[i].type == (WalredoMessageType) type)
			return &message_rules[i];
	}
	return NULL;
}

bool
walredo_payload_size_is_valid(const WalredoMessageRule *rule, uint32 size)
{
	const PayloadLayout *layout = &payload_layouts[rule->payload];

	return size >= layout->fields_size + layout->min_body &&
		size <= layout->fields_size + layout->max_body;
}

void
walredo_get_message(const WalredoMessageRule *rule, const char *payload,
					uint32 size, WalredoMessage *message)
{
	uint32		fields_size = payload_layouts[rule->payload].fields_size;

	Assert(walredo_payload_size_is_valid(rule, size));
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

char *
walredo_put_message_head(char *p, const WalredoMessage *message)
{
	const WalredoMessageRule *rule = walredo_message_rule(message->type);
	uint32		size = payload_layouts[rule->payload].fields_size +
		message->body_size;

	Assert(walredo_payload_size_is_valid(rule, size));
	p = walredo_put_header(p, message->type, size);
	switch (rule->payload)
	{
		case WALREDO_PAYLOAD_NOTHING:
			break;
		case WALREDO_PAYLOAD_TAG:
		case WALREDO_PAYLOAD_TAG_PAGE:
			p = walredo_put_tag(p, &message->tag);
			break;
		case WALREDO_PAYLOAD_RECORD:
			p = walredo_put_uint64(p, message->lsn);
			break;
		case WALREDO_PAYLOAD_MASK:
			*p++ = (char) message->rmid;
			p = walredo_put_uint32(p, message->blkno);
			break;
	}
	return p;
}

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

/* Room for a control message, aligned as one. */
typedef union FdsMessage
{
	struct cmsghdr align;
	char		data[CMSG_SPACE(WALREDO_MAX_FDS * sizeof(int))];
} FdsMessage;

bool
walredo_send_fds(int sock, const void *data, size_t size, const int *fds,
				 int nfds, int flags)
{
	FdsMessage	control = {0};
	struct iovec iov = {unconstify(void *, data), size};
	struct msghdr message = {0};
	struct cmsghdr *cmsg;

	Assert(nfds <= WALREDO_MAX_FDS);
	message.msg_iov = &iov;
	message.msg_iovlen = 1;
	message.msg_control = control.data;
	message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	cmsg = CMSG_FIRSTHDR(&message);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));

	return sendmsg(sock, &message, MSG_NOSIGNAL | flags) == size;
}

bool
walredo_receive_fds(int sock, void *data, size_t size, int *fds, int nfds)
{
	FdsMessage	control;
	struct iovec iov = {data, size};
	struct msghdr message = {0};
	struct cmsghdr *cmsg;
	ssize_t		n;

	Assert(nfds <= WALREDO_MAX_FDS);
	message.msg_iov = &iov;
	message.msg_iovlen = 1;
	message.msg_control = control.data;
	message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return false;
	errno = EPROTO;
	cmsg = CMSG_FIRSTHDR(&message);
	if (n != size || cmsg == NULL || cmsg->cmsg_level != SOL_SOCKET ||
		cmsg->cmsg_type != SCM_RIGHTS ||
		cmsg->cmsg_len != CMSG_LEN(nfds * sizeof(int)))
		return false;
	memcpy(fds, CMSG_DATA(cmsg), nfds * sizeof(int));
	return true;
}
