// SPDX-License-Identifier: GPL-2.0
/* Answers the requests one by one. Unknown requests get ENOSYS. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "serve.h"
#include "wire.h"

#define MAX_NODES	16

/* A file of the folder. The id of a node is its index; node 1 is the folder. */
struct node {
	char name[64];
	int fd;
	int backing_id;
};

struct server {
	int dev;
	int folder;
	int depth;
	int ready;
	struct node nodes[MAX_NODES];
	uint64_t node_count;
};

/* @err is 0 or an errno. With an errno, @body is not sent. */
static void reply(struct server *server, const struct request *request,
		  int err, void *body, size_t len)
{
	struct answer answer = {
		.error = -err,
		.unique = request->unique,
	};
	struct iovec parts[] = {
		{ .iov_base = &answer, .iov_len = sizeof(answer) },
		{ .iov_base = body, .iov_len = err ? 0 : len },
	};

	answer.len = parts[0].iov_len + parts[1].iov_len;
	/* Ignore ENOENT: the requesting process was killed. */
	(void)!writev(server->dev, parts, 2);
}

static int fd_of_node(struct server *server, uint64_t id)
{
	if (id == ROOT)
		return server->folder;
	return id < server->node_count ? server->nodes[id].fd : -1;
}

/* Returns 0 or an errno. Attributes are valid for 0 s, so they are not cached. */
static int get_attr(int fd, uint64_t id, struct attr *attr)
{
	struct stat st;

	if (fstatat(fd, "", &st, AT_EMPTY_PATH))
		return errno;
	*attr = (struct attr) {
		.ino = id,
		.size = st.st_size,
		.blocks = st.st_blocks,
		.atime = st.st_atim.tv_sec,
		.atimensec = st.st_atim.tv_nsec,
		.mtime = st.st_mtim.tv_sec,
		.mtimensec = st.st_mtim.tv_nsec,
		.ctime = st.st_ctim.tv_sec,
		.ctimensec = st.st_ctim.tv_nsec,
		.mode = st.st_mode,
		.nlink = st.st_nlink,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.blksize = st.st_blksize,
	};
	return 0;
}

static void reply_attr(struct server *server, const struct request *request)
{
	int fd = fd_of_node(server, request->nodeid);
	struct attr_out out = { };

	reply(server, request, get_attr(fd, request->nodeid, &out.attr), &out,
	      sizeof(out));
}

/*
 * The kernel reads flags2 only with INIT_EXT. Other features such as big writes
 * are not needed, because no data passes through the server.
 */
static void init(struct server *server, const struct request *request)
{
	const struct init_in *in = (const void *)request->body;
	uint64_t offered = in->flags | (uint64_t)in->flags2 << 32;
	uint64_t wanted = INIT_EXT | INIT_PASSTHROUGH;
	struct init_out out = {
		.major = VERSION,
		.minor = MINOR,
		.max_readahead = in->max_readahead,
		.flags = (uint32_t)wanted,
		.flags2 = wanted >> 32,
		.max_write = MAX_WRITE,
		.max_stack_depth = server->depth,
	};

	if ((offered & wanted) == wanted) {
		reply(server, request, 0, &out, sizeof(out));
		(void)!write(server->ready, "1", 1);
	} else {
		reply(server, request, EPROTO, NULL, 0);
	}
	close(server->ready);
}

static uint64_t find_node(const struct server *server, const char *name)
{
	uint64_t id;

	for (id = ROOT + 1; id < server->node_count; id++)
		if (!strcmp(server->nodes[id].name, name))
			return id;
	return 0;
}

/* Returns the id of the new node, or 0 with errno set. */
static uint64_t add_node(struct server *server, const char *name)
{
	struct node *node = &server->nodes[server->node_count];
	struct backing_map map = { };

	if (server->node_count == MAX_NODES ||
	    strlen(name) >= sizeof(node->name)) {
		errno = ENFILE;
		return 0;
	}
	node->fd = openat(server->folder, name, O_RDWR | O_CLOEXEC);
	if (node->fd < 0)
		return 0;
	map.fd = node->fd;
	node->backing_id = ioctl(server->dev, BACKING_OPEN, &map);
	if (node->backing_id < 0) {
		close(node->fd);
		return 0;
	}
	strcpy(node->name, name);
	return server->node_count++;
}

static void lookup(struct server *server, const struct request *request)
{
	struct entry_out out = { };
	int err;

	out.nodeid = find_node(server, request->body);
	if (!out.nodeid)
		out.nodeid = add_node(server, request->body);
	err = out.nodeid ? get_attr(fd_of_node(server, out.nodeid), out.nodeid,
				    &out.attr) : errno;
	reply(server, request, err, &out, sizeof(out));
}

static void setattr(struct server *server, const struct request *request)
{
	const struct setattr_in *in = (const void *)request->body;
	int fd = fd_of_node(server, request->nodeid);

	if (in->valid & SETATTR_SIZE && ftruncate(fd, in->size))
		reply(server, request, errno, NULL, 0);
	else
		reply_attr(server, request);
}

/* The kernel requires the same backing file for each open of a node. */
static void open_node(struct server *server, const struct request *request)
{
	struct open_out out = { .open_flags = OPEN_PASSTHROUGH };
	bool known = request->nodeid > ROOT &&
		request->nodeid < server->node_count;

	if (known)
		out.backing_id = server->nodes[request->nodeid].backing_id;
	reply(server, request, known ? 0 : EISDIR, &out, sizeof(out));
}

/* An overlay asks its lower file system for the maximum length of names. */
static void reply_statfs(struct server *server, const struct request *request)
{
	struct statfs_out out = {
		.bsize = 4096,
		.frsize = 4096,
		.namelen = sizeof(server->nodes[0].name) - 1,
	};

	reply(server, request, 0, &out, sizeof(out));
}

static void answer(struct server *server, const struct request *request)
{
	switch ((enum opcode)request->opcode) {
	case INIT:
		return init(server, request);
	case LOOKUP:
		return lookup(server, request);
	case GETATTR:
		return reply_attr(server, request);
	case SETATTR:
		return setattr(server, request);
	case OPEN:
		return open_node(server, request);
	case STATFS:
		return reply_statfs(server, request);
	case RELEASE:
	case DESTROY:
		return reply(server, request, 0, NULL, 0);
	case FORGET:
	case BATCH_FORGET:
	case INTERRUPT:
		return;
	}
	reply(server, request, ENOSYS, NULL, 0);
}

int serve(int dev, int folder, int depth, int ready)
{
	static char buffer[MIN_READ_BUFFER]
		__attribute__((aligned(__alignof__(struct request))));
	struct server server = {
		.dev = dev,
		.folder = folder,
		.depth = depth,
		.ready = ready,
		.node_count = ROOT + 1,
	};

	for (;;) {
		if (read(dev, buffer, sizeof(buffer)) > 0)
			answer(&server, (const struct request *)buffer);
		else if (errno == ENODEV)
			return 0;
		else if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
			return 1;
	}
}
