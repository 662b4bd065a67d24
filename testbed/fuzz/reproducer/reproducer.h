/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part that the reproducers of `testbed fuzz` share. A reproducer runs one
 * program on each of several paths, each in a process of its own, and prints
 * KTAP. It needs mmap_stack.ko and debugfs at its usual place.
 */
#ifndef REPRODUCER_H
#define REPRODUCER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "faults.h"
#include "mmap_testbed.h"
#include "run.h"
#include "second.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MAP_32BIT
#define MAP_32BIT		0x40
#endif

#define LOG		"/sys/kernel/debug/mmap_testbed/log"
#define PAGES(n)	((unsigned long)(n) * page_size())
#define SOFTDIRTY	(1ULL << 27)
#define MAX_PATHS	8
#define SECONDS		20
#define MOST_READ	64

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

/* The generated file has these. */
static void program(struct run *run);
static const struct path paths[MAX_PATHS];
static const bool may_warn, may_be_killed;

static unsigned long page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

static UNUSED int open_node(struct run *run, const char *node)
{
	char file[64];

	snprintf(file, sizeof(file), "/dev/%s", node);
	return must(run, open(file, O_RDWR | O_CLOEXEC), file);
}

static UNUSED void set_plan(struct run *run, int fd,
			    const struct mmap_testbed_plan *plan)
{
	must(run, ioctl(fd, MMAP_TESTBED_SET_PLAN, plan), "SET_PLAN");
}

static UNUSED void open_path(struct run *run,
			     const struct mmap_testbed_plan *plan,
			     const struct mmap_testbed_plan *outer)
{
	int level = 0, fd = -1, lower = -1;

	while (level < MAX_NODES && run->path->nodes[level])
		level++;
	while (level--) {
		fd = open_node(run, run->path->nodes[level]);
		if (lower >= 0) {
			must(run, ioctl(fd, MMAP_TESTBED_SET_LOWER, &lower), "SET_LOWER");
		} else {
			run->hook = fd;
			if (run->spare >= 0)
				must(run, ioctl(fd, MMAP_TESTBED_SET_REPLACEMENT,
						&run->spare), "SET_REPLACEMENT");
		}
		lower = fd;
	}
	run->top = fd;
	set_plan(run, run->hook, plan);
	if (outer)
		set_plan(run, run->top, outer);
	must(run, ioctl(run->top, MMAP_TESTBED_RESET_POOL), "RESET_POOL");
}

/* References and calls, before and after. */
static UNUSED struct mmap_testbed_counts count(struct run *run, int fd)
{
	struct mmap_testbed_counts counts;

	must(run, ioctl(fd, MMAP_TESTBED_COUNTS, &counts), "COUNTS");
	return counts;
}

static void balance(struct run *run, const char *what, long long had, long long has)
{
	if (had != has)
		note(run, "!%s: %lld before, %lld after", what, had, has);
}

static UNUSED void compare_counts(struct run *run,
				  const struct mmap_testbed_counts *had,
				  const struct mmap_testbed_counts *has)
{
	balance(run, "references of the file", had->file, has->file);
	balance(run, "references of the lower file", had->lower, has->lower);
	balance(run, "references of the replacement", had->replacement,
		has->replacement);
	balance(run, "references of the pages", had->page_count, has->page_count);
	balance(run, "mappings of the pages", had->page_mapcount,
		has->page_mapcount);
}

/* Accounts of the kernel in kB. */
struct accounts {
	long committed, shmem;
};

static long account(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtol(at + strlen(key), NULL, 10) : 0;
}

static UNUSED struct accounts take_accounts(struct run *run)
{
	/* Each CPU counts a part. A read of this file adds the parts up. */
	int refresh = open("/proc/sys/vm/stat_refresh", O_RDONLY | O_CLOEXEC);
	int file = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	char text[8192];
	ssize_t len = read(refresh, text, sizeof(text));

	len = must(run, read(file, text, sizeof(text) - 1), "meminfo");
	text[len] = '\0';
	close(refresh);
	close(file);
	return (struct accounts){ account(text, "Committed_AS:"),
				  account(text, "Shmem:") };
}

static UNUSED void compare_accounts(struct run *run, const struct accounts *had)
{
	struct accounts has = take_accounts(run);

	balance(run, "Committed_AS in kB", had->committed, has.committed);
	balance(run, "Shmem in kB", had->shmem, has.shmem);
}

