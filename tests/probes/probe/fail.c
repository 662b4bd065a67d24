// SPDX-License-Identifier: GPL-2.0
/*
 * sweep, endsweep, fail_nth: repeats lines. In the Nth round the Nth allocation
 * of one system call fails. See /proc/self/task/TID/fail-nth in
 * Documentation/fault-injection/fault-injection.rst.
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
 * @fd: fail-nth of @task
 * @nth: the allocation of the next system call under test that fails, 0 for none
 * @done: the system call has run, and the step has not yet reported it
 * @injected: an allocation failed
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

/* Starts another round unless no allocation failed in this one. */
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
		usage("fail_nth outside a sweep needs a number");
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

/* Returns the number of allocations left up to the one that fails. */
static unsigned int armed(void)
{
	char text[16] = "";

	if (failure.fd < 0)
		return 1;
	if (pread(failure.fd, text, sizeof(text) - 1, 0) <= 0)
		usage("fail-nth: %m");
	return strtoul(text, NULL, 10);
}

/* Call these directly around the system call: the probe itself must not fail. */
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
	/* In the child of a fork nothing fails, and the file is its parent's. */
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

/* Adds a fact to the object of the step that made the system call. */
void json_failure(void)
{
	if (failure.done)
		json_bool("injected", failure.injected);
	failure.done = false;
}
