// SPDX-License-Identifier: GPL-2.0
/*
 * The tables of VMA operations that a plan can choose. The operations cannot
 * use the open file: below a stack, vm_file is the outer file.
 */
#include <linux/pagemap.h>

#include "mmap_stack.h"

static void vma_open(struct vm_area_struct *vma)
{
	count_event(MMAP_TESTBED_EV_OPEN);
	hook_log_vma_event("open", vma);
}

static void vma_close(struct vm_area_struct *vma)
{
	count_event(MMAP_TESTBED_EV_CLOSE);
	hook_log_vma_event("close", vma);
	gate_pass(MMAP_TESTBED_GATE_CLOSE);
}

static int vma_mapped(unsigned long start, unsigned long end, pgoff_t pgoff,
		      const struct file *file, void **vm_private_data)
{
	struct mmap_testbed_plan plan;
	void *found = *vm_private_data;

	count_event(MMAP_TESTBED_EV_MAPPED);
	plan_of_last_prepare(&plan);
	if (plan.fields & MMAP_TESTBED_MAPPED_PRIVATE)
		*vm_private_data = (void *)(unsigned long)plan.mapped_private;

	hook_log_mapped(start, end, pgoff, file, found, *vm_private_data,
			plan.mapped_error);
	gate_pass(MMAP_TESTBED_GATE_MAPPED);
	return plan.mapped_error;
}

static int vma_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	struct seq_buf *s;

	count_event(MMAP_TESTBED_EV_MAY_SPLIT);
	s = hook_log_begin("may_split");
	hook_log_vma(s, vma);
	seq_buf_printf(s, " addr=%#lx", addr);
	hook_log_end();
	return 0;
}

static int vma_mremap(struct vm_area_struct *vma)
{
	count_event(MMAP_TESTBED_EV_MREMAP);
	hook_log_vma_event("mremap", vma);
	return 0;
}

static int vma_mprotect(struct vm_area_struct *vma, unsigned long start,
			unsigned long end, unsigned long newflags)
{
	struct seq_buf *s;

	count_event(MMAP_TESTBED_EV_MPROTECT);
	s = hook_log_begin("mprotect");
	hook_log_vma(s, vma);
	seq_buf_printf(s, " from=%#lx to=%#lx newflags=%#lx", start, end,
		       newflags);
	hook_log_end();
	return 0;
}

/*
 * The core does not track the pages of a PFN mapping, so it would never put
 * the reference of a page that a fault returns there.
 */
static vm_fault_t vma_fault(struct vm_fault *vmf)
{
	count_event(MMAP_TESTBED_EV_FAULT);
	gate_pass(MMAP_TESTBED_GATE_FAULT);
	if (vmf->pgoff >= POOL_PAGES || vmf->vma->vm_flags & VM_PFNMAP) {
		hook_log_fault("fault", vmf, "sigbus");
		return VM_FAULT_SIGBUS;
	}
	hook_log_fault("fault", vmf, "page");
	vmf->page = pool_pages[vmf->pgoff];
	get_page(vmf->page);
	return 0;
}

/*
 * The pool's pages have no mapping. do_page_mkwrite() of mm/memory.c takes an
 * unlocked page without a mapping for a truncated one and retries for ever.
 */
static vm_fault_t vma_mkwrite(struct vm_fault *vmf)
{
	count_event(MMAP_TESTBED_EV_MKWRITE);
	hook_log_fault("mkwrite", vmf, "page");
	lock_page(vmf->page);
	return VM_FAULT_LOCKED;
}

static const struct vm_operations_struct full = {
	.open = vma_open,
	.close = vma_close,
	.mapped = vma_mapped,
	.may_split = vma_may_split,
	.mremap = vma_mremap,
	.mprotect = vma_mprotect,
	.fault = vma_fault,
};

static const struct vm_operations_struct noclose = {
	.open = vma_open,
	.mapped = vma_mapped,
	.may_split = vma_may_split,
	.mremap = vma_mremap,
	.mprotect = vma_mprotect,
	.fault = vma_fault,
};

static const struct vm_operations_struct nomapped = {
	.open = vma_open,
	.close = vma_close,
	.may_split = vma_may_split,
	.mremap = vma_mremap,
	.mprotect = vma_mprotect,
	.fault = vma_fault,
};

static const struct vm_operations_struct mkwrite = {
	.open = vma_open,
	.close = vma_close,
	.mapped = vma_mapped,
	.may_split = vma_may_split,
	.mremap = vma_mremap,
	.mprotect = vma_mprotect,
	.fault = vma_fault,
	.page_mkwrite = vma_mkwrite,
};

const struct vm_operations_struct *const testbed_vm_ops[MMAP_TESTBED_NR_OPS] = {
	[MMAP_TESTBED_OPS_FULL] = &full,
	[MMAP_TESTBED_OPS_NOCLOSE] = &noclose,
	[MMAP_TESTBED_OPS_NOMAPPED] = &nomapped,
	[MMAP_TESTBED_OPS_MKWRITE] = &mkwrite,
};

const struct hook_log_vm_ops vm_ops_names[] = {
	{ &full, "full" },
	{ &noclose, "noclose" },
	{ &nomapped, "nomapped" },
	{ &mkwrite, "mkwrite" },
	{ }
};
