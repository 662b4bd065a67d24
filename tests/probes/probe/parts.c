// SPDX-License-Identifier: GPL-2.0
/*
 * Several scripts in one input, divided by lines "next". Each runs in a child
 * of its own: a fork costs a fraction of a new program, whose memory has to be
 * populated (settle.c).
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

/* Returns the index of the line that ends the part, or the number of lines. */
static int end_of_part(const struct script *whole, int first)
{
	while (first < whole->count && strcmp(whole->lines[first], "next\n"))
		first++;
	return first;
}

static void report_part(int part, int status)
{
	json_begin(NULL);
	json_int("part", part);
	if (WIFSIGNALED(status))
		json_int("signal", WTERMSIG(status));
	else
		json_int("status", WEXITSTATUS(status));
	json_end();
}

static int run_in_child(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		abort();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		remember_pid(getpid());
		settle_child();
		run();
		exit(0);
	}
	while (waitpid(pid, &status, 0) != pid)
		continue;
	return status;
}

void run_parts(void (*run)(void))
{
	const struct script whole = script;
	int first = 0, part = 1, end = end_of_part(&whole, 0);

	if (end == whole.count) {
		run();
		return;
	}
	for (; first <= whole.count; first = end + 1) {
		end = end_of_part(&whole, first);
		script.lines = whole.lines + first;
		script.count = end - first;
		report_part(part++, run_in_child(run));
	}
}
