// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that damages the kernel. The parameter says how; the damage is done
 * when a mapping is made, or when its pages are touched.
 *
 * how=tails	the pages of a block, but only the first has a reference: the
 *		others are freed while they are mapped
 * how=freed	a page that is free, mapped by its number
 * how=slab	writes beyond an object of the slab
 * how=stack	writes beyond an array on the stack
 * how=put	drops one reference of a mapped page too many
 * how=loop	never returns, with interrupts off
 * how=lock	takes mmap_lock, which the caller holds
 */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/irqflags.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/module.h>
#include <linux/processor.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#define ORDER		2
#define OBJECT		64
#define OBJECTS		32
#define BEYOND		256

static char *how = "";
module_param(how, charp, 0444);
MODULE_PARM_DESC(how, "tails, freed, slab, stack, put, loop or lock");

static struct page *block;

static vm_fault_t corrupt_fault(struct vm_fault *vmf)
{
	if (vmf->pgoff >= 1 << ORDER)
		return VM_FAULT_SIGBUS;
	vmf->page = block + vmf->pgoff;
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct corrupt_ops = {
	.fault = corrupt_fault,
};

static int map_freed(struct vm_area_struct *vma)
{
	struct page *page = alloc_page(GFP_KERNEL);
	unsigned long pfn;

	if (!page)
		return -ENOMEM;
	pfn = page_to_pfn(page);
	__free_page(page);
	for (unsigned long addr = vma->vm_start; addr < vma->vm_end; addr += PAGE_SIZE) {
		int err = remap_pfn_range(vma, addr, pfn, PAGE_SIZE, vma->vm_page_prot);

		if (err)
			return err;
	}
	return 0;
}

/* Not memset(): KASAN of some compilers does not check it. */
static noinline void fill(unsigned char *bytes, int length)
{
	for (int at = 0; at < length; at++)
		WRITE_ONCE(bytes[at], 0x5a);
}

static int overrun_slab(void)
{
	void *objects[OBJECTS];
	int count = 0;

	while (count < OBJECTS) {
		objects[count] = kmalloc(OBJECT, GFP_KERNEL);
		if (!objects[count])
			break;
		count++;
	}
	/* The objects behind the last one are probably free. */
	if (count)
		fill(objects[count - 1], OBJECT + BEYOND);
	while (count)
		kfree(objects[--count]);
	return 0;
}

static noinline int overrun_stack(void)
{
	unsigned char array[OBJECT];

	fill(array, OBJECT + BEYOND);
	return array[0];
}

static int put_too_often(struct vm_area_struct *vma)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	int err;

	if (!page)
		return -ENOMEM;
	err = vm_insert_page(vma, vma->vm_start, page);
	put_page(page);
	if (!err)
		put_page(page);
	return err;
}

static noinline void loop_forever(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

static int corrupt_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &corrupt_ops;
	if (!strcmp(how, "freed"))
		return map_freed(vma);
	if (!strcmp(how, "slab"))
		return overrun_slab();
	if (!strcmp(how, "stack"))
		return overrun_stack() < 0;
	if (!strcmp(how, "put"))
		return put_too_often(vma);
	if (!strcmp(how, "loop"))
		loop_forever();
	if (!strcmp(how, "lock"))
		mmap_read_lock(current->mm);
	return 0;
}

static const struct file_operations corrupt_fops = {
	.owner = THIS_MODULE,
	.mmap = corrupt_mmap,
};

static struct miscdevice corrupt_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "corrupt",
	.fops = &corrupt_fops,
	.mode = 0666,
};

static int __init corrupt_init(void)
{
	int err;

	block = alloc_pages(GFP_KERNEL | __GFP_ZERO, ORDER);
	if (!block)
		return -ENOMEM;
	if (strcmp(how, "tails"))
		split_page(block, ORDER);
	err = misc_register(&corrupt_device);
	if (err)
		__free_pages(block, ORDER);
	return err;
}

static void __exit corrupt_exit(void)
{
	misc_deregister(&corrupt_device);
	if (strcmp(how, "tails"))
		for (int page = 0; page < 1 << ORDER; page++)
			__free_page(block + page);
	else
		__free_pages(block, ORDER);
}

module_init(corrupt_init);
module_exit(corrupt_exit);
MODULE_DESCRIPTION("A driver that damages the kernel, for the testbed's own tests");
MODULE_LICENSE("GPL");
