// SPDX-License-Identifier: GPL-2.0
/* dvb: the buffers of a demultiplexer, or of what it records. */
#define _GNU_SOURCE
#include <linux/dvb/dmx.h>
#include <unistd.h>

#include "opener.h"

#define BUFFERS		2
#define SIZE		(64 << 10)

int open_dvb(struct step *step, struct opening *opening)
{
	struct dmx_requestbuffers request = { .count = BUFFERS, .size = SIZE };
	struct dmx_buffer buffer = { .index = 0 };
	int fd = open_device(step, opening);

	if (fd < 0)
		return -1;
	if (tried(opening, "DMX_REQBUFS", ioctl(fd, DMX_REQBUFS, &request)) ||
	    tried(opening, "DMX_QUERYBUF", ioctl(fd, DMX_QUERYBUF, &buffer)))
		return drop(fd);
	opening->offset = buffer.offset;
	opening->length = buffer.length;
	return fd;
}
