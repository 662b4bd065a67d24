// SPDX-License-Identifier: GPL-2.0
/*
 * gate, second, join: a second task of this process does one step. It waits in
 * a hook of mmap_stack.ko while the first task goes on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "mmap_testbed.h"
#include "probe.h"

#define SLICE_MS	5

static const struct flag places[] = {
	{ "prepare", MMAP_TESTBED_GATE_PREPARE },
	{ "mapped", MMAP_TESTBED_GATE_MAPPED },
	{ "close", MMAP_TESTBED_GATE_CLOSE },
	{ "fault", MMAP_TESTBED_GATE_FAULT },
	{ }
};

/* A stack of its own, because one that the library maps would count as memory. */
static char stack[128 << 10] __attribute__((aligned(64)));

/*
 * @run: does a step
 * @fd: the device with the gate, -1 without one
 * @tid: its number
 * @step: what the task does
 * @running: the task has been started and not been joined
 * @done: the step has been done
 */
static struct {
	step_function *run;
	int fd;
	pthread_t task;
	pid_t tid;
	struct step step;
	bool running;
	atomic_bool done;
} second = { .fd = -1 };

void second_task_does(step_function *run)
{
	second.run = run;
}

void gate_step(struct step *step)
{
	const char *name = word(step, 1);
	struct mmap_testbed_gate gate = {
		.place = parse_flag(word(step, 2), places, "gate"),
		.limit_ms = parse_number(word(step, 3)),
	};
	int result;

	no_more_words(step);
	second.fd = fd_of(name);
	result = ioctl(second.fd, MMAP_TESTBED_SET_GATE, &gate);
	report_result(step, result);
}

static void *do_step(void *unused)
{
	second.tid = gettid();
	second.run(&second.step);
	atomic_store(&second.done, true);
	return unused;
}

/* The words without the first one. They live as long as the step. */
static void take_words(struct step *step)
{
	int i;

	second.step = (struct step){ .number = step->number, .used = { true } };
	for (i = 1; i < step->count; i++) {
		second.step.words[i - 1] = strdup(step->words[i]);
		step->used[i] = true;
	}
	second.step.count = step->count - 1;
}

/* Returns when the step is done, or a hook waits at the gate. */
void second_step(struct step *step)
{
	pthread_attr_t how;

	if (second.running)
		usage("second: the second task has not been joined");
	if (step->count < 2)
		usage("second: the step is missing");
	take_words(step);
	atomic_store(&second.done, false);
	pthread_attr_init(&how);
	pthread_attr_setstack(&how, stack, sizeof(stack));
	if (pthread_create(&second.task, &how, do_step, NULL))
		usage("second: no task");
	second.running = true;
	/* Without a gate the ioctl fails at once, and the step ends by itself. */
	while (!atomic_load(&second.done) &&
	       ioctl(second.fd, MMAP_TESTBED_AWAIT_GATE, SLICE_MS) != 1)
		sched_yield();
}

/*
 * pthread_join() returns before the task has let go of the open files. Until
 * then each system call on a file takes a reference, which `counts` would show.
 */
static void await_end(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", second.tid);
	while (!access(path, F_OK))
		sched_yield();
}

/* Opens the gate. "early": the second task's step was done by then. */
void join_step(struct step *step)
{
	bool early = atomic_load(&second.done);

	no_more_words(step);
	if (!second.running)
		usage("join without second");
	ioctl(second.fd, MMAP_TESTBED_OPEN_GATE);
	pthread_join(second.task, NULL);
	await_end();
	second.running = false;
	json_begin(step);
	json_bool("early", early);
	json_end();
}
