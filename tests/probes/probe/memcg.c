// SPDX-License-Identifier: GPL-2.0
/* memcg: a limit of the memory that this process may use from here on */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "probe.h"

#define ROOT	"/sys/fs/cgroup"
#define GROUP	ROOT "/probe"

static int put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -1;
	if (write(fd, text, strlen(text)) < 0)
		err = errno;
	close(fd);
	errno = err;
	return err ? -1 : 0;
}

/* The guest's init leaves the folder of sysfs empty. */
static int mount_root(void)
{
	struct statfs found;

	if (statfs(ROOT, &found))
		return -1;
	if (found.f_type == SYSFS_MAGIC && mount("none", ROOT, "cgroup2", 0, NULL))
		return -1;
	return put_text(ROOT "/cgroup.subtree_control", "+memory");
}

/* A fresh group each time: memory that an earlier process has left counts no more. */
static int enter_group(uint64_t bytes)
{
	char text[32];

	if (rmdir(GROUP) && errno != ENOENT)
		return -1;
	if (mkdir(GROUP, 0700))
		return -1;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	if (put_text(GROUP "/memory.max", text))
		return -1;
	return put_text(GROUP "/cgroup.procs", "0");
}

/* What the process already uses belongs to the root group, and does not count. */
void memcg_step(struct step *step)
{
	uint64_t bytes = parse_number(word(step, 1));
	int result;

	no_more_words(step);
	result = mount_root();
	report_result(step, result ? result : enter_group(bytes));
}
