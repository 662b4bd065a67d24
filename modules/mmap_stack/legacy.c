// SPDX-License-Identifier: GPL-2.0
/* The .mmap hook that carries out the plan without a prepare hook. */
#include <linux/file.h>

#include "mmap_stack.h"

void apply_fields(struct vm_area_struct *vma,
		  const struct mmap_testbed_plan *plan)
{
	vm_flags_clear(vma, plan->clear_flags);
	vm_flags_set(vma, plan->set_flags);
	if (plan->fields & MMAP_TESTBED_PGOFF)
		vma->vm_pgoff = plan->pgoff;
	if (plan->fields & MMAP_TESTBED_PRIVATE)
		vma->vm_private_data =
			(void *)(unsigned long)plan->private_data;
	vma->vm_page_prot = planned_page_prot(plan, vma->vm_page_prot);
	if (plan->vm_ops != MMAP_TESTBED_OPS_LEAVE)
		vma->vm_ops = testbed_vm_ops[plan->vm_ops];
}

/* remap_pfn_range() of mm/memory.c does not check the range against the VMA. */
static int check_range(const struct vm_area_struct *vma, unsigned long start,
		       unsigned long size)
{
	unsigned long end = start + PAGE_ALIGN(size);

	return range_in_vma(vma, start, end) ? 0 : -EFAULT;
}

static int act(struct opened *opened, struct vm_area_struct *vma,
	       const struct mmap_testbed_plan *plan)
{
	unsigned long start = vma->vm_start + plan->action_offset;
	unsigned long pfn = action_pfn(plan);
	unsigned long size, nr;
	int err;

	err = pool_range(plan, vma->vm_end - vma->vm_start, &size);
	if (err)
		return err;
	if (plan->action == MMAP_TESTBED_ACTION_SIMPLE_IOREMAP)
		return vm_iomap_memory(vma, PFN_PHYS(pfn) + plan->pool_byte,
				       size);
	err = check_range(vma, start, size);
	if (err)
		return err;

	switch (plan->action) {
	case MMAP_TESTBED_ACTION_REMAP:
		return remap_pfn_range(vma, start, pfn, size,
				       vma->vm_page_prot);
	case MMAP_TESTBED_ACTION_IOREMAP:
		return io_remap_pfn_range(vma, start, pfn, size,
					  vma->vm_page_prot);
	case MMAP_TESTBED_ACTION_KERNEL_PAGES:
		nr = PFN_UP(size);
		return vm_insert_pages(vma, start,
				       planned_pages(opened, plan), &nr);
	}
	return -EINVAL;
}

static int legacy_with(struct opened *opened,
		       const struct mmap_testbed_plan *plan,
		       struct vm_area_struct *vma)
{
	struct file *vm_file;
	int err;

	if (plan->hook_error)
		return plan->hook_error;
	vm_file = planned_vm_file(opened, plan, vma->vm_end - vma->vm_start);
	if (IS_ERR(vm_file))
		return PTR_ERR(vm_file);
	if (vm_file) {
		vma_set_file(vma, vm_file);
		fput(vm_file);
	}
	apply_fields(vma, plan);
	if (plan->action != MMAP_TESTBED_ACTION_NONE) {
		err = act(opened, vma, plan);
		if (err)
			return err;
	}
	return plan->hook_error_after;
}

int legacy_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct opened *opened = opened_of(file);
	struct mmap_testbed_plan plan;
	int err = -EBADF;

	count_event(MMAP_TESTBED_EV_MMAP);
	log_mmap("mmap", file, vma);
	if (opened) {
		plan_of(opened, &plan);
		err = legacy_with(opened, &plan, vma);
	}
	log_mmap_done(file, vma, err);
	return err;
}
