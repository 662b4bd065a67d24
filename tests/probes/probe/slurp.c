// SPDX-License-Identifier: GPL-2.0
/* Small files of /proc, /sys and debugfs as strings. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "probe.h"

char *slurp(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0, room = 0;
	char *text = NULL;
	ssize_t n;

	if (fd < 0)
		return NULL;
	do {
		if (room - len < 65536) {
			room += 1 << 17;
			text = realloc(text, room);
			if (!text)
				abort();
		}
		n = read(fd, text + len, room - len - 1);
		if (n > 0)
			len += n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	close(fd);
	text[len] = '\0';
	return text;
}

char *must_slurp(const char *path)
{
	char *text = slurp(path);

	if (!text)
		usage("%s: %m", path);
	return text;
}
