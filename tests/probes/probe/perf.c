// SPDX-License-Identifier: GPL-2.0
/* perf, perflog: the records of this process's mappings that perf(1) would read */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe.h"

#define RING_PAGES	16	/* a power of two */

/* PERF_RECORD_MMAP2 of include/uapi/linux/perf_event.h. */
struct mmap2 {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t addr;
	uint64_t len;
	uint64_t pgoff;		/* in bytes */
	uint32_t maj, min;
	uint64_t ino;
	uint64_t ino_generation;
	uint32_t prot, flags;
	char filename[];
};

/* The control page of the ring. The data follows it. */
static struct perf_event_mmap_page *ring;

static int open_event(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1,
		.mmap = 1,
		.mmap_data = 1,		/* also mappings that are not executable */
		.mmap2 = 1,
	};

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1,
		       PERF_FLAG_FD_CLOEXEC);
}

void perf_step(struct step *step)
{
	void *at = MAP_FAILED;
	int fd;

	no_more_words(step);
	if (ring)
		usage("perf is already on");
	fd = open_event();
	if (fd >= 0)
		at = mmap(NULL, (1 + RING_PAGES) * page_size(),
			  PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	report_result(step, at == MAP_FAILED ? -1 : 0);
	if (at != MAP_FAILED)
		ring = at;
}

/* A record can wrap around the end of the ring. */
static void copy_out(void *to, uint64_t from, size_t len)
{
	const char *data = (const char *)ring + page_size();
	size_t size = RING_PAGES * page_size();
	size_t start = from % size;
	size_t first = len < size - start ? len : size - start;

	memcpy(to, data + start, first);
	memcpy((char *)to + first, data, len - first);
}

static void describe_record(const struct mmap2 *record)
{
	json_open(NULL, '{');
	json_hex("addr", record->addr);
	json_int("len", record->len);
	json_hex("offset", record->pgoff);
	json_bool("read", record->prot & PROT_READ);
	json_bool("write", record->prot & PROT_WRITE);
	json_bool("exec", record->prot & PROT_EXEC);
	json_bool("shared", record->flags & MAP_SHARED);
	json_str("path", record->filename);
	json_close('}');
}

/* Describes the record at @at if it overlaps @range; returns its size. */
static size_t take_record(uint64_t at, struct mapping range)
{
	struct perf_event_header header;
	struct mmap2 *record;

	copy_out(&header, at, sizeof(header));
	if (header.type != PERF_RECORD_MMAP2)
		return header.size;
	record = malloc(header.size);
	if (!record)
		abort();
	copy_out(record, at, header.size);
	if (record->addr < range.addr + range.len &&
	    record->addr + record->len > range.addr)
		describe_record(record);
	free(record);
	return header.size;
}

void perflog_step(struct step *step)
{
	struct mapping range = mapping_of(word(step, 1));
	uint64_t at, head;

	no_more_words(step);
	if (!ring)
		usage("perflog without perf");
	head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);
	json_begin(step);
	json_open("records", '[');
	for (at = ring->data_tail; at < head;)
		at += take_record(at, range);
	json_close(']');
	json_end();
	__atomic_store_n(&ring->data_tail, head, __ATOMIC_RELEASE);
}
