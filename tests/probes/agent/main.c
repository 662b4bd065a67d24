// SPDX-License-Identifier: GPL-2.0
/*
 * The guest agent: reads framed requests from stdin and answers them on stdout,
 * one at a time and in order, until its peer closes stdin. The commands that it
 * runs cannot reach the peer. See docs/agent.md.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../common/transfer.h"
#include "agent.h"

#define KMSG	"/dev/kmsg"
#define TAINTED	"/proc/sys/kernel/tainted"

struct header {
	uint32_t magic;
	uint16_t version, type;
	uint32_t id, len;
};

struct agent {
	int in, out;		/* the peer */
	int signals;		/* signalfd of SIGCHLD */
	int log;		/* the open kernel log, -1 before the first request for it */
	struct frame request;
};

/* An answer starts with room for its header, so one write(2) sends both. */
static struct store new_answer(void)
{
	static const struct header none;
	struct store message = { .limit = SIZE_MAX };

	keep(&message, &none, sizeof(none));
	return message;
}

static bool send_answer(const struct agent *agent, uint16_t type, const struct store *message)
{
	struct header header = {
		htonl(AGENT_MAGIC), htons(AGENT_VERSION), htons(type),
		htonl(agent->request.id), htonl(message->len - sizeof(header)),
	};

	memcpy(message->data, &header, sizeof(header));
	return write_all(agent->out, message->data, message->len);
}

/* Sends the answer, or nothing if memory ran out. */
static bool answer(const struct agent *agent, struct store *message)
{
	bool sent = !message->cut && send_answer(agent, agent->request.type | ANSWER_OK, message);

	free(message->data);
	return sent;
}

static bool answer_done(const struct agent *agent)
{
	struct store message = new_answer();

	return answer(agent, &message);
}

static bool answer_error(const struct agent *agent, enum error_class class, int error,
			 const char *what, const char *name)
{
	struct store message = new_answer();
	char text[4096 + 128];
	bool sent;

	snprintf(text, sizeof(text), "%s%s%s", what, *name ? " " : "", name);
	keep_u32(&message, class);
	keep_u32(&message, error);
	keep_bytes(&message, text, strlen(text));
	sent = !message.cut && send_answer(agent, ANSWER_ERROR, &message);
	free(message.data);
	return sent;
}

static bool answer_errno(const struct agent *agent, const char *what, const char *name)
{
	return answer_error(agent, ERR_SYSTEM, errno, what, name);
}

static bool answer_failure(const struct agent *agent, const struct failure *failure)
{
	return answer_error(agent, ERR_SYSTEM, failure->error, failure->what, failure->name);
}

static bool answer_malformed(const struct agent *agent)
{
	return answer_error(agent, ERR_REQUEST, EBADMSG, "malformed request", "");
}

/* Returns whether the payload had exactly the expected fields. */
static bool is_whole(const struct cursor *c)
{
	return !c->bad && c->at == c->end;
}

static bool hello(struct agent *agent, struct cursor *c)
{
	struct bytes nonce = take_bytes(c);
	struct store message;
	struct utsname uts;

	if (!is_whole(c))
		return answer_malformed(agent);
	message = new_answer();
	uname(&uts);
	keep_bytes(&message, nonce.data, nonce.len);
	keep_u32(&message, getpid());
	keep_u32(&message, sysconf(_SC_PAGESIZE));
	keep_bytes(&message, uts.release, strlen(uts.release));
	keep_bytes(&message, uts.machine, strlen(uts.machine));
	return answer(agent, &message);
}

static bool answer_run(const struct agent *agent, const struct command *cmd,
		       const struct outcome *outcome)
{
	struct store message = new_answer();

	keep_u32(&message, outcome->flags | (cmd->out.cut ? RUN_STDOUT_CUT : 0) |
			   (cmd->err.cut ? RUN_STDERR_CUT : 0));
	keep_u32(&message, outcome->status);
	keep_u32(&message, outcome->pid);
	keep_u64(&message, outcome->usec);
	keep_bytes(&message, cmd->out.data, cmd->out.len);
	keep_bytes(&message, cmd->err.data, cmd->err.len);
	return answer(agent, &message);
}

