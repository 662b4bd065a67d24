// SPDX-License-Identifier: GPL-2.0
/* What the openers share. */
#define _GNU_SOURCE
#include <errno.h>
#include <unistd.h>

#include "opener.h"

long tried(struct opening *opening, const char *what, long result)
{
	if (result < 0 && !opening->failed)
		opening->failed = what;
	return result;
}

int drop(int fd)
{
	int err = errno;

	close(fd);
	errno = err;
	return -1;
}

const char *must_option(struct step *step, const char *key)
{
	const char *text = option(step, key);

	if (!text)
		usage("opener: %s= is missing", key);
	return text;
}

int open_device(struct step *step, struct opening *opening)
{
	const char *path = must_option(step, "path");

	return tried(opening, "open", open(path, opening->access | O_CLOEXEC));
}
