/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A run of the program on one path, and the notes that it makes in a pipe, line
 * by line. A line that begins with '!' is a failure. The others must equal those
 * of the first path, up to the first '?' on either path.
 */
#ifndef RUN_H
#define RUN_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_NODES	4
#define UNUSED		__attribute__((unused))

/* @nodes: from the file that is mapped down to the file whose hook runs */
struct path {
	const char *name;
	const char *nodes[MAX_NODES];
};

struct range {
	char *addr;
	size_t len;
};

/* The mappings of a program, by the names that the testbed gives them. */
enum name { M, N, O, P, ROOM, NAMES };

/*
 * @err: errno of the last mmap
 * @failed: the last system call failed, and an allocation that it made as well
 */
struct run {
	const struct path *path;
	int out;
	int top, hook, spare;
	int err;
	bool failed;
	struct range at[NAMES];
};

__attribute__((format(printf, 2, 3)))
static void note(struct run *run, const char *format, ...)
{
	char line[512];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (len > (int)sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	if (write(run->out, line, len) != len)
		abort();
}

static int must(struct run *run, int result, const char *what)
{
	if (result < 0) {
		note(run, "!%s: %s", what, strerror(errno));
		exit(1);
	}
	return result;
}

/*
 * From here on the paths may differ: VMAs merge before a hook runs or after it,
 * and the Nth allocation is another one.
 */
static UNUSED void stop_comparing(struct run *run)
{
	note(run, "?");
}

#endif /* RUN_H */
