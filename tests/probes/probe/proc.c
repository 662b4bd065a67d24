// SPDX-License-Identifier: GPL-2.0
/* env, status, meminfo, hooklog, clearlog, rmmod, show: facts about the system */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "probe.h"

/* Reports the wanted lines of a file of "Key:   123 kB" lines. */
static void report_fields(struct step *step, const char *path,
			  bool (*wanted)(const char *key))
{
	char *text, *rest = NULL, *line, *colon;

	no_more_words(step);
	text = must_slurp(path);
	json_begin(step);
	json_open("fields", '{');
	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon = '\0';
		if (wanted(line))
			json_int(line, strtoll(colon + 1, NULL, 10));
	}
	json_close('}');
	json_end();
	free(text);
}

static bool is_memory_of_process(const char *key)
{
	return !strncmp(key, "Vm", 2) || !strncmp(key, "Rss", 3);
}

void status_step(struct step *step)
{
	report_fields(step, "/proc/self/status", is_memory_of_process);
}

static bool is_account(const char *key)
{
	static const char *const keys[] = {
		"MemFree", "Mlocked", "AnonPages", "Mapped", "Shmem",
		"PageTables", "Committed_AS", NULL
	};
	int i;

	for (i = 0; keys[i]; i++)
		if (!strcmp(key, keys[i]))
			return true;
	return false;
}

/*
 * The kernel adds up its per-CPU counters now and then. A read of this file
 * makes it do so at once (mm/vmstat.c, vmstat_refresh()).
 */
static void add_up_counters(void)
{
	free(slurp("/proc/sys/vm/stat_refresh"));
}

void meminfo_step(struct step *step)
{
	add_up_counters();
	report_fields(step, "/proc/meminfo", is_account);
}

void env_step(struct step *step)
{
	struct module_memory memory;
	struct utsname name;

	no_more_words(step);
	uname(&name);
	memory = find_module_memory();
	json_begin(step);
	json_int("page_size", page_size());
	json_str("release", name.release);
	json_str("machine", name.machine);
	if (memory.pool_pages) {
		json_int("pool_pages", memory.pool_pages);
		json_hex("pool_pfn", memory.pool_pfn);
	}
	if (memory.ring_pages) {
		json_int("ring_pages", memory.ring_pages);
		json_hex("ring_pfn", memory.ring_pfn);
	}
	json_end();
}

#define MAX_PIDS	64

static pid_t pids[MAX_PIDS];
static int pid_count;

/* The processes of this script. */
void remember_pid(pid_t pid)
{
	if (pid_count < MAX_PIDS)
		pids[pid_count++] = pid;
}

static bool is_ours(const char *line)
{
	int pid, i;

	if (sscanf(line, "%*u pid=%d", &pid) != 1)
		return false;
	for (i = 0; i < pid_count; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

static const char *log_path(struct step *step)
{
	if (has_word(step, "ring"))
		return "/sys/kernel/debug/mmap_ring/log";
	if (has_word(step, "uio"))
		return "/sys/kernel/debug/mmap_uio/log";
	has_word(step, "stack");
	return "/sys/kernel/debug/mmap_testbed/log";
}

/* Returns the number of lost records. */
static unsigned long long report_lines(char *text, bool all)
{
	char *rest = NULL, *line;
	unsigned long long lost = 0;

	json_open("lines", '[');
	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		if (sscanf(line, "%*u pid=0 lost n=%llu", &lost) == 1)
			continue;
		if (all || is_ours(line))
			json_str(NULL, line);
	}
	json_close(']');
	return lost;
}

void hooklog_step(struct step *step)
{
	const char *path = log_path(step);
	bool all = has_word(step, "all");
	char *text;

	no_more_words(step);
	text = slurp(path);
	json_begin(step);
	json_errno(text ? 0 : errno);
	if (text)
		json_int("lost", report_lines(text, all));
	json_end();
	free(text);
}

void show_step(struct step *step)
{
	char *text = slurp(word(step, 1));
	int err = text ? 0 : errno;
	char *rest = NULL, *line;

	no_more_words(step);
	json_begin(step);
	json_errno(err);
	json_open("lines", '[');
	for (line = text ? strtok_r(text, "\n", &rest) : NULL; line;
	     line = strtok_r(NULL, "\n", &rest))
		json_str(NULL, line);
	json_close(']');
	json_end();
	free(text);
}

/* Unloads a module while this process still has mappings. */
void rmmod_step(struct step *step)
{
	const char *module = word(step, 1);

	no_more_words(step);
	report_result(step, syscall(SYS_delete_module, module, O_NONBLOCK));
}

void clearlog_step(struct step *step)
{
	const char *path = log_path(step);
	int fd, err = 0;

	no_more_words(step);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		err = errno;
	if (fd >= 0)
		close(fd);
	json_begin(step);
	json_errno(err);
	json_end();
}
