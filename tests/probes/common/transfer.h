/* SPDX-License-Identifier: GPL-2.0 */
/* Whole messages through a file descriptor. */
#ifndef TRANSFER_H
#define TRANSFER_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* False at the end of the file and on an error. */
static inline bool read_all(int fd, void *data, size_t len)
{
	for (uint8_t *at = data; len;) {
		ssize_t n = read(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= n;
	}
	return true;
}

static inline bool write_all(int fd, const void *data, size_t len)
{
	for (const uint8_t *at = data; len;) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		at += n;
		len -= n;
	}
	return true;
}

#endif /* TRANSFER_H */
