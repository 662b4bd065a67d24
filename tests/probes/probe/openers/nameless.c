// SPDX-License-Identifier: GPL-2.0
/* memfd, memfd-huge, secretmem: files without a name. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "opener.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret	447
#endif

#define HUGE_MIB	8

/* Gives a new file its size. */
static int sized(int fd, uint64_t length, struct opening *opening)
{
	if (fd < 0)
		return -1;
	opening->length = length;
	if (tried(opening, "ftruncate", ftruncate(fd, length)))
		return drop(fd);
	return fd;
}

int open_memfd(struct step *step, struct opening *opening)
{
	int fd = tried(opening, "memfd_create", memfd_create("memfd", MFD_CLOEXEC));

	(void)step;
	return sized(fd, SOME_PAGES * page_size(), opening);
}

int open_memfd_huge(struct step *step, struct opening *opening)
{
	int fd = tried(opening, "memfd_create",
		       memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));

	(void)step;
	return sized(fd, HUGE_MIB << 20, opening);
}

int open_secretmem(struct step *step, struct opening *opening)
{
	int fd = tried(opening, "memfd_secret", syscall(SYS_memfd_secret, 0));

	(void)step;
	return sized(fd, SOME_PAGES * page_size(), opening);
}
