// SPDX-License-Identifier: GPL-2.0
/* dma-heap: a buffer of a dma-buf heap. udmabuf: a dma-buf over a memfd. */
#define _GNU_SOURCE
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "opener.h"

int open_dma_heap(struct step *step, struct opening *opening)
{
	struct dma_heap_allocation_data data = {
		.len = SOME_PAGES * page_size(),
		.fd_flags = opening->access | O_CLOEXEC,
	};
	int heap = tried(opening, "open", open(must_option(step, "path"), O_RDWR | O_CLOEXEC));

	if (heap < 0)
		return -1;
	if (tried(opening, "DMA_HEAP_IOCTL_ALLOC", ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data)))
		return drop(heap);
	close(heap);
	opening->length = data.len;
	return data.fd;
}

static int sealed_memory(struct opening *opening, uint64_t size)
{
	int fd = memfd_create("udmabuf", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (tried(opening, "memfd_create", fd) < 0)
		return -1;
	if (tried(opening, "ftruncate", ftruncate(fd, size)) ||
	    tried(opening, "F_ADD_SEALS", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)))
		return drop(fd);
	return fd;
}

/* The dma-buf holds the pages without the memfd. */
int open_udmabuf(struct step *step, struct opening *opening)
{
	struct udmabuf_create create = {
		.flags = UDMABUF_FLAGS_CLOEXEC,
		.size = SOME_PAGES * page_size(),
	};
	int device = tried(opening, "open", open(must_option(step, "path"), O_RDWR | O_CLOEXEC));
	int memory, fd;

	if (device < 0)
		return -1;
	memory = sealed_memory(opening, create.size);
	if (memory < 0)
		return drop(device);
	create.memfd = memory;
	opening->length = create.size;
	fd = tried(opening, "UDMABUF_CREATE", ioctl(device, UDMABUF_CREATE, &create));
	drop(memory);
	drop(device);
	return fd;
}
