/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The agent's wire format: what is in a frame, and how it is read and written.
 *
 * docs/agent.md describes it; its other end is testbed/guest/protocol.py.
 * Numbers travel in network byte order. The functions are in a header because
 * each program here is one translation unit.
 */
#ifndef AGENT_WIRE_H
#define AGENT_WIRE_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGENT_MAGIC	0x6d747331u	/* "mts1" */
#define AGENT_VERSION	1
#define MAX_PAYLOAD	(16u << 20)	/* of a request, and of each byte string in an answer */

enum request_type {
	REQ_HELLO = 1,
	REQ_RUN = 2,
	REQ_PUT = 3,
	REQ_WRITE = 4,
	REQ_GET = 5,
	REQ_LOG = 6,
};

#define ANSWER_OK	0x8000		/* or-ed to the request's type */
#define ANSWER_ERROR	0xffff

enum error_class {
	ERR_REQUEST = 1,		/* the request could not be understood */
	ERR_SYSTEM = 2,			/* a system call failed: errno says how */
};

enum run_flag {
	RUN_SIGNALLED = 1 << 0,		/* the status is a signal's number */
	RUN_TIMED_OUT = 1 << 1,		/* the group was killed at the timeout */
	RUN_STUCK = 1 << 2,		/* it did not die of that: there is no status */
	RUN_STDOUT_CUT = 1 << 3,
	RUN_STDERR_CUT = 1 << 4,
	RUN_LEFTOVERS = 1 << 5,		/* others of its group outlived it, and were killed */
};

#define GET_CUT		1u		/* the file goes on beyond the limit */
#define LOG_MORE	1u		/* there are more records: ask again */
#define LOG_OVERRUN	2u		/* records were overwritten before they were read */

struct frame {
	uint16_t version, type;
	uint32_t id, len;
};

struct bytes {
	const uint8_t *data;
	uint32_t len;
};

/* What is still to be taken from a payload; `bad` once it did not hold what was asked for. */
struct cursor {
	const uint8_t *at, *end;
	bool bad;
};

/* Bytes kept up to a limit; what comes beyond it is dropped, and `cut` tells so. */
struct store {
	uint8_t *data;
	size_t len, room, limit;
	bool cut;
};

/* A read that ends early (EOF or an error) leaves nothing to go on with. */
static bool read_all(int fd, void *data, size_t len)
{
	for (uint8_t *at = data; len;) {
		ssize_t n = read(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= n;
	}
	return true;
}

static bool write_all(int fd, const void *data, size_t len)
{
	for (const uint8_t *at = data; len;) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		at += n;
		len -= n;
	}
	return true;
}

static uint32_t take_u32(struct cursor *c)
{
	uint32_t v;

	if (c->bad || (size_t)(c->end - c->at) < sizeof(v)) {
		c->bad = true;
		return 0;
	}
	memcpy(&v, c->at, sizeof(v));
	c->at += sizeof(v);
	return ntohl(v);
}

static struct bytes take_bytes(struct cursor *c)
{
	struct bytes b = { .len = take_u32(c) };

	if (c->bad || (size_t)(c->end - c->at) < b.len) {
		c->bad = true;
		return (struct bytes){ 0 };
	}
	b.data = c->at;
	c->at += b.len;
	return b;
}

/* A string travels with its NUL, so that it can be used where it lies. */
static const char *take_string(struct cursor *c)
{
	struct bytes b = take_bytes(c);

	if (c->bad || !b.len || memchr(b.data, 0, b.len) != b.data + b.len - 1) {
		c->bad = true;
		return "";
	}
	return (const char *)b.data;
}

/* A counted list of strings as a NULL-ended array, to be freed; NULL when it is bad. */
static char **take_strings(struct cursor *c)
{
	uint32_t count = take_u32(c);
	char **list;

	/* Each string needs five bytes at least: this bounds what a request can make us allocate. */
	if (c->bad || count > (size_t)(c->end - c->at) / 5) {
		c->bad = true;
		return NULL;
	}
	list = calloc(count + 1, sizeof(*list));
	if (!list) {
		c->bad = true;
		return NULL;
	}
	for (uint32_t i = 0; i < count; i++)
		list[i] = (char *)take_string(c);
	return list;
}

/* Memory that runs out counts as a limit reached. */
static bool make_room(struct store *s, size_t need)
{
	size_t room = s->room ? s->room : 4096;
	uint8_t *data;

	while (room < need)
		room *= 2;
	if (room == s->room)
		return true;
	data = realloc(s->data, room);
	if (!data)
		return false;
	s->data = data;
	s->room = room;
	return true;
}

static void keep(struct store *s, const void *data, size_t len)
{
	size_t fits = s->limit - s->len < len ? s->limit - s->len : len;

	if (fits && !make_room(s, s->len + fits))
		fits = 0;
	if (fits)
		memcpy(s->data + s->len, data, fits);
	s->len += fits;
	s->cut |= fits < len;
}

static void keep_u32(struct store *s, uint32_t v)
{
	v = htonl(v);
	keep(s, &v, sizeof(v));
}

static void keep_bytes(struct store *s, const void *data, size_t len)
{
	keep_u32(s, len);
	keep(s, data, len);
}

#endif
