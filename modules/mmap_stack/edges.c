// SPDX-License-Identifier: GPL-2.0
/*
 * The links from a file to its lower file and its replacement. A file that
 * lies below another one cannot get a file of a node below itself. So a graph
 * grows from the bottom up, has no loop, and each file knows its depth.
 */
#include <linux/file.h>
#include <linux/mutex.h>

#include "mmap_stack.h"

#define MAX_DEPTH	4

static DEFINE_MUTEX(edges_lock);

static unsigned int depth_below(const struct file *file)
{
	struct opened *opened = file ? opened_of(file) : NULL;

	return opened ? opened->depth : 0;
}

static void add_user(struct file *file, int by)
{
	struct opened *opened = file ? opened_of(file) : NULL;

	if (opened)
		opened->users += by;
}

static void put_edge(struct file *file)
{
	add_user(file, -1);
	if (file)
		fput(file);
}

static int check_edge(struct file *file, struct file *target)
{
	if (!target || !opened_of(target))
		return 0;
	if (target == file || depth_below(target) + 1 > MAX_DEPTH)
		return -ELOOP;
	return opened_of(file)->users ? -EBUSY : 0;
}

static struct file *swap_edge(struct opened *opened, struct file **edge,
			      struct file *target)
{
	spin_lock(&opened->lock);
	swap(*edge, target);
	spin_unlock(&opened->lock);
	opened->depth = 1 + max(depth_below(opened->lower),
				depth_below(opened->replacement));
	return target;
}

int set_edge(struct file *file, struct file **edge, int fd)
{
	struct file *target = NULL;
	int err;

	if (fd >= 0) {
		target = fget(fd);
		if (!target)
			return -EBADF;
	}

	mutex_lock(&edges_lock);
	err = check_edge(file, target);
	if (!err) {
		add_user(target, 1);
		put_edge(swap_edge(opened_of(file), edge, target));
	}
	mutex_unlock(&edges_lock);
	if (err && target)
		fput(target);
	return err;
}

void drop_edges(struct opened *opened)
{
	mutex_lock(&edges_lock);
	put_edge(opened->lower);
	put_edge(opened->replacement);
	mutex_unlock(&edges_lock);
}
