// SPDX-License-Identifier: GPL-2.0
/*
 * The guest agent: serves framed requests on stdin and answers them on
 * stdout, one at a time and in order, until its peer closes. What it runs
 * cannot reach these two. See docs/agent.md.
 */
#define _GNU_SOURCE
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "agent_run.h"

#define KMSG	"/dev/kmsg"
#define TAINTED	"/proc/sys/kernel/tainted"

struct agent {
	int in, out;		/* the peer */
	int signals;		/* signalfd of SIGCHLD */
	int log;		/* our place in the kernel log, -1 until it is first asked for */
	struct frame request;
};

static bool send_answer(const struct agent *agent, uint16_t type, const struct store *payload)
{
	struct {
		uint32_t magic;
		uint16_t version, type;
		uint32_t id, len;
	} header = {
		htonl(AGENT_MAGIC), htons(AGENT_VERSION), htons(type),
		htonl(agent->request.id), htonl(payload->len),
	};

	return write_all(agent->out, &header, sizeof(header)) &&
	       write_all(agent->out, payload->data, payload->len);
}

/* Send what was kept, or nothing at all when memory did not suffice for it. */
static bool answer(const struct agent *agent, struct store *payload)
{
	bool sent = !payload->cut && send_answer(agent, agent->request.type | ANSWER_OK, payload);

	free(payload->data);
	return sent;
}

static bool answer_error(const struct agent *agent, enum error_class class, int error,
			 const char *what, const char *name)
{
	struct store payload = { .limit = 8192 };
	char text[4096 + 128];
	bool sent;

	snprintf(text, sizeof(text), "%s%s%s", what, *name ? " " : "", name);
	keep_u32(&payload, class);
	keep_u32(&payload, error);
	keep_bytes(&payload, text, strlen(text));
	sent = send_answer(agent, ANSWER_ERROR, &payload);
	free(payload.data);
	return sent;
}

static bool answer_errno(const struct agent *agent, const char *what, const char *name)
{
	return answer_error(agent, ERR_SYSTEM, errno, what, name);
}

static bool answer_malformed(const struct agent *agent)
{
	return answer_error(agent, ERR_REQUEST, EBADMSG, "malformed request", "");
}

/* True when the cursor took all there was and nothing was missing. */
static bool is_whole(const struct cursor *c)
{
	return !c->bad && c->at == c->end;
}

static bool hello(struct agent *agent, struct cursor *c)
{
	struct bytes nonce = take_bytes(c);
	struct store payload = { .limit = SIZE_MAX };
	struct utsname uts;

	if (!is_whole(c))
		return answer_malformed(agent);
	uname(&uts);
	keep_bytes(&payload, nonce.data, nonce.len);
	keep_u32(&payload, getpid());
	keep_u32(&payload, sysconf(_SC_PAGESIZE));
	keep_bytes(&payload, uts.release, strlen(uts.release));
	keep_bytes(&payload, uts.machine, strlen(uts.machine));
	return answer(agent, &payload);
}

static bool answer_run(const struct agent *agent, const struct command *cmd,
		       const struct outcome *outcome)
{
	struct store payload = { .limit = SIZE_MAX };

	keep_u32(&payload, outcome->flags | (cmd->out.cut ? RUN_STDOUT_CUT : 0) |
			   (cmd->err.cut ? RUN_STDERR_CUT : 0));
	keep_u32(&payload, outcome->status);
	keep_u32(&payload, outcome->pid);
	keep_u32(&payload, outcome->usec >> 32);
	keep_u32(&payload, outcome->usec);
	keep_bytes(&payload, cmd->out.data, cmd->out.len);
	keep_bytes(&payload, cmd->err.data, cmd->err.len);
	return answer(agent, &payload);
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
	cmd.cwd = take_string(c);
	cmd.argv = take_strings(c);
	cmd.env = take_strings(c);
	cmd.input = take_bytes(c);
	if (!is_whole(c) || !cmd.argv[0] || cmd.out.limit > MAX_PAYLOAD ||
	    cmd.err.limit > MAX_PAYLOAD)
		sent = answer_malformed(agent);
	else if (!run(&cmd, agent->in, agent->signals, &outcome, &failure))
		sent = false;
	else if (failure.error)
		sent = answer_error(agent, ERR_SYSTEM, failure.error, failure.what, failure.name);
	else
		sent = answer_run(agent, &cmd, &outcome);
	free(cmd.argv);
	free(cmd.env);
	free(cmd.out.data);
	free(cmd.err.data);
	return sent;
}

/* A new file under a name of its own that then takes `path`: readers see the old or the new. */
static bool put_file(struct agent *agent, struct cursor *c)
{
	const char *path = take_string(c);
	uint32_t mode = take_u32(c);
	struct bytes content = take_bytes(c);
	struct store done = { 0 };
	char fresh[4096];
	int fd, error;

	if (!is_whole(c) ||
	    (size_t)snprintf(fresh, sizeof(fresh), "%s.agent-%d", path, getpid()) >= sizeof(fresh))
		return answer_malformed(agent);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return answer_errno(agent, "create", path);
	if (write_all(fd, content.data, content.len) && !fchmod(fd, mode) && !rename(fresh, path)) {
		close(fd);
		return answer(agent, &done);
	}
	error = errno;
	unlink(fresh);
	close(fd);
	errno = error;
	return answer_errno(agent, "put", path);
}

