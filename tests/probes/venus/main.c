// SPDX-License-Identifier: GPL-2.0
/*
 * venus: the user space server of a Coda file system (fs/coda). The files of a
 * folder are the container files. They hold the content, and mmap() maps them.
 *
 *	venus start DIR FOLDER	mount FOLDER's files at DIR, print a pid
 *	venus stop DIR PID	end the server, unmount
 *
 * A link in FOLDER makes any file a container, also a device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "../common/background.h"
#include "serve.h"
#include "wire.h"

#define DEVICE	"/dev/cfs0"

/* The server must run already: mount(2) asks it for the root. */
static void mount_at(const char *dir, int dev)
{
	struct coda_mount_data data = {
		.version = CODA_MOUNT_VERSION,
		.fd = dev,
	};

	if (mount("testbed", dir, "coda", 0, &data))
		die("mount %s: %m", dir);
}

static int start(const char *dir, const char *folder)
{
	int dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	pid_t pid;

	if (dev < 0 || at < 0)
		die(DEVICE ", %s: %m", folder);
	pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (!pid) {
		leave_session();
		return serve(dev, at);
	}
	mount_at(dir, dev);
	printf("%d\n", pid);
	return 0;
}

/*
 * Ends the server first: coda_put_super() of fs/coda/inode.c destroys a mutex
 * that coda_psdev_release() of fs/coda/psdev.c takes.
 */
static int stop(const char *dir, const char *pid)
{
	int process = open_process(pid);

	if (syscall(SYS_pidfd_send_signal, process, SIGTERM, NULL, 0))
		die("the server %s: %m", pid);
	wait_until_gone(process);
	unmount(dir);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "start"))
		return start(argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[1], "stop"))
		return stop(argv[2], argv[3]);
	die("venus start DIR FOLDER | venus stop DIR PID");
}
