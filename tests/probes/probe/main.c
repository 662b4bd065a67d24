// SPDX-License-Identifier: GPL-2.0
/*
 * probe: reads steps from standard input, one per line, does them, and prints
 * one JSON object of facts for each. It judges nothing. docs/probe.md describes
 * the language and the facts; this table is the whole of the language:
 *
 *	files.c		open memfd seal publish close pread pwrite ftruncate
 *	device.c	plan lower replacement counts reset vma ptes
 *	mapping.c	map munmap mprotect mremap madvise mlock munlock msync
 *			remap_file_pages
 *	touch.c		read write
 *	vmas.c		maps query pagemap
 *	shm.c		shmget shmat shmdt shmstat shmrm
 *	users.c		secretmem stm io_setup io_destroy
 *	perf.c		perf perflog
 *	proc.c		env status meminfo hooklog clearlog rmmod show
 *	fail.c		sweep endsweep fail_nth
 *	limits.c	rlimit mdwe mseal ksm
 *	this file	fork endfork
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

bool in_child;

/* The script, its lines, and the one that comes next. */
static char **lines;
static int line_count;
static int next_line;

static const struct {
	const char *name;
	step_function *run;
} steps[] = {
	{ "open", open_step },
	{ "memfd", memfd_step },
	{ "seal", seal_step },
	{ "publish", publish_step },
	{ "close", close_step },
	{ "pread", pread_step },
	{ "pwrite", pwrite_step },
	{ "ftruncate", ftruncate_step },
	{ "plan", plan_step },
	{ "lower", lower_step },
	{ "replacement", replacement_step },
	{ "counts", counts_step },
	{ "reset", reset_step },
	{ "vma", vma_step },
	{ "ptes", ptes_step },
	{ "map", map_step },
	{ "munmap", munmap_step },
	{ "mprotect", mprotect_step },
	{ "mremap", mremap_step },
	{ "madvise", madvise_step },
	{ "mlock", mlock_step },
	{ "munlock", munlock_step },
	{ "msync", msync_step },
	{ "remap_file_pages", remap_file_pages_step },
	{ "read", read_step },
	{ "write", write_step },
	{ "maps", maps_step },
	{ "query", query_step },
	{ "pagemap", pagemap_step },
	{ "shmget", shmget_step },
	{ "shmat", shmat_step },
	{ "shmdt", shmdt_step },
	{ "shmstat", shmstat_step },
	{ "shmrm", shmrm_step },
	{ "secretmem", secretmem_step },
	{ "stm", stm_step },
	{ "io_setup", io_setup_step },
	{ "io_destroy", io_destroy_step },
	{ "rlimit", rlimit_step },
	{ "mdwe", mdwe_step },
	{ "ksm", ksm_step },
	{ "mseal", mseal_step },
	{ "mlockall", mlockall_step },
	{ "perf", perf_step },
	{ "perflog", perflog_step },
	{ "env", env_step },
	{ "status", status_step },
	{ "meminfo", meminfo_step },
	{ "hooklog", hooklog_step },
	{ "clearlog", clearlog_step },
	{ "show", show_step },
	{ "rmmod", rmmod_step },
	{ "sweep", sweep_step },
	{ "endsweep", endsweep_step },
	{ "fail_nth", fail_nth_step },
	{ "fork", fork_step },
	{ "endfork", endfork_step },
};

/* The script cannot be understood: a last object, and the end. */
void usage(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_drop();
	json_begin(NULL);
	json_int("step", next_line);
	json_str("error", "usage");
	json_str("text", text);
	if (in_child)
		json_bool("child", true);
	json_end();
	exit(2);
}

static void read_script(void)
{
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, stdin) >= 0) {
		lines = realloc(lines, (line_count + 1) * sizeof(*lines));
		if (!lines)
			abort();
		lines[line_count++] = line;
		line = NULL;
		room = 0;
	}
	free(line);
}

void continue_behind(int number)
{
	next_line = number;
}

static void run_step(struct step *step)
{
	bool pending = failure_pending();
	size_t i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		if (!strcmp(steps[i].name, step->words[0])) {
			steps[i].run(step);
			if (pending && failure_pending())
				usage("fail_nth is not for '%s'",
				      step->words[0]);
			return;
		}
	}
	usage("'%s' is no step", step->words[0]);
}

/* A line can be run more than once, and cutting it leaves nothing of it. */
static void run_line(const char *line)
{
	struct step step;
	char *copy = strdup(line);

	if (!copy)
		abort();
	if (cut_line(&step, next_line, copy))
		run_step(&step);
	free(copy);
}

/* The place behind the next "endfork". */
static int find_endfork(void)
{
	char word[16];
	int i;

	for (i = next_line; i < line_count; i++) {
		if (sscanf(lines[i], "%15s", word) != 1)
			continue;
		if (!strcmp(word, "fork"))
			usage("line %d: fork inside fork", i + 1);
		if (!strcmp(word, "endfork"))
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

static void report_no_child(struct step *step)
{
	int err = errno;

	json_begin(step);
	json_errno(err);
	json_failure();
	json_end();
}

void fork_step(struct step *step)
{
	int behind = find_endfork();
	pid_t pid;

	no_more_words(step);
	pid = subject(fork());
	if (pid < 0) {
		report_no_child(step);
		next_line = behind;
		return;
	}
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		in_child = true;
		remember_pid(getpid());
		return;
	}
	remember_pid(pid);
	report_child(step, pid);
	next_line = behind;
}

void endfork_step(struct step *step)
{
	no_more_words(step);
	if (!in_child)
		usage("endfork without fork");
	exit(0);
}

int main(void)
{
	remember_pid(getpid());
	settle();
	/* Tells an agent that has started us ahead that we wait now (docs/agent.md). */
	close(3);
	read_script();
	while (next_line < line_count) {
		next_line++;
		run_line(lines[next_line - 1]);
	}
	json_begin(NULL);
	json_bool("done", true);
	json_end();
	return 0;
}
