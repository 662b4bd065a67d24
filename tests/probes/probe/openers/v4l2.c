// SPDX-License-Identifier: GPL-2.0
/* v4l2: a queue of buffers of a video device. v4l2-export: its first buffer as dma-buf. */
#define _GNU_SOURCE
#include <linux/videodev2.h>
#include <string.h>
#include <unistd.h>

#include "opener.h"

/* 115 KB: more than the trials map, and small enough for many files. */
#define WIDTH	320
#define HEIGHT	180
#define BUFFERS	2

static const struct flag queues[] = {
	{ "capture", V4L2_BUF_TYPE_VIDEO_CAPTURE },
	{ "output", V4L2_BUF_TYPE_VIDEO_OUTPUT },
	{ "output-mplane", V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE },
	{ }
};

static int set_format(int fd, unsigned int queue)
{
	struct v4l2_format format = { .type = queue };

	if (ioctl(fd, VIDIOC_G_FMT, &format))
		return -1;
	/* Both kinds of a format begin with the size. */
	format.fmt.pix.width = WIDTH;
	format.fmt.pix.height = HEIGHT;
	if (V4L2_TYPE_IS_MULTIPLANAR(queue)) {
		memset(format.fmt.pix_mp.plane_fmt, 0, sizeof(format.fmt.pix_mp.plane_fmt));
	} else {
		format.fmt.pix.bytesperline = 0;
		format.fmt.pix.sizeimage = 0;
	}
	return ioctl(fd, VIDIOC_S_FMT, &format);
}

static int make_buffers(int fd, unsigned int queue)
{
	struct v4l2_requestbuffers request = {
		.count = BUFFERS,
		.type = queue,
		.memory = V4L2_MEMORY_MMAP,
	};

	return ioctl(fd, VIDIOC_REQBUFS, &request);
}

static int find_buffer(int fd, unsigned int queue, struct opening *opening)
{
	struct v4l2_plane planes[VIDEO_MAX_PLANES] = {};
	struct v4l2_buffer buffer = {
		.type = queue,
		.memory = V4L2_MEMORY_MMAP,
	};

	if (V4L2_TYPE_IS_MULTIPLANAR(queue)) {
		buffer.m.planes = planes;
		buffer.length = VIDEO_MAX_PLANES;
	}
	if (ioctl(fd, VIDIOC_QUERYBUF, &buffer))
		return -1;
	if (V4L2_TYPE_IS_MULTIPLANAR(queue)) {
		opening->offset = planes[0].m.mem_offset;
		opening->length = planes[0].length;
	} else {
		opening->offset = buffer.m.offset;
		opening->length = buffer.length;
	}
	return 0;
}

static int prepare(int fd, unsigned int queue, struct opening *opening)
{
	if (fd < 0)
		return -1;
	if (tried(opening, "VIDIOC_S_FMT", set_format(fd, queue)) ||
	    tried(opening, "VIDIOC_REQBUFS", make_buffers(fd, queue)) ||
	    tried(opening, "VIDIOC_QUERYBUF", find_buffer(fd, queue, opening)))
		return drop(fd);
	return fd;
}

int open_v4l2(struct step *step, struct opening *opening)
{
	unsigned int queue = parse_flag(must_option(step, "queue"), queues, "queue");

	return prepare(open_device(step, opening), queue, opening);
}

/* The dma-buf holds the buffer. The device's file is closed: it would keep the queue busy. */
int open_v4l2_export(struct step *step, struct opening *opening)
{
	struct v4l2_exportbuffer export = { .flags = opening->access | O_CLOEXEC };
	int fd;

	export.type = parse_flag(must_option(step, "queue"), queues, "queue");
	fd = prepare(open_device(step, opening), export.type, opening);
	if (fd < 0)
		return -1;
	opening->offset = 0;
	export.fd = -1;
	if (tried(opening, "VIDIOC_EXPBUF", ioctl(fd, VIDIOC_EXPBUF, &export)))
		return drop(fd);
	close(fd);
	return export.fd;
}
