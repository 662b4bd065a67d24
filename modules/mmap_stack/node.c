// SPDX-License-Identifier: GPL-2.0
/* The state of an open file of a node. */
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/slab.h>

#include "mmap_stack.h"

int node_open(struct inode *inode, struct file *file)
{
	static atomic64_t last_id;
	struct miscdevice *misc = file->private_data;
	struct opened *opened = kzalloc_obj(*opened);

	if (!opened)
		return -ENOMEM;
	opened->id = atomic64_inc_return(&last_id);
	opened->name = misc->name;
	opened->depth = 1;
	spin_lock_init(&opened->lock);
	INIT_LIST_HEAD(&opened->prepared);
	file->private_data = opened;
	return 0;
}

struct opened *opened_of(const struct file *file)
{
	return file->f_op->open == node_open ? file->private_data : NULL;
}

void plan_of(struct opened *opened, struct mmap_testbed_plan *plan)
{
	spin_lock(&opened->lock);
	*plan = opened->plan;
	spin_unlock(&opened->lock);
}

struct file *get_edge(struct opened *opened, struct file **edge)
{
	struct file *file;

	spin_lock(&opened->lock);
	file = *edge;
	if (file)
		get_file(file);
	spin_unlock(&opened->lock);
	return file;
}
