// SPDX-License-Identifier: GPL-2.0
/* fault/mmap, converted: single pages, each mapped on its first access. */
#include <linux/gfp.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>

#define NR_PAGES	8

static struct page *memory[NR_PAGES];

static vm_fault_t example_fault(struct vm_fault *vmf)
{
	struct page **pages = vmf->vma->vm_private_data;

	if (vmf->pgoff >= NR_PAGES)
		return VM_FAULT_SIGBUS;
	get_page(pages[vmf->pgoff]);
	vmf->page = pages[vmf->pgoff];
	return 0;
}

static const struct vm_operations_struct example_vm_ops = {
	.fault = example_fault,
};

static int example_mmap_prepare(struct vm_area_desc *desc)
{
	desc->vm_ops = &example_vm_ops;
	desc->private_data = memory;
	vma_desc_set_flags(desc, VMA_DONTEXPAND_BIT, VMA_DONTDUMP_BIT);
	return 0;
}

static const struct file_operations example_fops = {
	.owner = THIS_MODULE,
	.mmap_prepare = example_mmap_prepare,
};

static struct miscdevice example = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "example_fault",
	.fops = &example_fops,
};

static void free_memory(void)
{
	int i;

	for (i = 0; i < NR_PAGES && memory[i]; i++)
		__free_page(memory[i]);
}

static int __init example_init(void)
{
	int i, err = -ENOMEM;

	for (i = 0; i < NR_PAGES; i++) {
		memory[i] = alloc_page(GFP_KERNEL);
		if (!memory[i])
			goto free;
		memset(page_address(memory[i]), 'a' + i, PAGE_SIZE);
	}
	err = misc_register(&example);
	if (!err)
		return 0;
free:
	free_memory();
	return err;
}

static void __exit example_exit(void)
{
	misc_deregister(&example);
	free_memory();
}

module_init(example_init);
module_exit(example_exit);
MODULE_DESCRIPTION("An example: a fault handler, set by an mmap_prepare hook");
MODULE_LICENSE("GPL");