static void take_command(struct cursor *c, struct command *cmd)
{
	const uint8_t *begin = c->at;

	cmd->cwd = take_string(c);
	cmd->argv = take_strings(c);
	cmd->env = take_strings(c);
	cmd->key = (struct bytes){ begin, c->at - begin };
}

static bool run_command(struct agent *agent, struct cursor *c)
{
	struct outcome outcome = { 0 };
	struct command cmd = { 0 };
	struct failure failure;
	bool sent;

	cmd.timeout_ms = take_u32(c);
	cmd.out.limit = take_u32(c);
	cmd.err.limit = take_u32(c);
	take_command(c, &cmd);
	cmd.input = take_bytes(c);
	if (!is_whole(c) || !cmd.argv[0] || cmd.out.limit > MAX_PAYLOAD ||
	    cmd.err.limit > MAX_PAYLOAD)
		sent = answer_malformed(agent);
	else if (!run(&cmd, agent->in, agent->signals, &outcome, &failure))
		sent = false;
	else if (failure.error)
		sent = answer_failure(agent, &failure);
	else
		sent = answer_run(agent, &cmd, &outcome);
	free(cmd.argv);
	free(cmd.env);
	free(cmd.out.data);
	free(cmd.err.data);
	return sent;
}

static bool ready(struct agent *agent, struct cursor *c)
{
	struct command cmd = { 0 };
	struct failure failure;
	bool sent;

	take_command(c, &cmd);
	if (!is_whole(c) || !cmd.argv[0]) {
		sent = answer_malformed(agent);
	} else {
		failure = keep_ready(&cmd);
		sent = failure.error ? answer_failure(agent, &failure) : answer_done(agent);
	}
	free(cmd.argv);
	free(cmd.env);
	return sent;
}

static bool put(struct agent *agent, struct cursor *c)
{
	const char *path = take_string(c);
	uint32_t mode = take_u32(c);
	struct bytes content = take_bytes(c);

	if (!is_whole(c))
		return answer_malformed(agent);
	return put_file(path, mode, content) ? answer_done(agent) :
					       answer_errno(agent, "put", path);
}

/* Writes several files in order and stops at the first failure. */
static bool write_files(struct agent *agent, struct cursor *c)
{
	for (uint32_t count = take_u32(c); count && !c->bad; count--) {
		const char *path = take_string(c);
		struct bytes content = take_bytes(c);

		if (c->bad)
			break;
		if (!write_once(path, content))
			return answer_errno(agent, "write", path);
	}
	return is_whole(c) ? answer_done(agent) : answer_malformed(agent);
}

static bool get_file(struct agent *agent, struct cursor *c)
{
	const char *path = take_string(c);
	struct store content = { .limit = take_u32(c) };
	struct store message;
	bool sent;

	if (!is_whole(c) || content.limit > MAX_PAYLOAD)
		return answer_malformed(agent);
	if (read_file(path, &content)) {
		message = new_answer();
		keep_u32(&message, content.cut ? GET_CUT : 0);
		keep_bytes(&message, content.data, content.len);
		sent = answer(agent, &message);
	} else {
		sent = answer_errno(agent, "read", path);
	}
	free(content.data);
	return sent;
}

/*
 * Writes a mark into the kernel log if the request has one, then reads the next
 * records. Opens the file for each mark: without printk.devkmsg=on the kernel
 * silently drops the lines of one opener beyond ten in five seconds
 * (kernel/printk/printk.c, devkmsg_write()).
 */
static bool kernel_log(struct agent *agent, struct cursor *c)
{
	struct bytes mark = take_bytes(c);
	struct store records = { .limit = take_u32(c) };
	struct store message;
	struct store tainted = { .limit = 64 };
	uint32_t flags = 0;
	bool sent;

	if (!is_whole(c) || records.limit > MAX_PAYLOAD)
		return answer_malformed(agent);
	if (agent->log < 0)
		agent->log = open_log(KMSG);
	if (agent->log < 0)
		return answer_errno(agent, "open", KMSG);
	if (mark.len && !write_once(KMSG, mark))
		return answer_errno(agent, "write", KMSG);
	if (!read_records(agent->log, &records, &flags)) {
		sent = answer_errno(agent, "read", KMSG);
	} else if (!read_file(TAINTED, &tainted)) {
		sent = answer_errno(agent, "read", TAINTED);
	} else {
		message = new_answer();
		keep_u32(&message, flags);
		keep_bytes(&message, records.data, records.len);
		keep_bytes(&message, tainted.data, tainted.len);
		sent = answer(agent, &message);
	}
	free(records.data);
	free(tainted.data);
	return sent;
}

