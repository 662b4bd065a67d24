// SPDX-License-Identifier: GPL-2.0
/* uverbs: the completion queue of a software RDMA device, which is made if it does not exist. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/netlink.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_netlink.h>
#include <rdma/rdma_user_rxe.h>
#include <rdma/siw-abi.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "opener.h"

#define NETDEV		"lo"
#define NEW_LINK	RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, RDMA_NLDEV_CMD_NEWLINK)
#define ENTRIES		1024
#define PATIENCE	500 /* times 10 ms */

struct message {
	struct nlmsghdr header;
	char attributes[128];
};

static void add(struct message *message, unsigned short type, const char *text)
{
	struct nlattr *attribute = (struct nlattr *)((char *)message +
						     message->header.nlmsg_len);
	size_t len = strlen(text) + 1;

	attribute->nla_type = type;
	attribute->nla_len = NLA_HDRLEN + len;
	memcpy((char *)attribute + NLA_HDRLEN, text, len);
	message->header.nlmsg_len += NLA_ALIGN(attribute->nla_len);
}

/* Returns 0, or -1 with errno. */
static int ask(int fd, const struct message *message)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char more[256];
	} answer;

	if (send(fd, message, message->header.nlmsg_len, 0) < 0 ||
	    recv(fd, &answer, sizeof(answer), 0) < (ssize_t)sizeof(answer.header))
		return -1;
	errno = answer.header.nlmsg_type == NLMSG_ERROR ? -answer.error.error : EPROTO;
	return errno ? -1 : 0;
}

/* Makes a device of a type above the loopback device. The driver's unloading removes it. */
static int make_link(const char *type)
{
	struct message message = { .header = {
		.nlmsg_len = NLMSG_HDRLEN,
		.nlmsg_type = NEW_LINK,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
	} };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_RDMA), result;

	if (fd < 0)
		return -1;
	add(&message, RDMA_NLDEV_ATTR_DEV_NAME, type);
	add(&message, RDMA_NLDEV_ATTR_LINK_TYPE, type);
	add(&message, RDMA_NLDEV_ATTR_NDEV_NAME, NETDEV);
	result = ask(fd, &message);
	drop(fd);
	return result && errno == EEXIST ? 0 : result;
}

/* The device's node appears later. */
static int open_when_there(const char *path, int access)
{
	int fd, tries;

	for (tries = 0; tries < PATIENCE; tries++) {
		fd = open(path, access | O_CLOEXEC);
		if (fd >= 0 || (errno != ENOENT && errno != ENXIO))
			return fd;
		usleep(10000);
	}
	return -1;
}

static int get_context(int fd)
{
	char answer[256];
	struct {
		struct ib_uverbs_cmd_hdr header;
		struct ib_uverbs_get_context body;
	} command = {
		.header.command = IB_USER_VERBS_CMD_GET_CONTEXT,
		.header.in_words = sizeof(command) / 4,
		.header.out_words = sizeof(answer) / 4,
		.body.response = (uintptr_t)answer,
	};

	return write(fd, &command, sizeof(command)) == sizeof(command) ? 0 : -1;
}

/* What the driver adds to the answer. */
union queue {
	struct rxe_create_cq_resp rxe;
	struct siw_uresp_create_cq siw;
};

static int create_queue(int fd, union queue *queue)
{
	struct {
		struct ib_uverbs_create_cq_resp common;
		union queue queue;
	} answer = {};
	struct {
		struct ib_uverbs_cmd_hdr header;
		struct ib_uverbs_create_cq body;
	} command = {
		.header.command = IB_USER_VERBS_CMD_CREATE_CQ,
		.header.in_words = sizeof(command) / 4,
		.header.out_words = sizeof(answer) / 4,
		.body.response = (uintptr_t)&answer,
		.body.cqe = ENTRIES,
		.body.comp_channel = -1,
	};

	if (write(fd, &command, sizeof(command)) != sizeof(command))
		return -1;
	*queue = answer.queue;
	return 0;
}

int open_uverbs(struct step *step, struct opening *opening)
{
	const char *path = must_option(step, "device");
	const char *type = must_option(step, "type");
	union queue queue = {};
	int fd;

	if (tried(opening, "RDMA_NLDEV_CMD_NEWLINK", make_link(type)))
		return -1;
	fd = tried(opening, "open", open_when_there(path, opening->access));
	if (fd < 0)
		return -1;
	if (tried(opening, "IB_USER_VERBS_CMD_GET_CONTEXT", get_context(fd)) ||
	    tried(opening, "IB_USER_VERBS_CMD_CREATE_CQ", create_queue(fd, &queue)))
		return drop(fd);
	if (!strcmp(type, "rxe")) {
		opening->offset = queue.rxe.mi.offset;
		opening->length = queue.rxe.mi.size;
	} else {
		opening->offset = queue.siw.cq_key;
	}
	return fd;
}