/* The calls that are equal on all paths. */
static UNUSED void note_events(struct run *run,
			       const struct mmap_testbed_counts *had,
			       const struct mmap_testbed_counts *has)
{
	static const char *const names[MMAP_TESTBED_NR_EVENTS] = {
		[MMAP_TESTBED_EV_OPEN] = "open",
		[MMAP_TESTBED_EV_CLOSE] = "close",
		[MMAP_TESTBED_EV_MAY_SPLIT] = "may_split",
		[MMAP_TESTBED_EV_MREMAP] = "mremap",
		[MMAP_TESTBED_EV_MPROTECT] = "mprotect",
		[MMAP_TESTBED_EV_FAULT] = "fault",
	};
	int i;

	for (i = 0; i < MMAP_TESTBED_NR_EVENTS; i++)
		if (names[i])
			note(run, "calls of %s(): %llu", names[i],
			     (unsigned long long)(has->events[i] - had->events[i]));
}

static UNUSED void expect_closes(struct run *run, unsigned long long wanted,
				 const struct mmap_testbed_counts *had,
				 const struct mmap_testbed_counts *has)
{
	unsigned long long seen = has->events[MMAP_TESTBED_EV_CLOSE] -
				  had->events[MMAP_TESTBED_EV_CLOSE];

	if (seen != wanted)
		note(run, "!calls of close(): %llu, not %llu", seen, wanted);
}

/* Notes the result of a system call. */
static UNUSED void did(struct run *run, const char *what, long result)
{
	ended(run, result);
	note(run, "%s: %s", what, result < 0 ? strerrorname_np(errno) : "0");
}

static UNUSED void map(struct run *run, enum name name, int fd, void *addr,
		       size_t len, int prot, int flags, off_t offset)
{
	char *at = mmap(addr, len, prot, flags, fd, offset);

	run->err = at == MAP_FAILED ? errno : 0;
	did(run, "mmap", run->err ? -1 : 0);
	run->at[name] = at == MAP_FAILED ? (struct range){} :
			(struct range){ at, len };
}

static UNUSED void remap(struct run *run, enum name from, enum name to,
			 size_t old, size_t len, int flags, void *addr)
{
	char *at = mremap(run->at[from].addr, old, len, flags, addr);

	did(run, "mremap", at == MAP_FAILED ? -1 : 0);
	if (at != MAP_FAILED)
		run->at[to] = (struct range){ at, len };
	else if (to != from)
		run->at[to] = (struct range){};
}

static UNUSED void expect_errno(struct run *run, int wanted)
{
	if (run->err != wanted)
		note(run, "!mmap: errno %d, not %d", run->err, wanted);
}

/* The kernel's view of the VMA at a page. */
static UNUSED void look(struct run *run, enum name name, size_t page)
{
	struct mmap_testbed_vma vma = {
		.addr = (unsigned long)run->at[name].addr + PAGES(page),
	};

	if (ioctl(run->top, MMAP_TESTBED_VMA, &vma)) {
		note(run, "VMA: %s", strerrorname_np(errno));
		return;
	}
	note(run, "VMA: start %+lld size %#llx pgoff %#llx flags %#llx private %#llx ops %s",
	     (long long)(vma.start - (unsigned long)run->at[name].addr),
	     (unsigned long long)(vma.end - vma.start),
	     (unsigned long long)vma.pgoff,
	     (unsigned long long)vma.flags & ~SOFTDIRTY,
	     (unsigned long long)vma.private_data, vma.vm_ops);
}

static UNUSED void expect_private(struct run *run, unsigned long long wanted)
{
	struct mmap_testbed_vma vma = { .addr = (unsigned long)run->at[M].addr };

	if (!ioctl(run->top, MMAP_TESTBED_VMA, &vma) &&
	    vma.private_data != wanted)
		note(run, "!vm_private_data: %#llx, not %#llx",
		     (unsigned long long)vma.private_data, wanted);
}

static __thread sigjmp_buf caught;

static void catch_signal(int signal)
{
	siglongjmp(caught, signal);
}

/* Reads or writes the first word of a page. Returns the signal, or 0. */
static int touch(volatile uint64_t *at, bool write, uint64_t *value)
{
	int got = sigsetjmp(caught, 1);

	if (got)
		return got;
	if (write)
		*at = *value;
	else
		*value = *at;
	return 0;
}

static UNUSED void read_pages(struct run *run, enum name name, size_t first,
			      size_t last)
{
	uint64_t value;
	int got;

	for (; run->at[name].addr && first <= last; first++) {
		got = touch((void *)(run->at[name].addr + PAGES(first)), false,
			    &value);
		if (got)
			note(run, "page %zu: %s", first, strsignal(got));
		else
			note(run, "page %zu: %#llx", first,
			     (unsigned long long)value);
	}
}

static UNUSED void write_pages(struct run *run, enum name name, size_t first,
			       size_t last, uint64_t value)
{
	int got;

	for (; run->at[name].addr && first <= last; first++) {
		got = touch((void *)(run->at[name].addr + PAGES(first)), true,
			    &value);
		note(run, "write to page %zu: %s", first,
		     got ? strsignal(got) : "0");
	}
}

