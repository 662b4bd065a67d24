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

/* Linux 6.4. */
#define REGISTER_PBUF_RING	22
#define PBUF_RING_MMAP		1
#define OFF_PBUF_RING		0x80000000

struct buffer_ring {
	uint64_t address;
	uint32_t entries;
	uint16_t group;
	uint16_t flags;
	uint64_t reserved[3];
};

static const struct flag parts[] = {
	{ "rings", IORING_OFF_SQ_RING },
	{ "sqes", IORING_OFF_SQES },
	{ "pbuf", OFF_PBUF_RING },
	{ }
};

/* Group 0 of buffers, whose ring the kernel allocates. */
static int make_buffer_ring(int fd, uint64_t *length)
{
	struct buffer_ring ring = {
		.entries = SOME_PAGES * page_size() / sizeof(struct io_uring_buf),
		.flags = PBUF_RING_MMAP,
	};

	*length = ring.entries * sizeof(struct io_uring_buf);
	return syscall(SYS_io_uring_register, fd, REGISTER_PBUF_RING, &ring, 1);
}

int open_io_uring(struct step *step, struct opening *opening)
{
	struct io_uring_params params = {};
	int fd;

	opening->offset = parse_flag(must_option(step, "part"), parts, "part");
	fd = tried(opening, "io_uring_setup", syscall(SYS_io_uring_setup, ENTRIES, &params));
	if (fd < 0)
		return -1;
	if (opening->offset == IORING_OFF_SQES)
		opening->length = ENTRIES * sizeof(struct io_uring_sqe);
	if (opening->offset == OFF_PBUF_RING &&
	    tried(opening, "IORING_REGISTER_PBUF_RING",
		  make_buffer_ring(fd, &opening->length)))
		return drop(fd);
	return fd;
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
