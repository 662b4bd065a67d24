// SPDX-License-Identifier: GPL-2.0
/*
 * The hook, modelled on tcmu_mmap_prepare() of
 * drivers/target/target_core_user.c. The module's parameters control it.
 */
#include <linux/module.h>
#include <linux/string.h>

#include "hook_log.h"
#include "mmap_uio.h"

static char *action = "fault";
module_param(action, charp, 0444);
MODULE_PARM_DESC(action, "the hook's action: fault, remap or kernel_pages");

static int hook_error;
module_param(hook_error, int, 0444);
MODULE_PARM_DESC(hook_error, "-errno that the hook returns");

static int mapped_error;
module_param(mapped_error, int, 0444);
MODULE_PARM_DESC(mapped_error, "-errno that mapped() returns");

static bool leave_private;
module_param(leave_private, bool, 0444);
MODULE_PARM_DESC(leave_private, "keep the private data that uio.c sets");

enum { FAULT, REMAP, KERNEL_PAGES };

static const char *const actions[] = {
	[FAULT] = "fault",
	[REMAP] = "remap",
	[KERNEL_PAGES] = "kernel_pages",
};

static int chosen_action;

int mmap_uio_check_parameters(void)
{
	chosen_action = match_string(actions, ARRAY_SIZE(actions), action);
	return chosen_action < 0 ? chosen_action : 0;
}

/* As in uio.c, the page offset of the mapping is the number of the map. */
static struct page **pages_of(const struct vm_area_desc *desc)
{
	return &pool_pages[desc->pgoff * MAP_PAGES];
}

static int carry_out(struct uio_info *info, struct vm_area_desc *desc)
{
	struct page **pages = pages_of(desc);

	if (hook_error)
		return hook_error;
	vma_desc_set_flags(desc, VMA_DONTEXPAND_BIT, VMA_DONTDUMP_BIT);
	desc->vm_ops = &mmap_uio_vm_ops;
	if (!leave_private)
		desc->private_data = info->uio_dev;
	if (chosen_action == REMAP)
		mmap_action_remap_full(desc, page_to_pfn(pages[0]));
	else if (chosen_action == KERNEL_PAGES)
		mmap_action_map_kernel_pages_full(desc, pages);
	return 0;
}

int mmap_uio_prepare(struct uio_info *info, struct vm_area_desc *desc)
{
	int err;

	hook_log_prepare(desc);
	err = carry_out(info, desc);
	hook_log_prepare_done(desc, err);
	return err;
}

static int mmap_uio_mapped(unsigned long start, unsigned long end,
			   pgoff_t pgoff, const struct file *file,
			   void **vm_private_data)
{
	void *data = *vm_private_data;

	hook_log_mapped(start, end, pgoff, file, data, data, mapped_error);
	return mapped_error;
}

static void mmap_uio_open(struct vm_area_struct *vma)
{
	hook_log_vma_event("open", vma);
}

static void mmap_uio_close(struct vm_area_struct *vma)
{
	hook_log_vma_event("close", vma);
}

/*
 * Returns NULL beyond the map's end, and for a mapping without a device. When
 * the head of a mapping is unmapped, vm_pgoff is not the number of a map.
 */
static struct page *page_of(const struct vm_fault *vmf)
{
	const struct vm_area_struct *vma = vmf->vma;
	unsigned long page = vmf->pgoff - vma->vm_pgoff;

	if (!vma->vm_private_data || page >= MAP_PAGES ||
	    vma->vm_pgoff >= POOL_PAGES / MAP_PAGES)
		return NULL;
	return pool_pages[vma->vm_pgoff * MAP_PAGES + page];
}

static vm_fault_t mmap_uio_fault(struct vm_fault *vmf)
{
	struct page *page = page_of(vmf);

	hook_log_fault("fault", vmf, page ? "page" : "sigbus");
	if (!page)
		return VM_FAULT_SIGBUS;
	get_page(page);
	vmf->page = page;
	return 0;
}

const struct vm_operations_struct mmap_uio_vm_ops = {
	.mapped = mmap_uio_mapped,
	.open = mmap_uio_open,
	.close = mmap_uio_close,
	.fault = mmap_uio_fault,
};
