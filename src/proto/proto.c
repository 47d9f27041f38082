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

#include "port/atomics.h"
#include "proto/proto.h"

char *
walredo_put_message_head(char *p, const WalredoMessage *message)
{
	const WalredoMessageRule *rule = walredo_message_rule(message->type);
	uint32		size = walredo_payload_layout(rule->payload)->fields_size +
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

size_t
walredo_look(int fd, char *buf, size_t max, int num_looks)
{
	for (int i = 0; i < num_looks; i++)
	{
		ssize_t		n = read(fd, buf, max);

		if (n >= 0)
			return n;
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			return 0;
		pg_spin_delay();
	}
	return 0;
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
