// SPDX-License-Identifier: GPL-2.0
/* Contiguous memory. remap_pfn_range() maps it as a whole. */
#include <linux/gfp.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>

#define ORDER		3
#define NR_PAGES	(1UL << ORDER)

static struct page *memory;

static int example_mmap(struct file *file, struct vm_area_struct *vma)
{
	const unsigned long nr = vma_pages(vma);

	if (vma->vm_pgoff >= NR_PAGES || nr > NR_PAGES - vma->vm_pgoff)
		return -EINVAL;
	return remap_pfn_range(vma, vma->vm_start,
			       page_to_pfn(memory) + vma->vm_pgoff,
			       nr << PAGE_SHIFT, vma->vm_page_prot);
}

static const struct file_operations example_fops = {
	.owner = THIS_MODULE,
	.mmap = example_mmap,
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
MODULE_DESCRIPTION("An example: remap_pfn_range() in an mmap hook");
MODULE_LICENSE("GPL");