static UNUSED void expect_zero(struct run *run, enum name name)
{
	size_t page, count = run->at[name].len / page_size();
	uint64_t value;

	for (page = 0; page < count; page++)
		if (!touch((void *)(run->at[name].addr + PAGES(page)), false,
			   &value) && value)
			note(run, "!memory that nobody wrote has %#llx",
			     (unsigned long long)value);
}

/* The files that the newest prepare and mapped() of this process were given. */
static UNUSED void expect_mapped_file(struct run *run)
{
	char line[1024], pid[32], hook[64] = "", mapped[64] = "", *file;
	FILE *log = fopen(LOG, "r");

	if (!log)
		return;
	snprintf(pid, sizeof(pid), " pid=%d ", getpid());
	while (fgets(line, sizeof(line), log)) {
		file = strstr(line, " file=");
		if (!strstr(line, pid) || !file)
			continue;
		if (strstr(line, " prepare "))
			sscanf(file, " file=%63[^# ]", hook);
		else if (strstr(line, " mapped "))
			sscanf(file, " file=%63[^# ]", mapped);
	}
	fclose(log);
	if (*mapped && strcmp(hook, mapped))
		note(run, "!mapped() got the file of %s, not of %s", mapped, hook);
}

static void run_path(const struct path *path, int out)
{
	struct sigaction action = { .sa_handler = catch_signal };
	struct run run = { .path = path, .out = out, .spare = -1 };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	program(&run);
	note(&run, "done");
	exit(0);
}

/* Returns the notes of a path, or NULL if it hangs. */
static char *notes_of(const struct path *path)
{
	size_t len = 0, room = 1 << 20;
	char *text = calloc(1, room);
	struct pollfd wait = { .events = POLLIN };
	int ends[2];
	ssize_t got;
	pid_t pid;

	if (!text || pipe(ends))
		abort();
	fflush(NULL);
	pid = fork();
	if (!pid)
		run_path(path, ends[1]);
	close(ends[1]);
	wait.fd = ends[0];
	while (len < room - 1) {
		if (poll(&wait, 1, SECONDS * 1000) <= 0) {
			kill(pid, SIGKILL);
			return NULL;
		}
		got = read(ends[0], text + len, room - 1 - len);
		if (got <= 0)
			break;
		len += got;
	}
	close(ends[0]);
	waitpid(pid, NULL, 0);
	return text;
}

/* Prints what the kernel complained about since the last call. */
static int complaints(int log)
{
	static const char *const words[] = { "BUG:", "Bad page", "imbalanced put",
					     "Oops", "WARNING:" };
	size_t most = ARRAY_LEN(words) - may_warn, i;
	char record[8192];
	int found = 0;
	ssize_t len;

	while ((len = read(log, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		if (len <= 0)
			continue;
		record[len] = '\0';
		for (i = 0; i < most; i++) {
			if (!strstr(record, words[i]))
				continue;
			printf("# kernel: %.200s\n",
			       (strchr(record, ';') ?: record) + 1);
			found++;
			break;
		}
	}
	return found;
}

/* Returns the next line that is no failure. */
static const char *past_failures(const char *line)
{
	while (line && *line == '!')
		line = strchrnul(line, '\n') + 1;
	return line;
}

/* Prints the failures in the notes, and the first difference. */
static int judge(const char *text, const char *reference)
{
	const char *line, *end, *other = reference;
	int failed = 0;

	for (line = text; *line; line = end + 1) {
		end = strchrnul(line, '\n');
		if (*line == '!') {
			printf("# %.*s\n", (int)(end - line - 1), line + 1);
			failed = 1;
			continue;
		}
		other = past_failures(other);
		if (*line == '?' || (other && *other == '?'))
			other = NULL;
		if (other && strncmp(line, other, end - line + 1)) {
			printf("# %.*s\n# first path: %.*s\n", (int)(end - line),
			       line, (int)(strchrnul(other, '\n') - other), other);
			failed = 1;
			other = NULL;
		}
		if (other)
			other = strchrnul(other, '\n') + 1;
		if (!*end)
			break;
	}
	if (!strstr(text, "\ndone\n") && !may_be_killed) {
		printf("# the program was killed\n");
		failed = 1;
	}
	return failed;
}

int main(void)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	char *reference = NULL, *text;
	int i, failed, all = 0, count = 0;

	lseek(log, 0, SEEK_END);
	while (count < MAX_PATHS && paths[count].name)
		count++;
	printf("KTAP version 1\n1..%d\n", count);
	for (i = 0; i < count; i++) {
		text = notes_of(&paths[i]);
		failed = !text || judge(text, reference);
		if (!text)
			printf("# the program hangs\n");
		failed |= !!complaints(log);
		reference = reference ?: text;
		printf("%sok %d %s\n", failed ? "not " : "", i + 1, paths[i].name);
		all |= failed;
	}
	fflush(NULL);
	_exit(all);
}

#endif /* REPRODUCER_H */
