// SPDX-License-Identifier: GPL-2.0
/*
 * sweep, endsweep, fail_nth: the same lines again and again, and in the Nth
 * round the Nth allocation of one system call fails
 * (Documentation/fault-injection/fault-injection.rst, /proc/self/task/TID/fail-nth).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "probe.h"

static struct {
	int line;
	int last;
	bool injected;
} sweep;

/*
 * @fd: the file of @task
 * @nth: of the next system call under test, 0 when none is to fail
 */
static struct {
	int fd;
	pid_t task;
	unsigned int nth;
	bool done;
	bool injected;
} failure = { .fd = -1 };

void sweep_step(struct step *step)
{
	if (script.round)
		usage("sweep inside sweep");
	sweep.last = parse_number(word(step, 1));
	no_more_words(step);
	sweep.line = step->number;
	script.round = 1;
	sweep.injected = false;
}

/* Another round unless this one had nothing to fail. */
void endsweep_step(struct step *step)
{
	no_more_words(step);
	if (!script.round)
		usage("endsweep without sweep");
	if (!sweep.injected || script.round == sweep.last) {
		script.round = 0;
		return;
	}
	script.round++;
	sweep.injected = false;
	script.next = sweep.line;
}

void fail_nth_step(struct step *step)
{
	const char *text = optional_word(step, 1);
	char path[64];

	failure.nth = text ? parse_number(text) : (unsigned int)script.round;
	no_more_words(step);
	if (!failure.nth)
		usage("fail_nth outside a sweep: which one?");
	if (failure.fd < 0 || failure.task != gettid()) {
		failure.task = gettid();
		snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth",
			 failure.task);
		failure.fd = open(path, O_RDWR | O_CLOEXEC);
	}
	json_begin(step);
	json_errno(failure.fd < 0 ? errno : 0);
	json_end();
}

bool failure_pending(void)
{
	return failure.nth;
}

static void arm(unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	if (failure.fd >= 0 && pwrite(failure.fd, text, len, 0) != len)
		usage("fail-nth: %m");
}

/* How many allocations are still to come before one fails. */
static unsigned int armed(void)
{
	char text[16] = "";

	if (failure.fd < 0)
		return 1;
	if (pread(failure.fd, text, sizeof(text) - 1, 0) <= 0)
		usage("fail-nth: %m");
	return strtoul(text, NULL, 10);
}

/* Around the system call itself: what the probe allocates must not fail. */
void begin_failure(void)
{
	failure.done = failure.injected = false;
	if (failure.nth)
		arm(failure.nth);
}

void end_failure(void)
{
	int err = errno;

	if (!failure.nth)
		return;
	/* In the child of a fork none is to come, and the file is its parent's. */
	if (failure.task != gettid()) {
		failure.nth = 0;
		return;
	}
	failure.injected = !armed();
	if (!failure.injected)
		arm(0);
	failure.nth = 0;
	failure.done = true;
	sweep.injected |= failure.injected;
	errno = err;
}

/* A fact of the step whose call it was. */
void json_failure(void)
{
	if (failure.done)
		json_bool("injected", failure.injected);
	failure.done = false;
}
