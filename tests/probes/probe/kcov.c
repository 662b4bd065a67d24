// SPDX-License-Identifier: GPL-2.0
/*
 * kcov: from here on each step reports the instrumented code that it is the first
 * one to reach. See Documentation/dev-tools/kcov.rst.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kcov.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probe.h"

#define PATH		"/sys/kernel/debug/kcov"

/* What one step reaches at most, with repetitions. The rest of it is lost. */
#define MAX_REACHED	(16 << 10)

/* A power of two. Up to KNOWN_FULL, places are reported once. */
#define KNOWN_SIZE	(8 << 10)
#define KNOWN_FULL	(KNOWN_SIZE / 4 * 3)

/* One for the first task, one for the child of a fork, and one for the second task. */
enum { OWN, CHILD, SECOND, TASKS };

/*
 * @words: shared with the kernel: the number of places, then the places
 * @known: the places that were reported, as a hash table
 */
static struct {
	bool on;
	int fd[TASKS];
	unsigned long *words[TASKS];
	uint32_t *known;
	unsigned int count;
} kcov;

/* The area of this task, whose number is one more. The child of a fork inherits it. */
static __thread int enabled;

/* All areas are mapped at once, because a later mapping would count as memory. */
static int open_area(int task)
{
	size_t size = MAX_REACHED * sizeof(unsigned long);
	int fd = open(PATH, O_RDWR | O_CLOEXEC);
	void *area;

	if (fd < 0)
		return -1;
	kcov.fd[task] = fd;
	if (ioctl(fd, KCOV_INIT_TRACE, MAX_REACHED))
		return -1;
	area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	kcov.words[task] = area;
	return area == MAP_FAILED ? -1 : 0;
}

static int this_task(void)
{
	if (script.in_child)
		return CHILD;
	return gettid() == getpid() ? OWN : SECOND;
}

/* Call this before a step. */
void begin_reached(void)
{
	int task;

	if (!kcov.on)
		return;
	task = this_task();
	if (enabled != task + 1) {
		if (ioctl(kcov.fd[task], KCOV_ENABLE, KCOV_TRACE_PC))
			usage("kcov: %m");
		enabled = task + 1;
	}
	__atomic_store_n(kcov.words[task], 0, __ATOMIC_RELAXED);
}

/* Two tasks may both report a place that is new to them at the same time. */
static bool is_new(uint32_t place)
{
	unsigned int at = place * 2654435761u % KNOWN_SIZE;
	uint32_t known;

	while ((known = __atomic_load_n(&kcov.known[at], __ATOMIC_RELAXED))) {
		if (known == place)
			return false;
		at = (at + 1) % KNOWN_SIZE;
	}
	if (kcov.count < KNOWN_FULL) {
		kcov.count++;
		__atomic_store_n(&kcov.known[at], place, __ATOMIC_RELAXED);
	}
	return true;
}

/* Adds the places to the object of the step: the lower half of each address. */
static void add_reached(void)
{
	unsigned long *words, count, i;
	char *text, *end;

	if (!enabled)
		return;
	words = kcov.words[enabled - 1];
	count = __atomic_load_n(words, __ATOMIC_RELAXED);
	if (!count)
		return;
	text = end = malloc(count * 9 + 1);
	if (!text)
		abort();
	*end = '\0';
	for (i = 1; i <= count; i++)
		if (is_new(words[i]))
			end += sprintf(end, "%08x ", (uint32_t)words[i]);
	if (end > text)
		json_strn("reached", text, end - text - 1);
	free(text);
	__atomic_store_n(words, 0, __ATOMIC_RELAXED);
}

void kcov_step(struct step *step)
{
	int task, result = 0;

	no_more_words(step);
	for (task = 0; task < TASKS && !result; task++)
		result = open_area(task);
	kcov.known = calloc(KNOWN_SIZE, sizeof(*kcov.known));
	if (!kcov.known)
		abort();
	kcov.on = !result;
	if (kcov.on)
		json_at_step_end(add_reached);
	report_result(step, result);
}
