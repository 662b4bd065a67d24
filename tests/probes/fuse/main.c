// SPDX-License-Identifier: GPL-2.0
/*
 * fuse: a FUSE file system that passes the files of a folder through: the
 * kernel maps the backing file itself (fs/fuse/passthrough.c).
 *
 *	fuse start DIR FOLDER [DEPTH]	mount FOLDER's files at DIR, print a pid
 *	fuse stop DIR PID		unmount, wait until the server is gone
 *
 * DEPTH is max_stack_depth. With 2, FOLDER can be on a stacked file system.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "../common/background.h"
#include "serve.h"

/* All users may use the superuser's mount. */
static void mount_at(const char *dir, int dev)
{
	char data[96];

	snprintf(data, sizeof(data),
		 "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", dev);
	if (mount("testbed", dir, "fuse", MS_NOSUID | MS_NODEV, data))
		die("mount %s: %m", dir);
}

/* Returns when the server has agreed with the kernel on passthrough. */
static void wait_until_up(int ready, const char *dir)
{
	char up;

	if (read(ready, &up, 1) == 1)
		return;
	umount2(dir, MNT_DETACH);
	die("the kernel and the server do not agree on passthrough");
}

static int start(const char *dir, const char *folder, int depth)
{
	int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int ready[2];
	pid_t pid;

	if (dev < 0 || at < 0 || pipe2(ready, O_CLOEXEC))
		die("/dev/fuse, %s: %m", folder);
	mount_at(dir, dev);
	pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (!pid) {
		close(ready[0]);
		leave_session();
		return serve(dev, at, depth, ready[1]);
	}
	close(ready[1]);
	wait_until_up(ready[0], dir);
	printf("%d\n", pid);
	return 0;
}

/* The server exits by itself after the unmount. */
static int stop(const char *dir, const char *pid)
{
	int process = open_process(pid);

	unmount(dir);
	wait_until_gone(process);
	return 0;
}

int main(int argc, char **argv)
{
	const char *depth = argc == 5 ? argv[4] : "1";

	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "start"))
		return start(argv[2], argv[3], atoi(depth));
	if (argc == 4 && !strcmp(argv[1], "stop"))
		return stop(argv[2], argv[3]);
	die("fuse start DIR FOLDER [DEPTH] | fuse stop DIR PID");
}
