/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interfaces of the guest agent's files, and its wire format.
 *
 * docs/agent.md describes the format; testbed/guest/protocol.py is the other
 * end. Numbers are in network byte order.
 */
#ifndef AGENT_H
#define AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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
	REQ_LOAD = 7,
	REQ_UNLOAD = 8,
	REQ_PACE = 9,
	REQ_READY = 10,
};

#define ANSWER_OK	0x8000		/* or-ed to the request's type */
#define ANSWER_ERROR	0xffff

enum error_class {
	ERR_REQUEST = 1,		/* the request is malformed or unknown */
	ERR_SYSTEM = 2,			/* a system call failed with this errno */
};

enum run_flag {
	RUN_SIGNALLED = 1 << 0,		/* the status is a signal's number */
	RUN_TIMED_OUT = 1 << 1,		/* the group was killed at the timeout */
	RUN_STUCK = 1 << 2,		/* it survived that: the status is not set */
	RUN_STDOUT_CUT = 1 << 3,
	RUN_STDERR_CUT = 1 << 4,
	RUN_LEFTOVERS = 1 << 5,		/* other processes of its group outlived it and were killed */
};

#define GET_CUT		1u		/* the file is longer than the limit */
#define LOG_MORE	1u		/* more records are left: ask again */
#define LOG_OVERRUN	2u		/* records were overwritten before they were read */

struct frame {
	uint16_t version, type;
	uint32_t id, len;
};

struct bytes {
	const uint8_t *data;
	uint32_t len;
};

/* The unread rest of a payload. A read beyond its end sets `bad`. */
struct cursor {
	const uint8_t *at, *end;
	bool bad;
};

/* Bytes up to a limit. Bytes beyond it are dropped, and `cut` is set. */
struct store {
	uint8_t *data;
	size_t len, room, limit;
	bool cut;
};

struct command {
	struct bytes key;	/* directory, argv and environment as received */
	uint32_t timeout_ms;
	const char *cwd;
	char **argv, **env;
	struct bytes input;
	struct store out, err;
};

struct outcome {
	uint32_t flags;
	int32_t status;
	pid_t pid;
	uint64_t usec;
};

/* A failed call: `what` on `name` failed with the errno `error`. */
struct failure {
	int error;
	const char *what, *name;
};

/* wire.c: reads and writes the values of a payload */
uint32_t take_u32(struct cursor *c);
struct bytes take_bytes(struct cursor *c);
const char *take_string(struct cursor *c);
char **take_strings(struct cursor *c);
void reserve(struct store *s);
void keep(struct store *s, const void *data, size_t len);
void keep_u32(struct store *s, uint32_t v);
void keep_u64(struct store *s, uint64_t v);
void keep_bytes(struct store *s, const void *data, size_t len);

/* run.c: runs one command until the last process of its group is gone */
uint64_t now_usec(void);
bool run(struct command *cmd, int listen, int signals, struct outcome *outcome,
	 struct failure *failure);
struct failure keep_ready(const struct command *cmd);
void settle_ready(int listen);

/* files.c: files, kernel modules and the kernel log */
bool keep_mapping(uint32_t rounds);
bool write_once(const char *path, struct bytes content);
bool read_file(const char *path, struct store *content);
bool put_file(const char *path, mode_t mode, struct bytes content);
int open_log(const char *path);
bool read_records(int fd, struct store *records, uint32_t *flags);
void set_oom_score(const char *score);
bool load_module(const char *path, const char *parameters);
bool unload_module(const char *name);

#endif
