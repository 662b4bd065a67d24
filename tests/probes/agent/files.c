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

/* Uses one write(2): a file of proc or debugfs takes a request as a whole. */
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

/* Map a page, touch it and unmap it, as a small sample of the guest's work. */
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

/* Writes a new file and renames it to `path`, so readers see the old or the new content. */
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

/* Reads to the end, because files of proc and debugfs have no size. */
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

/* Starts after the last clear of the log (syslog(2)), or at the oldest record. */
int open_log(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_DATA);	/* fails for the file of a unit test */
	return fd;
}

/*
 * Reads one record per read(2), up to the last one or the limit. EPIPE means
 * that the next records were overwritten; the next read(2) skips them.
 */
bool read_records(int fd, struct store *records, uint32_t *flags)
{
	/* A record has at most PRINTK_MESSAGE_MAX bytes: 2048 (kernel/printk/internal.h). */
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

/* A program such as insmod would take several times as long under TCG. */
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

/* Fails with EAGAIN while the module is in use. */
bool unload_module(const char *name)
{
	return !syscall(SYS_delete_module, name, O_NONBLOCK);
}