static bool load(struct agent *agent, struct cursor *c)
{
	const char *path = take_string(c);
	const char *parameters = take_string(c);

	if (!is_whole(c))
		return answer_malformed(agent);
	return load_module(path, parameters) ? answer_done(agent) :
					       answer_errno(agent, "load", path);
}

static bool unload(struct agent *agent, struct cursor *c)
{
	const char *name = take_string(c);

	if (!is_whole(c))
		return answer_malformed(agent);
	return unload_module(name) ? answer_done(agent) : answer_errno(agent, "unload", name);
}

static bool pace(struct agent *agent, struct cursor *c)
{
	uint32_t rounds = take_u32(c);
	uint64_t began = now_usec();
	struct store message;

	if (!is_whole(c))
		return answer_malformed(agent);
	if (!keep_mapping(rounds))
		return answer_errno(agent, "map", "");
	message = new_answer();
	keep_u64(&message, now_usec() - began);
	return answer(agent, &message);
}

static bool serve_request(struct agent *agent, struct cursor *c)
{
	if (agent->request.type != REQ_RUN && agent->request.type != REQ_READY)
		settle_ready(agent->in);
	switch (agent->request.type) {
	case REQ_HELLO:
		return hello(agent, c);
	case REQ_RUN:
		return run_command(agent, c);
	case REQ_PUT:
		return put(agent, c);
	case REQ_WRITE:
		return write_files(agent, c);
	case REQ_GET:
		return get_file(agent, c);
	case REQ_LOG:
		return kernel_log(agent, c);
	case REQ_LOAD:
		return load(agent, c);
	case REQ_UNLOAD:
		return unload(agent, c);
	case REQ_PACE:
		return pace(agent, c);
	case REQ_READY:
		return ready(agent, c);
	default:
		return answer_error(agent, ERR_REQUEST, EOPNOTSUPP, "unknown request", "");
	}
}

/* False at the peer's end, and after a frame that leaves no way to find the next one. */
static bool take_request(struct agent *agent)
{
	uint8_t raw[sizeof(struct header)], *payload;
	struct cursor header = { raw, raw + sizeof(raw), false };
	struct cursor c;
	uint32_t magic, word;
	bool going;

	if (!read_all(agent->in, raw, sizeof(raw)))
		return false;
	magic = take_u32(&header);
	word = take_u32(&header);
	agent->request.version = word >> 16;
	agent->request.type = word;
	agent->request.id = take_u32(&header);
	agent->request.len = take_u32(&header);
	if (magic != AGENT_MAGIC || agent->request.version != AGENT_VERSION ||
	    agent->request.len > MAX_PAYLOAD) {
		agent->request.id = 0;
		answer_error(agent, ERR_REQUEST, EPROTO, "not a frame of this version", "");
		return false;
	}
	payload = malloc(agent->request.len + 1);
	if (!payload || !read_all(agent->in, payload, agent->request.len)) {
		free(payload);
		return false;
	}
	c = (struct cursor){ payload, payload + agent->request.len, false };
	going = serve_request(agent, &c);
	free(payload);
	return going;
}

/* Moves the peer out of reach of the commands: 0 and 1 become /dev/null. */
static bool set_peer_aside(struct agent *agent)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	agent->in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	agent->out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	return null >= 0 && agent->in >= 0 && agent->out >= 0 &&
	       dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0;
}

int main(void)
{
	struct agent agent = { .log = -1 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	agent.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (agent.signals < 0 || !set_peer_aside(&agent)) {
		perror("agent");
		return 1;
	}
	/* Orphaned children of commands become ours, so we can wait for them. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* Fails without privilege, as in a test on the host, where it does not matter. */
	set_oom_score("-1000");
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	while (take_request(&agent))
		;
	return 0;
}
