// SPDX-License-Identifier: GPL-2.0
/* open, memfd, secretmem, seal, stm, publish, close, pread, pwrite, ftruncate */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/stm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret	447
#endif

/* The policy that all channels use (stp-policy in configfs). */
#define STM_POLICY	"default"

/* Later steps on a file that could not be opened get EBADF. */
static void report_fd(const struct step *step, const char *name, int fd)
{
	int err = fd < 0 ? errno : 0;

	name_fd(name, fd);
	json_begin(step);
	json_str("name", name);
	json_int("fd", fd);
	json_errno(err);
	json_end();
}

static int open_flags(struct step *step)
{
	int flags = O_RDWR;

	if (has_word(step, "ro"))
		flags = O_RDONLY;
	else if (has_word(step, "wo"))
		flags = O_WRONLY;
	else
		has_word(step, "rw");
	if (has_word(step, "create"))
		flags |= O_CREAT;
	if (has_word(step, "noatime"))
		flags |= O_NOATIME;
	if (has_word(step, "sync"))
		flags |= O_SYNC;
	return flags | O_CLOEXEC;
}

void open_step(struct step *step)
{
	const char *name = word(step, 1);
	const char *path = word(step, 2);
	int flags = open_flags(step);

	no_more_words(step);
	report_fd(step, name, open(path, flags, 0600));
}

/* Sets the size of a new file. Closes it and returns -1 on failure. */
static int resize(int fd, uint64_t size)
{
	int err;

	if (fd < 0 || !ftruncate(fd, size))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

void memfd_step(struct step *step)
{
	const char *name = word(step, 1);
	uint64_t size = parse_number(word(step, 2));
	int fd;

	no_more_words(step);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	report_fd(step, name, resize(fd, size));
}

void secretmem_step(struct step *step)
{
	const char *name = word(step, 1);
	uint64_t size = parse_number(word(step, 2));
	int fd;

	no_more_words(step);
	fd = syscall(SYS_memfd_secret, 0);
	report_fd(step, name, resize(fd, size));
}

static const struct flag seals[] = {
	{ "seal", F_SEAL_SEAL },
	{ "shrink", F_SEAL_SHRINK },
	{ "grow", F_SEAL_GROW },
	{ "write", F_SEAL_WRITE },
	{ "future_write", F_SEAL_FUTURE_WRITE },
	{ }
};

void seal_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	unsigned long wanted = parse_flags(word(step, 2), seals, "seal");

	no_more_words(step);
	report_result(step, fcntl(fd, F_ADD_SEALS, wanted));
}

/* Gives an open STM device the channel that mmap() maps. */
void stm_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	char room[sizeof(struct stp_policy_id) + sizeof(STM_POLICY)] = {};
	struct stp_policy_id *id = (struct stp_policy_id *)room;

	no_more_words(step);
	id->size = sizeof(room);
	id->width = 1;
	memcpy(id->id, STM_POLICY, sizeof(STM_POLICY));
	report_result(step, ioctl(fd, STP_POLICY_ID_SET, id));
}

/* Other processes can open the file by this link while the probe runs. */
void publish_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	const char *path = word(step, 2);
	char target[48];

	no_more_words(step);
	snprintf(target, sizeof(target), "/proc/%d/fd/%d", getpid(), fd);
	report_result(step, symlink(target, path));
}

void close_step(struct step *step)
{
	const char *name = word(step, 1);
	int fd = fd_of(name);

	no_more_words(step);
	forget_fd(name);
	report_result(step, close(fd));
}

void ftruncate_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	uint64_t size = parse_number(word(step, 2));

	no_more_words(step);
	report_result(step, ftruncate(fd, size));
}

static void *buffer(size_t len)
{
	void *memory = aligned_alloc(page_size(), page_align(len));

	if (!memory)
		usage("no memory for %zu bytes", len);
	return memory;
}

static void report_content(const char *content, size_t len, off_t offset)
{
	size_t done, part;

	json_open("pages", '[');
	for (done = 0; done < len; done += part) {
		part = len - done < page_size() ? len - done : page_size();
		json_open(NULL, '{');
		json_int("page", (offset + done) / page_size());
		describe_content(content + done, part);
		json_close('}');
	}
	json_close(']');
}

void pread_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	off_t offset = number_option(step, "off", 0);
	size_t len = number_option(step, "len", page_size());
	char *content;
	ssize_t n;
	int err;

	no_more_words(step);
	content = buffer(len);
	n = pread(fd, content, len, offset);
	err = n < 0 ? errno : 0;
	json_begin(step);
	json_int("bytes", n);
	json_errno(err);
	report_content(content, n < 0 ? 0 : n, offset);
	json_end();
	free(content);
}

void pwrite_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	off_t offset = number_option(step, "off", 0);
	size_t len = number_option(step, "len", page_size());
	uint64_t value = number_option(step, "value", 0);
	void *content;
	ssize_t n;
	int err;

	no_more_words(step);
	content = buffer(len);
	fill(content, len, value);
	n = pwrite(fd, content, len, offset);
	err = n < 0 ? errno : 0;
	json_begin(step);
	json_int("bytes", n);
	json_errno(err);
	json_end();
	free(content);
}
