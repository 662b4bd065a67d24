// SPDX-License-Identifier: GPL-2.0
/*
 * Populates all of the probe's own memory before the first step. After that,
 * changes in /proc/self/status come from the mappings under test.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "probe.h"

#define HEAP	(512 << 10)
#define STACK	(96 << 10)

/* The heap does not shrink, and large blocks do not go to mmap(). */
static void grow_heap(void)
{
	void *room;

	mallopt(M_MMAP_MAX, 0);
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	room = malloc(HEAP);
	/* Keeps the compiler from removing the unused block. */
	__asm__ volatile("" : : "r"(room) : "memory");
	free(room);
}

static __noinline void grow_stack(void)
{
	char room[STACK];

	memset(room, 0, sizeof(room));
	__asm__ volatile("" : : "r"(room) : "memory");
}

/*
 * A child does not inherit the page table entries of file mappings, because a
 * fault can fill them. Those of the program would count in /proc/self/status.
 */
void settle_child(void)
{
	extern char __executable_start, _end;
	unsigned long start = (unsigned long)&__executable_start;

	start -= start % page_size();
	madvise((void *)start, page_align((unsigned long)&_end - start),
		MADV_POPULATE_READ);
}

void settle(void)
{
	char *text, *rest = NULL, *line, prot[8];
	unsigned long start, end;

	grow_heap();
	grow_stack();
	text = must_slurp("/proc/self/maps");
	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, prot) != 3)
			continue;
		/* Fails for special mappings such as [vvar], which do not matter. */
		madvise((void *)start, end - start, prot[1] == 'w' ?
			MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	}
	free(text);
}
