// SPDX-License-Identifier: GPL-2.0
/* remap/mmap, converted: contiguous memory, mapped as a whole. */
#include <linux/gfp.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>

#define ORDER		3
#define NR_PAGES	(1UL << ORDER)

static struct page *memory;

static int example_mmap_prepare(struct vm_area_desc *desc)
{
	const unsigned long nr = vma_desc_pages(desc);

	if (desc->pgoff >= NR_PAGES || nr > NR_PAGES - desc->pgoff)
		return -EINVAL;
	mmap_action_remap_full(desc, page_to_pfn(memory) + desc->pgoff);
	return 0;
}

static const struct file_operations example_fops = {
	.owner = THIS_MODULE,
	.mmap_prepare = example_mmap_prepare,
};

static struct miscdevice example = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "example_remap",
	.fops = &example_fops,
};

static int __init example_init(void)
{
	unsigned long i;
	int err;

	memory = alloc_pages(GFP_KERNEL, ORDER);
	if (!memory)
		return -ENOMEM;
	for (i = 0; i < NR_PAGES; i++)
		memset(page_address(memory + i), 'a' + i, PAGE_SIZE);
	err = misc_register(&example);
	if (err)
		__free_pages(memory, ORDER);
	return err;
}

static void __exit example_exit(void)
{
	misc_deregister(&example);
	__free_pages(memory, ORDER);
}

module_init(example_init);
module_exit(example_exit);
MODULE_DESCRIPTION("An example: mmap_action_remap_full() in an mmap_prepare hook");
MODULE_LICENSE("GPL");
