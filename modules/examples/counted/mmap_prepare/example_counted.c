// SPDX-License-Identifier: GPL-2.0
/* counted/mmap, converted: each mapping holds a reference to a buffer. */
#include <linux/gfp.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#define NR_PAGES	8

/* Shared by an open file and its mappings; pins the module. */
struct buffer {
	struct kref users;
	struct page *pages[NR_PAGES];
};

static void buffer_free(struct kref *users)
{
	struct buffer *buffer = container_of(users, struct buffer, users);
	int i;

	for (i = 0; i < NR_PAGES && buffer->pages[i]; i++)
		put_page(buffer->pages[i]);
	kfree(buffer);
	module_put(THIS_MODULE);
}

static struct buffer *buffer_alloc(void)
{
	struct buffer *buffer = kzalloc_obj(*buffer);
	int i;

	if (!buffer)
		return NULL;
	kref_init(&buffer->users);
	__module_get(THIS_MODULE);
	for (i = 0; i < NR_PAGES; i++) {
		buffer->pages[i] = alloc_page(GFP_KERNEL);
		if (!buffer->pages[i]) {
			kref_put(&buffer->users, buffer_free);
			return NULL;
		}
		memset(page_address(buffer->pages[i]), 'a' + i, PAGE_SIZE);
	}
	return buffer;
}

static void example_vm_open(struct vm_area_struct *vma)
{
	struct buffer *buffer = vma->vm_private_data;

	kref_get(&buffer->users);
}

static void example_vm_close(struct vm_area_struct *vma)
{
	struct buffer *buffer = vma->vm_private_data;

	kref_put(&buffer->users, buffer_free);
}

static int example_mapped(unsigned long start, unsigned long end, pgoff_t pgoff,
			  const struct file *file, void **vm_private_data)
{
	struct buffer *buffer = *vm_private_data;

	kref_get(&buffer->users);
	return 0;
}

static vm_fault_t example_fault(struct vm_fault *vmf)
{
	struct buffer *buffer = vmf->vma->vm_private_data;

	if (vmf->pgoff >= NR_PAGES)
		return VM_FAULT_SIGBUS;
	vmf->page = buffer->pages[vmf->pgoff];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct example_vm_ops = {
	.open = example_vm_open,
	.close = example_vm_close,
	.mapped = example_mapped,
	.fault = example_fault,
};

static int example_mmap_prepare(struct vm_area_desc *desc)
{
	desc->vm_ops = &example_vm_ops;
	desc->private_data = desc->file->private_data;
	return 0;
}

static int example_open(struct inode *inode, struct file *file)
{
	file->private_data = buffer_alloc();
	return file->private_data ? 0 : -ENOMEM;
}

static int example_release(struct inode *inode, struct file *file)
{
	struct buffer *buffer = file->private_data;

	kref_put(&buffer->users, buffer_free);
	return 0;
}

static const struct file_operations example_fops = {
	.owner = THIS_MODULE,
	.open = example_open,
	.release = example_release,
	.mmap_prepare = example_mmap_prepare,
};

static struct miscdevice example = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "example_counted",
	.fops = &example_fops,
};

module_misc_device(example);
MODULE_DESCRIPTION("An example: a reference for each mapping, taken by mapped()");
MODULE_LICENSE("GPL");
