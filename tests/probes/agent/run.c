// SPDX-License-Identifier: GPL-2.0
/*
 * Runs a command in its own session and process group. Keeps its output up to
 * a limit, then drops the rest. Kills the whole group at the timeout. The next
 * command can start ahead of its request.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../common/transfer.h"
#include "agent.h"

/* The time for a killed group to exit: under emulation a big mapping takes long. */
#define KILL_GRACE_USEC	2000000ull

/* A command that starts ahead closes this file when it waits for its input. */
#define READY_FD	3

/*
 * The size of the pipes for the output. The output stays there until the
 * command ends: to wake up for each line would disturb the command, and costs
 * more than the command itself under emulation.
 */
#define PIPE_SIZE	(1 << 20)

/* The pipes of a command that runs longer than this are emptied, again and again. */
#define DRAIN_USEC	100000

/* After so many bytes in that time, the pipe is emptied as soon as there is output. */
#define FLOOD		(32 << 10)

struct child {
	pid_t pid;
	int in, out, err;	/* our ends of its pipes, -1 when closed */
	size_t fed;		/* bytes of input that it has read */
	bool ended;		/* it is a zombie, so its pid cannot be reused */
};

/* The command that was started ahead. */
static struct {
	struct child child;	/* pid is 0 if no command was started ahead */
	int settled;		/* ends when the command waits; -1 after that */
	struct bytes key;
} ahead = { .settled = -1 };

enum { LISTEN, SIGNALS, OUT, ERR, IN, NR_POLLED };

uint64_t now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ull + ts.tv_nsec / 1000;
}

/* For poll(): rounded up, so that the time is over after it. */
static int msec_to(uint64_t until, uint64_t now)
{
	return (until - now) / 1000 + 1;
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static bool has_name_of(char **entries, const char *entry)
{
	size_t len = strcspn(entry, "=");

	for (; *entries; entries++)
		if (strcspn(*entries, "=") == len && !memcmp(*entries, entry, len))
			return true;
	return false;
}

/* Returns a new array: the agent's environment with entries added or replaced. */
static char **merged_environment(char **added)
{
	char **merged, **end, **entry;
	size_t most = 1;

	for (entry = environ; *entry; entry++)
		most++;
	for (entry = added; *entry; entry++)
		most++;
	end = merged = calloc(most, sizeof(*merged));
	if (!merged)
		return NULL;
	for (entry = environ; *entry; entry++)
		if (!has_name_of(added, *entry))
			*end++ = *entry;
	for (entry = added; *entry; entry++)
		*end++ = *entry;
	return merged;
}

/*
 * Runs in the child, which shares the memory of the agent until it executes the
 * command: it changes nothing there but `failure`.
 */
static void become(const struct command *cmd, char **env, const int fds[3], int settled,
		   volatile struct failure *failure)
{
	sigset_t none;

	setsid();
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* The OOM killer spares the agent, but not its commands. */
	set_oom_score("0");
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	/* READY_FD is /dev/null in the agent, so it is none of the pipes. */
	if (settled >= 0)
		dup2(settled, READY_FD);
	if (chdir(cmd->cwd) < 0) {
		failure->what = "chdir";
		failure->name = cmd->cwd;
	} else {
		execvpe(cmd->argv[0], cmd->argv, env);
		failure->what = "exec";
		failure->name = cmd->argv[0];
	}
	failure->error = errno;
	_exit(127);
}

/* A pipe that cannot grow works too: it is emptied more often. */
static void prepare_output(int fd)
{
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE);
}

/*
 * Starts the command. Our ends of its pipes do not block and close on exec.
 * vfork(2) returns when the child has become the command or has failed: a
 * fork(2) would copy the agent's memory, which costs more than the command.
 */
static struct failure start(const struct command *cmd, struct child *child, int settled)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
	char **env = merged_environment(cmd->env);
	/* The child writes it, which the compiler does not expect. */
	volatile struct failure failed = { 0 };
	struct failure failure = { 0 };

	if (!env || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		failure = (struct failure){ errno, "pipe", "" };
	else
		child->pid = vfork();
	if (child->pid < 0)
		failure = (struct failure){ errno, "fork", "" };
	else if (!failure.error && !child->pid)
		become(cmd, env, (int[]){ in[0], out[1], err[1] }, settled, &failed);
	close_end(&in[0]);
	close_end(&out[1]);
	close_end(&err[1]);
	if (failed.error) {
		failure = (struct failure){ failed.error, failed.what, failed.name };
		waitpid(child->pid, NULL, 0);
	}
	free(env);
	child->in = in[1];
	child->out = out[0];
	child->err = err[0];
	if (!failure.error) {
		fcntl(child->in, F_SETFL, O_NONBLOCK);
		prepare_output(child->out);
		prepare_output(child->err);
	}
	return failure;
}

