// SPDX-License-Identifier: GPL-2.0
/* uffd, uffd_register: faults that a userfaultfd would serve */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe.h"

/* Returns a userfaultfd that is ready to register memory; -1 with errno on failure. */
static int new_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int err;

	if (fd < 0 || !ioctl(fd, UFFDIO_API, &api))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

void uffd_step(struct step *step)
{
	const char *name = word(step, 1);
	int fd;

	no_more_words(step);
	fd = new_uffd();
	report_result(step, fd);
	name_fd(name, fd);
}

/* Nobody serves the faults: a script must not touch what it has registered. */
void uffd_register_step(struct step *step)
{
	struct mapping mapping = mapping_of(word(step, 1));
	int fd = fd_of(word(step, 2));
	struct mapping run = parse_run(optional_word(step, 3), mapping);
	struct uffdio_register range = {
		.range = { .start = run.addr, .len = run.len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	no_more_words(step);
	report_result(step, ioctl(fd, UFFDIO_REGISTER, &range));
}
