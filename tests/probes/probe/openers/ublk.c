// SPDX-License-Identifier: GPL-2.0
/* ublk: a block device in userspace, which is made by a command of io_uring. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "opener.h"

/* The uapi header is new in Linux 6.0, and its numbers are those of 6.4. */
struct command {
	uint32_t device;
	uint16_t queue;
	uint16_t length;
	uint64_t address;
	uint64_t data;
	uint64_t path;
};

struct device_info {
	uint16_t queues;
	uint16_t depth;
	uint16_t state;
	uint16_t descriptor_size;
	uint32_t buffer_size;
	uint32_t device;
	uint8_t more[48];
};

#define ADD_DEVICE	_IOWR('u', 0x04, struct command)
#define DESCRIPTOR	24 /* bytes */
#define DEPTH		680 /* four pages of descriptors, if they have 4 KiB */
#define ANY_DEVICE	0xffffffff

static void *map_ring(int ring, size_t size, uint64_t offset)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, offset);
}

static void fill_entry(struct io_uring_sqe *entry, int control, struct device_info *info)
{
	struct command command = {
		.device = info->device,
		.queue = 0xffff,
		.length = sizeof(*info),
		.address = (uintptr_t)info,
	};

	memset(entry, 0, 2 * sizeof(*entry));
	entry->opcode = IORING_OP_URING_CMD;
	entry->fd = control;
	entry->off = ADD_DEVICE;
	memcpy((char *)entry + 48, &command, sizeof(command));
}

/* Runs one command. Returns its result, or -1 with errno. */
static int run(int ring, const struct io_uring_params *params, int control,
	       struct device_info *info)
{
	size_t size = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	char *queues = map_ring(ring, size, IORING_OFF_SQ_RING);
	void *entries = map_ring(ring, 2 * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	int result = -1;

	if (queues == MAP_FAILED || entries == MAP_FAILED)
		return -1;
	fill_entry(entries, control, info);
	*(uint32_t *)(queues + params->sq_off.array) = 0;
	__atomic_store_n((uint32_t *)(queues + params->sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1) {
		result = ((struct io_uring_cqe *)(queues + params->cq_off.cqes))->res;
		errno = result < 0 ? -result : 0;
	}
	munmap(queues, size);
	munmap(entries, 2 * sizeof(struct io_uring_sqe));
	return result < 0 ? -1 : result;
}

static int add_device(struct device_info *info)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 };
	int control = open("/dev/ublk-control", O_RDWR | O_CLOEXEC), ring, result;

	if (control < 0)
		return -1;
	ring = syscall(SYS_io_uring_setup, 1, &params);
	if (ring < 0)
		return drop(control);
	result = run(ring, &params, control, info);
	drop(ring);
	drop(control);
	return result;
}

/* Each file has a device of its own. The driver's unloading removes them. */
int open_ublk(struct step *step, struct opening *opening)
{
	struct device_info info = {
		.queues = 1,
		.depth = DEPTH,
		.buffer_size = 64 << 10,
		.device = ANY_DEVICE,
	};
	char path[32];

	(void)step;
	if (tried(opening, "UBLK_U_CMD_ADD_DEV", add_device(&info)))
		return -1;
	snprintf(path, sizeof(path), "/dev/ublkc%u", info.device);
	opening->length = DEPTH * DESCRIPTOR;
	return tried(opening, "open", open(path, opening->access | O_CLOEXEC));
}
