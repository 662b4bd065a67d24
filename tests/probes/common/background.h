/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A file server that outlives the command that starts it. `start` prints the
 * server's pid and returns when the server is ready. `stop` unmounts and
 * returns when the server is gone and all of its files are closed.
 */
#ifndef BACKGROUND_H
#define BACKGROUND_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOP_SECONDS	10

__attribute__((noreturn, format(printf, 1, 2)))
static inline void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/*
 * Leaves the caller's session and process group, which end with the caller, and
 * closes the files that the caller may read or wait for.
 */
static inline void leave_session(void)
{
	int null = open("/dev/null", O_RDWR);

	if (setsid() < 0)
		die("setsid: %m");
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
		die("/dev/null: %m");
	close(null);
}

/* Returns a descriptor that becomes readable when the process is gone. */
static inline int open_process(const char *pid)
{
	int fd = syscall(SYS_pidfd_open, atoi(pid), 0);

	if (fd < 0)
		die("the server %s: %m", pid);
	return fd;
}

static inline void wait_until_gone(int process)
{
	struct pollfd gone = { .fd = process, .events = POLLIN };

	if (poll(&gone, 1, STOP_SECONDS * 1000) != 1)
		die("the server still runs after %d s", STOP_SECONDS);
}

static inline void unmount(const char *dir)
{
	if (umount(dir))
		die("umount %s: %m", dir);
}

#endif /* BACKGROUND_H */
