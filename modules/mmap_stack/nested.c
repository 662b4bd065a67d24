// SPDX-License-Identifier: GPL-2.0
/* The .mmap hooks that call another hook, each modelled on one of the kernel. */
#include <linux/file.h>

#include "mmap_stack.h"

/* Calls a lower file's hook, and may set vm_file to that file. */
typedef int (*lower_call)(struct file *lower, struct vm_area_struct *vma,
			  const struct mmap_testbed_plan *plan);

/* As shm_mmap() of ipc/shm.c: the VMA keeps the outer file. */
static int call_and_keep(struct file *lower, struct vm_area_struct *vma,
			 const struct mmap_testbed_plan *plan)
{
	int err = vfs_mmap(lower, vma);

	return err ?: plan->outer_error;
}

/* As backing_file_mmap() of fs/backing-file.c. */
static int switch_and_call(struct file *lower, struct vm_area_struct *vma,
			   const struct mmap_testbed_plan *plan)
{
	int err;

	vma_set_file(vma, lower);
	err = vfs_mmap(vma->vm_file, vma);
	return err ?: plan->outer_error;
}

/* As i915_gem_dmabuf_mmap() of drivers/gpu/drm/i915/gem/i915_gem_dmabuf.c. */
static int call_and_switch(struct file *lower, struct vm_area_struct *vma,
			   const struct mmap_testbed_plan *plan)
{
	int err = vfs_mmap(lower, vma);

	if (err)
		return err;
	if (plan->outer_error)
		return plan->outer_error;
	vma_set_file(vma, lower);
	return 0;
}

static int stack_on(struct opened *opened, struct vm_area_struct *vma,
		    lower_call call)
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

	err = -ENODEV;
	if ((plan.fields & MMAP_TESTBED_UNCHECKED) || can_mmap_file(lower)) {
		apply_fields(vma, &plan);
		err = call(lower, vma, &plan);
	}
	fput(lower);
	return err;
}

static int stack_with(struct file *file, struct vm_area_struct *vma,
		      lower_call call)
{
	struct opened *opened = opened_of(file);
	int err;

	count_event(MMAP_TESTBED_EV_MMAP);
	log_mmap("mmap", file, vma);
	err = opened ? stack_on(opened, vma, call) : -EBADF;
	log_mmap_done(file, vma, err);
	return err;
}

int stack_mmap(struct file *file, struct vm_area_struct *vma)
{
	return stack_with(file, vma, call_and_keep);
}

int stack_first_mmap(struct file *file, struct vm_area_struct *vma)
{
	return stack_with(file, vma, switch_and_call);
}

int stack_after_mmap(struct file *file, struct vm_area_struct *vma)
{
	return stack_with(file, vma, call_and_switch);
}

#ifdef LAYER_NESTS
static int custom_on(struct opened *opened, struct file *file,
		     struct vm_area_struct *vma)
{
	struct mmap_testbed_plan plan;
	struct vm_area_desc desc;
	int err;

	plan_of(opened, &plan);
	/* The function has to set all of it, whatever it held before. */
	memset(&desc, 0xa5, sizeof(desc));
	compat_set_desc_from_vma(&desc, file, vma);
	err = prepare_with(opened, &desc);
	if (err)
		return err;
	err = __compat_vma_mmap(&desc, vma);
	return err ?: plan.outer_error;
}

/* As uio_mmap() of drivers/uio/uio.c: the prepare hook belongs to no file. */
int custom_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct opened *opened = opened_of(file);
	int err;

	count_event(MMAP_TESTBED_EV_MMAP);
	log_mmap("mmap", file, vma);
	err = opened ? custom_on(opened, file, vma) : -EBADF;
	log_mmap_done(file, vma, err);
	return err;
}
#endif /* LAYER_NESTS */
