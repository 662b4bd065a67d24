/* SPDX-License-Identifier: GPL-2.0 */
/* Allocations that fail, and memory that is short. */
#ifndef FAULTS_H
#define FAULTS_H

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "run.h"

#define DEBUGFS	"/sys/kernel/debug/"
#define CGROUPS	"/sys/fs/cgroup"
#define GROUP	CGROUPS "/reproducer"

/* Both kinds of allocations fail, even those that may sleep, and silently. */
static const char *const fault_settings[][2] = {
	{ DEBUGFS "failslab/ignore-gfp-wait", "N" },
	{ DEBUGFS "failslab/cache-filter", "N" },
	{ DEBUGFS "failslab/verbose", "0" },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N" },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N" },
	{ DEBUGFS "fail_page_alloc/min-order", "0" },
	{ DEBUGFS "fail_page_alloc/verbose", "0" },
};

/* @fd: fail-nth of @task, -1 unless its next system call shall fail */
static __thread struct {
	int fd;
	pid_t task;
} failing = { .fd = -1 };

static void put(struct run *run, const char *file, const char *text)
{
	int fd = must(run, open(file, O_WRONLY | O_CLOEXEC), file);

	must(run, write(fd, text, strlen(text)), file);
	close(fd);
}

/* Lets the Nth allocation of the next system call fail. */
static UNUSED void fail_allocation(struct run *run, unsigned int nth)
{
	char text[64];
	size_t i;

	for (i = 0; i < sizeof(fault_settings) / sizeof(*fault_settings); i++)
		put(run, fault_settings[i][0], fault_settings[i][1]);
	failing.task = gettid();
	snprintf(text, sizeof(text), "/proc/self/task/%d/fail-nth", failing.task);
	failing.fd = must(run, open(text, O_RDWR | O_CLOEXEC), text);
	snprintf(text, sizeof(text), "%u", nth);
	must(run, pwrite(failing.fd, text, strlen(text), 0), "fail-nth");
}

/*
 * Call this with the result of each system call that may fail. The child of a
 * fork has a count of its own, and the file is its parent's.
 */
static long ended(struct run *run, long result)
{
	char left[16] = "";
	int err = errno;

	run->failed = false;
	if (failing.fd < 0)
		return result;
	if (failing.task == gettid()) {
		must(run, pread(failing.fd, left, sizeof(left) - 1, 0), "fail-nth");
		must(run, pwrite(failing.fd, "0", 1, 0), "fail-nth");
		if (!strtoul(left, NULL, 10)) {
			run->failed = result < 0;
			stop_comparing(run);
		}
	}
	close(failing.fd);
	failing.fd = -1;
	errno = err;
	return result;
}

/* What the process already uses belongs to another group, and does not count. */
static UNUSED void limit_memory(struct run *run, unsigned long bytes)
{
	struct statfs found;
	char text[32];

	must(run, statfs(CGROUPS, &found), CGROUPS);
	if (found.f_type == SYSFS_MAGIC)
		must(run, mount("none", CGROUPS, "cgroup2", 0, NULL), CGROUPS);
	put(run, CGROUPS "/cgroup.subtree_control", "+memory");
	if (rmdir(GROUP) && errno != ENOENT)
		must(run, -1, GROUP);
	must(run, mkdir(GROUP, 0700), GROUP);
	snprintf(text, sizeof(text), "%lu", bytes);
	put(run, GROUP "/memory.max", text);
	put(run, GROUP "/cgroup.procs", "0");
	stop_comparing(run);
}

/*
 * A mapping as /proc/self/maps shows it: adjacent VMAs that are equal count as
 * one.
 *
 * @vmas: without joining them
 */
struct view {
	int vmas;
	char text[4096];
};

struct shown {
	unsigned long start, end;
	unsigned long long offset;
	char access[8], file[256];
};

static bool continues(const struct shown *last, const struct shown *next)
{
	unsigned long long offset = last->offset + (last->end - last->start);

	return last->end == next->start && !strcmp(last->access, next->access) &&
	       !strcmp(last->file, next->file) &&
	       (!*last->file || offset == next->offset);
}

static void add_to_view(struct view *view, const struct shown *shown)
{
	size_t len = strlen(view->text);

	if (shown->end)
		snprintf(view->text + len, sizeof(view->text) - len,
			 "%lx-%lx %s %llx %s\n", shown->start, shown->end,
			 shown->access, shown->offset, shown->file);
}

static UNUSED struct view view(struct run *run, enum name name)
{
	unsigned long start = (unsigned long)run->at[name].addr;
	unsigned long end = start + run->at[name].len;
	struct shown last = {}, next;
	struct view view = {};
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "re");

	must(run, maps ? 0 : -1, "maps");
	while (fgets(line, sizeof(line), maps)) {
		next = (struct shown){};
		sscanf(line, "%lx-%lx %7s %llx %*s %*s %255[^\n]", &next.start,
		       &next.end, next.access, &next.offset, next.file);
		if (next.end <= start || next.start >= end)
			continue;
		view.vmas++;
		if (continues(&last, &next)) {
			last.end = next.end;
			continue;
		}
		add_to_view(&view, &last);
		last = next;
	}
	add_to_view(&view, &last);
	fclose(maps);
	return view;
}

/*
 * A call that fails for want of memory changes nothing.
 *
 * @most: the number of VMAs of which the call may not have done a part, 0 for any
 */
static UNUSED void expect_unchanged(struct run *run, const char *what, enum name name,
				    const struct view *before, int most)
{
	struct view after = view(run, name);

	if (run->failed && !(most && before->vmas > most) &&
	    strcmp(before->text, after.text))
		note(run, "!%s failed and changed the mapping", what);
}

#endif /* FAULTS_H */
