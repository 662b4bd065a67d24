// SPDX-License-Identifier: GPL-2.0
/* The mmap_prepare hook: applies the plan to a descriptor. */
#include <linux/file.h>
#include <linux/shmem_fs.h>

#include "mmap_stack.h"

pgprot_t planned_page_prot(const struct mmap_testbed_plan *plan, pgprot_t prot)
{
	switch (plan->page_prot) {
	case MMAP_TESTBED_PROT_NONCACHED:
		return pgprot_noncached(prot);
	case MMAP_TESTBED_PROT_WRITECOMBINE:
		return pgprot_writecombine(prot);
	}
	return prot;
}

/* Returns NULL if the plan has no file. The caller owns the reference. */
struct file *planned_vm_file(struct opened *opened,
			     const struct mmap_testbed_plan *plan,
			     unsigned long size)
{
	struct file *file;

	switch (plan->replace) {
	case MMAP_TESTBED_REPLACE_SHMEM:
		return shmem_file_setup("testbed", size, EMPTY_VMA_FLAGS);
	case MMAP_TESTBED_REPLACE_FILE:
		file = get_edge(opened, &opened->replacement);
		return file ?: ERR_PTR(-ENOTCONN);
	}
	return NULL;
}

static int move_ends(const struct mmap_testbed_plan *plan,
		     struct vm_area_desc *desc)
{
	unsigned long size = vma_desc_size(desc);

	if (plan->shrink_start >= size ||
	    plan->shrink_end >= size - plan->shrink_start)
		return -ENXIO;
	desc->start += plan->shrink_start;
	desc->end -= plan->shrink_end;
	desc->end += plan->widen_end;
	return 0;
}

static void set_fields(const struct mmap_testbed_plan *plan,
		       struct vm_area_desc *desc)
{
	vma_desc_clear_flags_mask(desc, legacy_to_vma_flags(plan->clear_flags));
	vma_desc_set_flags_mask(desc, legacy_to_vma_flags(plan->set_flags));
	if (plan->fields & MMAP_TESTBED_PGOFF)
		desc->pgoff = plan->pgoff;
	if (plan->fields & MMAP_TESTBED_PRIVATE)
		desc->private_data = (void *)(unsigned long)plan->private_data;
	if (plan->vm_ops == MMAP_TESTBED_OPS_NULL)
		vma_desc_set_anonymous(desc);
	else if (plan->vm_ops != MMAP_TESTBED_OPS_LEAVE)
		desc->vm_ops = testbed_vm_ops[plan->vm_ops];
}

/*
 * Returns the pages that a kernel_pages action inserts. The core reads the
 * array after the hook has returned, so the open file keeps an array with a
 * bad page. The bad page is the slab page that holds @opened:
 * validate_page_before_insert() of mm/memory.c refuses it.
 */
struct page **planned_pages(struct opened *opened,
			    const struct mmap_testbed_plan *plan)
{
	if (!(plan->fields & MMAP_TESTBED_BAD_PAGE))
		return &pool_pages[plan->pool_page];
	memcpy(opened->pages, &pool_pages[plan->pool_page],
	       (POOL_PAGES - plan->pool_page) * sizeof(*opened->pages));
	opened->pages[plan->bad_page] = virt_to_page(opened);
	return opened->pages;
}

static int set_action(struct opened *opened,
		      const struct mmap_testbed_plan *plan,
		      struct vm_area_desc *desc)
{
	bool part = plan->fields &
		(MMAP_TESTBED_ACTION_OFFSET | MMAP_TESTBED_ACTION_SIZE);
	unsigned long start = desc->start;
	unsigned long pfn = action_pfn(plan);
	struct page **pages = planned_pages(opened, plan);
	unsigned long size;
	int err;

	err = pool_range(plan, vma_desc_size(desc), &size);
	if (err)
		return err;
	/* The offset counts from the start of the mapping, not of @desc. */
	if (plan->fields & MMAP_TESTBED_ACTION_OFFSET)
		start += plan->action_offset - plan->shrink_start;

