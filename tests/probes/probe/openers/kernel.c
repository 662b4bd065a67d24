// SPDX-License-Identifier: GPL-2.0
/* perf, io_uring, kcov: memory that the kernel itself shares with a process. */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <linux/kcov.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "opener.h"

#define ENTRIES		512
#define KCOV_PAGES	4

int open_perf(struct step *step, struct opening *opening)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
		.disabled = 1,
	};

	(void)step;
	return tried(opening, "perf_event_open",
		     syscall(SYS_perf_event_open, &attr, 0, -1, -1,
			     PERF_FLAG_FD_CLOEXEC));
}

static const struct flag parts[] = {
	{ "rings", IORING_OFF_SQ_RING },
	{ "sqes", IORING_OFF_SQES },
	{ }
};

int open_io_uring(struct step *step, struct opening *opening)
{
	struct io_uring_params params = {};

	opening->offset = parse_flag(must_option(step, "part"), parts, "part");
	opening->length = opening->offset ? ENTRIES * sizeof(struct io_uring_sqe) : 0;
	return tried(opening, "io_uring_setup",
		     syscall(SYS_io_uring_setup, ENTRIES, &params));
}

int open_kcov(struct step *step, struct opening *opening)
{
	int fd = open_device(step, opening);
	unsigned long words = KCOV_PAGES * page_size() / sizeof(unsigned long);

	if (fd < 0)
		return -1;
	opening->length = KCOV_PAGES * page_size();
	if (tried(opening, "KCOV_INIT_TRACE", ioctl(fd, KCOV_INIT_TRACE, words)))
		return drop(fd);
	return fd;
}
