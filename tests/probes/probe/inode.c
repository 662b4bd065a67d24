// SPDX-License-Identifier: GPL-2.0
/* old, stat: the size, the links and the times of an open file; rename */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "probe.h"

/* The times that `old` sets, long before any that a kernel sets itself. */
#define OLD_ACCESS	1000
#define OLD_CHANGE	2000

/* With relatime, the next access counts: it is newer than the last change. */
void old_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	const struct timespec times[] = {
		{ .tv_sec = OLD_ACCESS },
		{ .tv_sec = OLD_CHANGE },
	};

	no_more_words(step);
	report_result(step, futimens(fd, times));
}

void stat_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	struct stat facts = {};
	int err;

	no_more_words(step);
	err = fstat(fd, &facts) ? errno : 0;
	json_begin(step);
	json_errno(err);
	if (!err) {
		json_int("size", facts.st_size);
		json_int("links", facts.st_nlink);
		json_bool("accessed", facts.st_atime != OLD_ACCESS);
		json_bool("changed", facts.st_mtime != OLD_CHANGE);
	}
	json_end();
}

void rename_step(struct step *step)
{
	const char *from = word(step, 1);
	const char *to = word(step, 2);

	no_more_words(step);
	report_result(step, rename(from, to));
}
