// SPDX-License-Identifier: GPL-2.0
/* fork, endfork */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

/* Returns the number of the line with the next "endfork". */
static int find_endfork(void)
{
	char name[16];
	int i;

	for (i = script.next; i < script.count; i++) {
		if (sscanf(script.lines[i], "%15s", name) != 1)
			continue;
		if (!strcmp(name, "fork"))
			usage("line %d: fork inside fork", i + 1);
		if (!strcmp(name, "endfork"))
			return i + 1;
	}
	usage("fork: endfork is missing");
}

static void report_child(struct step *step, pid_t pid)
{
	const char *name;
	int status;

	while (waitpid(pid, &status, 0) != pid)
		continue;
	json_begin(step);
	json_int("pid", pid);
	json_failure();
	if (WIFSIGNALED(status)) {
		char text[32] = "SIG";

		name = sigabbrev_np(WTERMSIG(status));
		strncat(text, name ?: "?", sizeof(text) - 4);
		json_str("signal", text);
	} else {
		json_int("status", WEXITSTATUS(status));
	}
	json_end();
}

void fork_step(struct step *step)
{
	int end = find_endfork();
	pid_t pid;

	no_more_words(step);
	pid = subject(fork());
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		script.in_child = true;
		remember_pid(getpid());
		return;
	}
	if (pid < 0) {
		report_result(step, pid);
	} else {
		remember_pid(pid);
		report_child(step, pid);
	}
	script.next = end;
}

void endfork_step(struct step *step)
{
	no_more_words(step);
	if (!script.in_child)
		usage("endfork without fork");
	exit(0);
}