static void feed(struct child *child, struct bytes input)
{
	ssize_t n = 0;

	if (child->fed < input.len)
		n = write(child->in, input.data + child->fed, input.len - child->fed);
	if (n > 0)
		child->fed += n;
	/* A child may leave its input unread. */
	if (child->fed == input.len || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_end(&child->in);
}

/* Reads once, at most `most` bytes. */
static size_t drain(int *fd, struct store *s, size_t most)
{
	static uint8_t chunk[65536];
	ssize_t n = read(*fd, chunk, most < sizeof(chunk) ? most : sizeof(chunk));

	if (n > 0)
		keep(s, chunk, n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_end(fd);
	return n > 0 ? n : 0;
}

/*
 * Reads only the bytes that the pipe holds now: a process that has left the
 * group can keep the pipe open and write for ever. Returns their number.
 */
static size_t drain_held(int *fd, struct store *s)
{
	int held = 0, left;

	if (*fd < 0 || ioctl(*fd, FIONREAD, &held))
		return 0;
	for (left = held; left > 0 && *fd >= 0;) {
		size_t n = drain(fd, s, left);

		if (!n)
			break;
		left -= n;
	}
	return held - left;
}

/* Empties the pipes. Returns whether a command that goes on like this would fill one. */
static bool drain_both(struct child *child, struct command *cmd)
{
	size_t out = drain_held(&child->out, &cmd->out);
	size_t err = drain_held(&child->err, &cmd->err);

	return out >= FLOOD || err >= FLOOD;
}

static void clear_signals(int signals)
{
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof(info)) == sizeof(info))
		;
}

/* WNOWAIT leaves the zombie, so its pid is not reused. */
static bool is_zombie(pid_t pid)
{
	siginfo_t info = { 0 };

	return !waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == pid;
}

/* Forgets the command that was started ahead, which ended or got another owner. */
static void forget_ready(void)
{
	close_end(&ahead.settled);
	free((void *)ahead.key.data);
	ahead.key = (struct bytes){ 0 };
	ahead.child.pid = 0;
}

static void close_pipes(struct child *child)
{
	close_end(&child->in);
	close_end(&child->out);
	close_end(&child->err);
}

static void reap_orphans(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		if (pid == ahead.child.pid) {
			close_pipes(&ahead.child);
			forget_ready();
		}
}

static void drop_ready(void)
{
	if (!ahead.child.pid)
		return;
	kill(-ahead.child.pid, SIGKILL);
	waitpid(ahead.child.pid, NULL, 0);
	close_pipes(&ahead.child);
	forget_ready();
}

/* Starts a command ahead of a later request for the same one. */
struct failure keep_ready(const struct command *cmd)
{
	struct child child = { .in = -1, .out = -1, .err = -1 };
	uint8_t *key = malloc(cmd->key.len);
	struct failure failure = { 0 };
	int settled[2] = { -1, -1 };

	drop_ready();
	if (!key || pipe2(settled, O_CLOEXEC))
		failure = (struct failure){ errno, "pipe", "" };
	else
		failure = start(cmd, &child, settled[1]);
	close_end(&settled[1]);
	if (failure.error) {
		close_end(&settled[0]);
		close_pipes(&child);
		free(key);
		return failure;
	}
	memcpy(key, cmd->key.data, cmd->key.len);
	ahead.child = child;
	ahead.settled = settled[0];
	ahead.key = (struct bytes){ key, cmd->key.len };
	return failure;
}

/*
 * Waits until the command that was started ahead is idle and waits for its
 * input, or has ended, however long that takes on a busy host: without it the
 * guest would have less memory in use than before (testbed/guest/ledger.py).
 * The peer hangs up when it has waited for long enough.
 */
