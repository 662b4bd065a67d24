/* SPDX-License-Identifier: GPL-2.0 */
/* A second task, which waits in a hook of mmap_stack.ko while the first goes on. */
#ifndef SECOND_H
#define SECOND_H

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "mmap_testbed.h"
#include "run.h"

#define SLICE_MS	5

/* A stack of its own, because one that the library maps would count as memory. */
static char second_stack[128 << 10] __attribute__((aligned(64)));

/*
 * @does: its step
 * @run: its copy, whose notes wait in a pipe for the end of the task
 * @had: the mappings when it began
 * @notes: where the notes are read
 */
static struct {
	void (*does)(struct run *run);
	struct run run;
	struct range had[NAMES];
	int notes;
	pthread_t task;
	pid_t tid;
	atomic_bool done;
} second;

static void *do_second(void *unused)
{
	second.tid = gettid();
	second.does(&second.run);
	atomic_store(&second.done, true);
	return unused;
}

/* Returns when the step is done, or a hook waits at the gate. */
static UNUSED void start_second(struct run *run, void (*does)(struct run *run),
				enum mmap_testbed_gate_place place, int limit_ms)
{
	struct mmap_testbed_gate gate = { .place = place, .limit_ms = limit_ms };
	pthread_attr_t how;
	int ends[2];

	must(run, ioctl(run->top, MMAP_TESTBED_SET_GATE, &gate), "SET_GATE");
	must(run, pipe2(ends, O_CLOEXEC), "pipe");
	second.does = does;
	second.run = *run;
	second.run.out = ends[1];
	second.notes = ends[0];
	memcpy(second.had, run->at, sizeof(second.had));
	atomic_store(&second.done, false);
	pthread_attr_init(&how);
	pthread_attr_setstack(&how, second_stack, sizeof(second_stack));
	must(run, -pthread_create(&second.task, &how, do_second, NULL), "second task");
	while (!atomic_load(&second.done) &&
	       ioctl(run->top, MMAP_TESTBED_AWAIT_GATE, SLICE_MS) != 1)
		sched_yield();
}

/*
 * pthread_join() returns before the task has let go of the open files. Until
 * then each system call on a file takes a reference, which the counts would show.
 */
static void await_end_of_second(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", second.tid);
	while (!access(path, F_OK))
		sched_yield();
}

static UNUSED void join_second(struct run *run)
{
	char text[512];
	ssize_t len;
	int name;

	ioctl(run->top, MMAP_TESTBED_OPEN_GATE);
	pthread_join(second.task, NULL);
	await_end_of_second();
	close(second.run.out);
	while ((len = read(second.notes, text, sizeof(text))) > 0)
		must(run, write(run->out, text, len), "notes");
	close(second.notes);
	for (name = 0; name < NAMES; name++)
		if (memcmp(&second.had[name], &second.run.at[name], sizeof(struct range)))
			run->at[name] = second.run.at[name];
}

#endif /* SECOND_H */
