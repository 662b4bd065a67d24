// SPDX-License-Identifier: GPL-2.0
/*
 * probe: reads steps from standard input, one per line, runs them, and prints
 * one JSON object of facts for each. It does not judge the facts. docs/probe.md
 * describes the language and the facts. These are all steps:
 *
 *	files.c		open memfd secretmem seal stm publish close pread pwrite
 *			ftruncate
 *	calls.c		ioctl read_file write_file await pause
 *	openers/	opener
 *	device.c	plan lower replacement counts reset vma ptes
 *	mapping.c	map munmap mprotect mremap madvise mlock munlock msync
 *			remap_file_pages
 *	touch.c		read write
 *	peek.c		peek poke
 *	inode.c		old stat rename
 *	vmas.c		maps query pagemap
 *	shm.c		shmget shmat shmdt shmstat shmrm
 *	aio.c		io_setup io_destroy
 *	uffd.c		uffd uffd_register
 *	perf.c		perf perflog
 *	proc.c		env status meminfo hooklog clearlog rmmod show
 *	fail.c		sweep endsweep fail_nth
 *	memcg.c		memcg
 *	kcov.c		kcov
 *	limits.c	rlimit mdwe mseal mlockall ksm
 *			unprivileged vma_name read_implies_exec
 *	fork.c		fork endfork
 *	second.c	gate second join
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

static const struct {
	const char *name;
	step_function *run;
} steps[] = {
	{ "open", open_step },
	{ "opener", opener_step },
	{ "memfd", memfd_step },
	{ "seal", seal_step },
	{ "publish", publish_step },
	{ "close", close_step },
	{ "pread", pread_step },
	{ "pwrite", pwrite_step },
	{ "ftruncate", ftruncate_step },
	{ "ioctl", ioctl_step },
	{ "read_file", read_file_step },
	{ "write_file", write_file_step },
	{ "await", await_step },
	{ "pause", pause_step },
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
	{ "peek", peek_step },
	{ "poke", poke_step },
	{ "old", old_step },
	{ "stat", stat_step },
	{ "rename", rename_step },
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
	{ "uffd", uffd_step },
	{ "uffd_register", uffd_register_step },
	{ "rlimit", rlimit_step },
	{ "mdwe", mdwe_step },
	{ "ksm", ksm_step },
	{ "unprivileged", unprivileged_step },
	{ "vma_name", vma_name_step },
	{ "read_implies_exec", read_implies_exec_step },
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
	{ "memcg", memcg_step },
	{ "kcov", kcov_step },
	{ "fork", fork_step },
	{ "endfork", endfork_step },
	{ "gate", gate_step },
	{ "second", second_step },
	{ "join", join_step },
};

static void run_step(struct step *step)
{
	bool pending = failure_pending();
	size_t i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		if (!strcmp(steps[i].name, step->words[0])) {
			begin_reached();
			steps[i].run(step);
			if (pending && failure_pending())
				usage("fail_nth is not for '%s'",
				      step->words[0]);
			return;
		}
	}
	usage("'%s' is not a step", step->words[0]);
}

/* cut_line() destroys the text, and a line can run more than once. */
static void run_line(const char *line)
{
	struct step step;
	char *copy = strdup(line);

	if (!copy)
		abort();
	if (cut_line(&step, script.next, copy))
		run_step(&step);
	free(copy);
}

static void run_script(void)
{
	while (script.next < script.count) {
		script.next++;
		run_line(script.lines[script.next - 1]);
	}
	json_begin(NULL);
	json_bool("done", true);
	json_end();
}

int main(void)
{
	remember_pid(getpid());
	settle();
	second_task_does(run_step);
	/* Signals to an agent that the probe waits for its script (docs/agent.md). */
	close(3);
	read_script();
	run_parts(run_script);
	return 0;
}