void settle_ready(int listen)
{
	struct pollfd polled[] = {
		{ ahead.settled, POLLIN, 0 },
		{ listen, POLLRDHUP, 0 },
	};

	if (ahead.settled < 0)
		return;
	while (poll(polled, 2, -1) < 0)
		;
	if (polled[0].revents)
		close_end(&ahead.settled);
	else
		drop_ready();
}

/* If the command was started ahead and still runs, passes it to the caller. */
static bool take_ready(const struct command *cmd, struct child *child)
{
	if (!ahead.child.pid || ahead.key.len != cmd->key.len ||
	    memcmp(ahead.key.data, cmd->key.data, cmd->key.len))
		return false;
	if (is_zombie(ahead.child.pid)) {
		drop_ready();
		return false;
	}
	*child = ahead.child;
	forget_ready();
	return true;
}

/* Serves the child's pipes until it ends or the time is up. False: the peer is gone. */
static bool serve(struct command *cmd, struct child *child, int listen, int signals, uint64_t until)
{
	uint64_t look = now_usec() + DRAIN_USEC;
	bool flood = false;

	while (!(child->ended = is_zombie(child->pid))) {
		uint64_t now = now_usec();
		struct pollfd polled[NR_POLLED] = {
			[LISTEN] = { listen, POLLRDHUP, 0 },
			[SIGNALS] = { signals, POLLIN, 0 },
			[OUT] = { flood ? child->out : -1, POLLIN, 0 },
			[ERR] = { flood ? child->err : -1, POLLIN, 0 },
			[IN] = { child->in, POLLOUT, 0 },
		};

		if (now >= until)
			return true;
		if (now >= look) {
			flood |= drain_both(child, cmd);
			look = now + DRAIN_USEC;
		}
		if (poll(polled, NR_POLLED, msec_to(until < look ? until : look, now)) < 0)
			continue;
		if (polled[LISTEN].revents)
			return false;
		if (polled[SIGNALS].revents)
			clear_signals(signals);
		if (polled[OUT].revents)
			drain(&child->out, &cmd->out, SIZE_MAX);
		if (polled[ERR].revents)
			drain(&child->err, &cmd->err, SIZE_MAX);
		if (polled[IN].revents)
			feed(child, cmd->input);
	}
	return true;
}

/* Reaps the last processes of the group. True if it had any besides the leader. */
static bool bury_group(pid_t group, int signals)
{
	uint64_t until = now_usec() + KILL_GRACE_USEC;
	bool others = false;

	for (;;) {
		struct pollfd polled = { signals, POLLIN, 0 };
		uint64_t now = now_usec();

		clear_signals(signals);
		reap_orphans();
		if (kill(-group, 0) < 0 || now >= until)
			return others;
		others = true;
		poll(&polled, 1, msec_to(until, now));
	}
}

static void reap_leader(struct child *child, struct outcome *outcome)
{
	int status = 0;

	waitpid(child->pid, &status, 0);
	if (WIFSIGNALED(status))
		outcome->flags |= RUN_SIGNALLED;
	outcome->status = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs the command to its end. False: the peer is gone, so no answer is needed. */
bool run(struct command *cmd, int listen, int signals, struct outcome *outcome,
	 struct failure *failure)
{
	struct child child = { .in = -1, .out = -1, .err = -1 };
	uint64_t began = now_usec();
	bool heard = true;

	reserve(&cmd->out);
	reserve(&cmd->err);
	*failure = (struct failure){ 0 };
	if (!take_ready(cmd, &child))
		*failure = start(cmd, &child, -1);
	outcome->pid = child.pid;
	if (!failure->error) {
		heard = serve(cmd, &child, listen, signals, began + cmd->timeout_ms * 1000ull);
		outcome->usec = now_usec() - began;
		kill(-child.pid, SIGKILL);
		if (heard && !child.ended) {
			outcome->flags |= RUN_TIMED_OUT;
			heard = serve(cmd, &child, listen, signals, now_usec() + KILL_GRACE_USEC);
		}
		if (child.ended)
			reap_leader(&child, outcome);
		else
			outcome->flags |= RUN_STUCK;
		if (child.ended && bury_group(child.pid, signals))
			outcome->flags |= RUN_LEFTOVERS;
		drain_both(&child, cmd);
	}
	close_pipes(&child);
	return heard;
}