	switch (plan->action) {
	case MMAP_TESTBED_ACTION_REMAP:
		if (part)
			mmap_action_remap(desc, start, pfn, size);
		else
			mmap_action_remap_full(desc, pfn);
		break;
	case MMAP_TESTBED_ACTION_IOREMAP:
		if (part)
			mmap_action_ioremap(desc, start, pfn, size);
		else
			mmap_action_ioremap_full(desc, pfn);
		break;
	case MMAP_TESTBED_ACTION_SIMPLE_IOREMAP:
		mmap_action_simple_ioremap(desc, PFN_PHYS(pfn) +
					   plan->pool_byte, size);
		break;
	case MMAP_TESTBED_ACTION_KERNEL_PAGES:
		if (part)
			mmap_action_map_kernel_pages(desc, start, pages,
						     PFN_UP(size));
		else
			mmap_action_map_kernel_pages_full(desc, pages);
		break;
	case MMAP_TESTBED_ACTION_UNKNOWN:
		desc->action.type = (enum mmap_action_type)99;
		break;
	}
	return 0;
}

/* Sets all that an outer hook sets, too: fields and action. */
int apply_to_desc(struct opened *opened, const struct mmap_testbed_plan *plan,
		  struct vm_area_desc *desc)
{
	bool late = plan->fields & MMAP_TESTBED_LATE_PAGE_PROT;
	int err;

	set_fields(plan, desc);
	if (!late)
		desc->page_prot = planned_page_prot(plan, desc->page_prot);
	if (plan->action != MMAP_TESTBED_ACTION_NONE) {
		err = set_action(opened, plan, desc);
		if (err)
			return err;
	}
	if (late)
		desc->page_prot = planned_page_prot(plan, desc->page_prot);
	return 0;
}

/* Sets everything but vm_file, which the caller has to undo on failure. */
static int set_desc(struct opened *opened,
		    const struct mmap_testbed_plan *plan,
		    struct vm_area_desc *desc)
{
	int err = apply_to_desc(opened, plan, desc);

	if (err)
		return err;
	desc->action.error_override = plan->error_override;
	desc->action.hide_from_rmap_until_complete =
		plan->fields & MMAP_TESTBED_HIDE;
	return plan->hook_error_after;
}

static int carry_out(struct opened *opened,
		     const struct mmap_testbed_plan *plan,
		     struct vm_area_desc *desc)
{
	struct file *vm_file;
	int err;

	if (plan->hook_error)
		return plan->hook_error;
	vm_file = planned_vm_file(opened, plan, vma_desc_size(desc));
	if (IS_ERR(vm_file))
		return PTR_ERR(vm_file);
	if (vm_file)
		desc->vm_file = vm_file;

	err = move_ends(plan, desc);
	if (!err)
		err = set_desc(opened, plan, desc);
	if (!err && plan->fields & MMAP_TESTBED_SCRIBBLE) {
		desc->mm = NULL;
		desc->file = NULL;
	}
	/* Only the hook itself can put the reference when it fails. */
	if (err && vm_file)
		fput(vm_file);
	return err;
}

int prepare_with(struct opened *opened, struct vm_area_desc *desc)
{
	struct mmap_testbed_plan plan;
	int err;

	count_event(MMAP_TESTBED_EV_PREPARE);
	hook_log_prepare(desc);

	gate_pass(MMAP_TESTBED_GATE_PREPARE);
	remember_prepared(opened);
	plan_of(opened, &plan);
	err = carry_out(opened, &plan, desc);
	hook_log_prepare_done(desc, err);
	return err;
}

/*
 * The plan belongs to desc->file. A faulty kernel may pass the file of another
 * driver, whose private_data has another type.
 */
int prepare_hook(struct vm_area_desc *desc)
{
	struct opened *opened = opened_of(desc->file);

	if (opened)
		return prepare_with(opened, desc);
	hook_log_prepare(desc);
	return -EBADF;
}
