// SPDX-License-Identifier: GPL-2.0
/* drm-dumb: a dumb buffer of a DRM device. drm-prime: the same as dma-buf. */
#define _GNU_SOURCE
#include <stdint.h>
#include <unistd.h>

#include "opener.h"

/* The uapi headers of DRM come with libdrm only. */
struct dumb {
	uint32_t height;
	uint32_t width;
	uint32_t bpp;
	uint32_t flags;
	uint32_t handle;
	uint32_t pitch;
	uint64_t size;
};

struct dumb_offset {
	uint32_t handle;
	uint32_t pad;
	uint64_t offset;
};

struct prime {
	uint32_t handle;
	uint32_t flags;
	int32_t fd;
};

#define CREATE_DUMB		_IOWR('d', 0xb2, struct dumb)
#define MAP_DUMB		_IOWR('d', 0xb3, struct dumb_offset)
#define PRIME_HANDLE_TO_FD	_IOWR('d', 0x2d, struct prime)

/* One line of pixels fills a page, whatever its size. */
static int create(int fd, struct dumb *dumb)
{
	dumb->width = page_size() / 4;
	dumb->height = SOME_PAGES;
	dumb->bpp = 32;
	return ioctl(fd, CREATE_DUMB, dumb);
}

static int open_dumb(struct step *step, struct opening *opening, struct dumb *dumb)
{
	int fd = open_device(step, opening);

	if (fd < 0)
		return -1;
	if (tried(opening, "CREATE_DUMB", create(fd, dumb)))
		return drop(fd);
	opening->length = dumb->size;
	return fd;
}

int open_drm_dumb(struct step *step, struct opening *opening)
{
	struct dumb dumb = {};
	int fd = open_dumb(step, opening, &dumb);
	struct dumb_offset place = { .handle = dumb.handle };

	if (fd < 0)
		return -1;
	if (tried(opening, "MAP_DUMB", ioctl(fd, MAP_DUMB, &place)))
		return drop(fd);
	opening->offset = place.offset;
	return fd;
}

/* The dma-buf holds the buffer without the device's file. */
int open_drm_prime(struct step *step, struct opening *opening)
{
	struct dumb dumb = {};
	int fd = open_dumb(step, opening, &dumb);
	struct prime prime = {
		.handle = dumb.handle,
		.flags = opening->access | O_CLOEXEC,
		.fd = -1,
	};

	if (fd < 0)
		return -1;
	if (tried(opening, "PRIME_HANDLE_TO_FD", ioctl(fd, PRIME_HANDLE_TO_FD, &prime)))
		return drop(fd);
	close(fd);
	return prime.fd;
}
