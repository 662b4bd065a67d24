// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/transfer.h"
#include "agent.h"

static void close_keeping_errno(int fd)
{
	int error = errno;

	close(fd);
	errno = error;
}

/* One write(2) into a file that exists: a file of proc or debugfs takes a request as a whole. */
bool write_once(const char *path, struct bytes content)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = write(fd, content.data, content.len);
	if (n >= 0 && n < content.len)
		errno = EIO;
	close_keeping_errno(fd);
	return n == content.len;
}

/* Map a page, touch it, unmap it: what a guest is waited for, in small. */
bool keep_mapping(uint32_t rounds)
{
	while (rounds--) {
		uint8_t *page = mmap(NULL, 1, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page == MAP_FAILED)
			return false;
		*(volatile uint8_t *)page = 1;
		if (munmap(page, 1))
			return false;
	}
	return true;
}

void set_oom_score(const char *score)
{
	write_once("/proc/self/oom_score_adj",
		   (struct bytes){ (const uint8_t *)score, strlen(score) });
}

/* A new file under a name of its own that then takes `path`: readers see the old or the new. */
bool put_file(const char *path, mode_t mode, struct bytes content)
{
	char fresh[4096];
	bool done;
	int fd, error;

	if ((size_t)snprintf(fresh, sizeof(fresh), "%s.agent-%d", path, getpid()) >= sizeof(fresh)) {
		errno = ENAMETOOLONG;
		return false;
	}
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	done = write_all(fd, content.data, content.len) && !fchmod(fd, mode) &&
	       !rename(fresh, path);
	error = errno;
	if (!done)
		unlink(fresh);
	close(fd);
	errno = error;
	return done;
}

/* Files of proc and debugfs have no size: read until they end. */
static bool read_up_to(int fd, struct store *content)
{
	static uint8_t chunk[65536];
	ssize_t n;

	do {
		n = read(fd, chunk, sizeof(chunk));
		if (n > 0)
			keep(content, chunk, n);
	} while (!content->cut && (n > 0 || (n < 0 && errno == EINTR)));
	return n >= 0;
}

bool read_file(const char *path, struct store *content)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = read_up_to(fd, content);
	close_keeping_errno(fd);
	return done;
}

/* From the last clearing on (syslog(2)), or from the oldest record. */
int open_log(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_DATA);	/* a file that stands in for it knows no such place */
	return fd;
}

/*
 * One record for each read(2), up to the last or to the limit. EPIPE: the next
 * ones were overwritten, and the read after this goes on with what is left.
 */
bool read_records(int fd, struct store *records, uint32_t *flags)
{
	/* More than a record can be: PRINTK_MESSAGE_MAX of kernel/printk/internal.h is 2048. */
	static uint8_t record[8192];

	while (records->limit - records->len >= sizeof(record) + sizeof(uint32_t)) {
		ssize_t n = read(fd, record, sizeof(record));

		if (n > 0)
			keep_bytes(records, record, n);
		else if (n < 0 && errno == EPIPE)
			*flags |= LOG_OVERRUN;
		else if (n == 0 || errno != EINTR)
			return n == 0 || errno == EAGAIN;
	}
	*flags |= LOG_MORE;
	return true;
}

/* By the system calls: to start a program for it costs several times as much under TCG. */
bool load_module(const char *path, const char *parameters)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = !syscall(SYS_finit_module, fd, parameters, 0);
	close_keeping_errno(fd);
	return done;
}

/* EAGAIN: somebody still holds a reference. */
bool unload_module(const char *name)
{
	return !syscall(SYS_delete_module, name, O_NONBLOCK);
}
