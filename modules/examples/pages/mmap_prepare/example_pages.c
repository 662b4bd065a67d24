// SPDX-License-Identifier: GPL-2.0
/* pages/mmap, converted: single pages, all mapped at once. */
#include <linux/gfp.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>

#define NR_PAGES	8

static struct page *memory[NR_PAGES];

static int example_mmap_prepare(struct vm_area_desc *desc)
{
	const unsigned long nr = vma_desc_pages(desc);

	if (desc->pgoff >= NR_PAGES || nr > NR_PAGES - desc->pgoff)
		return -EINVAL;
	mmap_action_map_kernel_pages_full(desc, memory + desc->pgoff);
	return 0;
}

static const struct file_operations example_fops = {
	.owner = THIS_MODULE,
	.mmap_prepare = example_mmap_prepare,
};

static struct miscdevice example = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "example_pages",
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
MODULE_DESCRIPTION("An example: mmap_action_map_kernel_pages_full() in an mmap_prepare hook");
MODULE_LICENSE("GPL");
