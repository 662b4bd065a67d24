// SPDX-License-Identifier: GPL-2.0
/*
 * The mmap_prepare hooks that call the mmap_prepare hook of a file below on
 * their own descriptor. No hook of the kernel does so yet; each stack will
 * once it is converted.
 */
#include <linux/file.h>

#include "mmap_stack.h"

/* Calls the hook of a lower file, and may store that file in vm_file. */
typedef int (*lower_prepare)(struct file *lower, struct vm_area_desc *desc);

/* The hook of @lower finds its own file in desc->file, for this call. */
static int call_below(struct file *lower, struct vm_area_desc *desc)
{
	struct file *outer = desc->file;
	int err;

	desc->file = lower;
	err = vfs_mmap_prepare(lower, desc);
	desc->file = outer;
	return err;
}

/*
 * As overlayfs will. The core takes over the reference of a vm_file that a
 * hook has stored (__mmap_new_file_vma() of mm/vma.c). If the lower hook
 * stores another file, the reference to @lower is still ours.
 */
static int switch_and_call(struct file *lower, struct vm_area_desc *desc)
{
	struct file *outer = desc->vm_file;
	int err;

	desc->vm_file = get_file(lower);
	err = call_below(lower, desc);
	if (err)
		desc->vm_file = outer;
	if (err || desc->vm_file != lower)
		fput(lower);
	return err;
}

/* The core does not look at the descriptor of a hook that fails. */
static int fail_after(struct vm_area_desc *desc, struct file *vm_file, int err)
{
	if (desc->vm_file != vm_file)
		fput(desc->vm_file);
	return err;
}

static int prepare_below(struct opened *opened, struct file *lower,
			 struct vm_area_desc *desc,
			 const struct mmap_testbed_plan *plan,
			 lower_prepare call)
{
	bool late = plan->fields & MMAP_TESTBED_LATE;
	struct file *vm_file = desc->vm_file;
	int err = 0;

	if (!late)
		err = apply_to_desc(opened, plan, desc);
	if (!err)
		err = call(lower, desc);
	if (err)
		return err;
	if (late)
		err = apply_to_desc(opened, plan, desc);
	if (!err)
		err = plan->outer_error;
	return err ? fail_after(desc, vm_file, err) : 0;
}

static int prepare_on(struct opened *opened, struct vm_area_desc *desc,
		      lower_prepare call)
{
	struct mmap_testbed_plan plan;
	struct file *lower;
	int err;

	plan_of(opened, &plan);
	if (plan.hook_error)
		return plan.hook_error;
	lower = get_edge(opened, &opened->lower);
	if (!lower)
		return -ENOTCONN;

	/* vfs_mmap_prepare() of include/linux/fs.h does not look. */
	err = -ENODEV;
	if (can_mmap_file(lower) && lower->f_op->mmap_prepare)
		err = prepare_below(opened, lower, desc, &plan, call);
	fput(lower);
	return err;
}

static int prepare_outer(struct vm_area_desc *desc, lower_prepare call)
{
	struct opened *opened = opened_of(desc->file);
	int err;

	count_event(MMAP_TESTBED_EV_PREPARE);
	log_outer("outer", desc, 0);
	err = opened ? prepare_on(opened, desc, call) : -EBADF;
	log_outer("outer_done", desc, err);
	return err;
}

/* The VMA keeps the outer file, as that of SysV shared memory. */
int prepare_stack_hook(struct vm_area_desc *desc)
{
	return prepare_outer(desc, call_below);
}

int prepare_first_hook(struct vm_area_desc *desc)
{
	return prepare_outer(desc, switch_and_call);
}