/* Several files in order, up to the first that fails. */
static bool write_files(struct agent *agent, struct cursor *c)
{
	struct store done = { 0 };

	for (uint32_t count = take_u32(c); count && !c->bad; count--) {
		const char *path = take_string(c);
		struct bytes content = take_bytes(c);

		if (c->bad)
			break;
		if (!write_once(path, content))
			return answer_errno(agent, "write", path);
	}
	return is_whole(c) ? answer(agent, &done) : answer_malformed(agent);
}

/* Files of proc and debugfs have no size: read until they end. */
static bool read_up_to(int fd, struct store *content)
{
	static uint8_t chunk[65536];
	ssize_t n;

	do {
		n = read(fd, chunk, sizeof(chunk));
		if (n > 0)
			keep(content, chunk, n);
	} while (!content->cut && (n > 0 || (n < 0 && errno == EINTR)));
	return n >= 0;
}

static bool read_file(const char *path, struct store *content)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool done;
	int error;

	if (fd < 0)
		return false;
	done = read_up_to(fd, content);
	error = errno;
	close(fd);
	errno = error;
	return done;
}

static bool get_file(struct agent *agent, struct cursor *c)
{
	const char *path = take_string(c);
	struct store content = { .limit = take_u32(c) };
	struct store payload = { .limit = SIZE_MAX };
	bool sent;

	if (!is_whole(c) || content.limit > MAX_PAYLOAD)
		return answer_malformed(agent);
	if (read_file(path, &content)) {
		keep_u32(&payload, content.cut ? GET_CUT : 0);
		keep_bytes(&payload, content.data, content.len);
		sent = answer(agent, &payload);
	} else {
		sent = answer_errno(agent, "read", path);
	}
	free(content.data);
	return sent;
}

/*
 * One record for each read(2), up to the last or to the limit. EPIPE: the next
 * ones were overwritten, and the read after this goes on with what is left.
 */
static bool read_records(int fd, struct store *records, uint32_t *flags)
{
	/* More than a record can be: PRINTK_MESSAGE_MAX of kernel/printk/internal.h is 2048. */
	static uint8_t record[8192];

	while (records->limit - records->len >= sizeof(record) + sizeof(uint32_t)) {
		ssize_t n = read(fd, record, sizeof(record));

		if (n > 0)
			keep_bytes(records, record, n);
		else if (n < 0 && errno == EPIPE)
			*flags |= LOG_OVERRUN;
		else if (n == 0 || errno != EINTR)
			return n == 0 || errno == EAGAIN;
	}
	*flags |= LOG_MORE;
	return true;
}

/*
 * Write a mark into the kernel log, when there is one, then read on from where
 * we were. The file is opened for each mark: the kernel silently drops what
 * one opener writes beyond ten lines in five seconds, unless it was booted
 * with printk.devkmsg=on (kernel/printk/printk.c, devkmsg_write()).
 */
static bool kernel_log(struct agent *agent, struct cursor *c)
{
	struct bytes mark = take_bytes(c);
	struct store records = { .limit = take_u32(c) };
	struct store payload = { .limit = SIZE_MAX };
	struct store tainted = { .limit = 64 };
	uint32_t flags = 0;
	bool sent;

	if (!is_whole(c) || records.limit > MAX_PAYLOAD)
		return answer_malformed(agent);
	if (agent->log < 0)
		agent->log = open(KMSG, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (agent->log < 0)
		return answer_errno(agent, "open", KMSG);
	if (mark.len && !write_once(KMSG, mark))
		return answer_errno(agent, "write", KMSG);
	if (!read_records(agent->log, &records, &flags)) {
		sent = answer_errno(agent, "read", KMSG);
	} else if (!read_file(TAINTED, &tainted)) {
		sent = answer_errno(agent, "read", TAINTED);
	} else {
		keep_u32(&payload, flags);
		keep_bytes(&payload, records.data, records.len);
		keep_bytes(&payload, tainted.data, tainted.len);
		sent = answer(agent, &payload);
	}
	free(records.data);
	free(tainted.data);
	return sent;
}

static bool serve_request(struct agent *agent, struct cursor *c)
{
	switch (agent->request.type) {
	case REQ_HELLO:
		return hello(agent, c);
	case REQ_RUN:
		return run_command(agent, c);
	case REQ_PUT:
		return put_file(agent, c);
	case REQ_WRITE:
		return write_files(agent, c);
	case REQ_GET:
		return get_file(agent, c);
	case REQ_LOG:
		return kernel_log(agent, c);
	default:
		return answer_error(agent, ERR_REQUEST, EOPNOTSUPP, "unknown request", "");
	}
}

/* False at the peer's end, and after a frame that leaves no way to find the next one. */
static bool take_request(struct agent *agent)
{
	uint8_t raw[16], *payload;
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

/* Move the peer out of reach of what we run: 0 and 1 become /dev/null. */
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
	/* Orphans of what we run come to us, so that we see the last of them go. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* Without privilege, as in a test on the host, this is refused and does not matter. */
	set_oom_score("-1000");
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	while (take_request(&agent))
		;
	return 0;
}
