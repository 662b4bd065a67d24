// SPDX-License-Identifier: GPL-2.0
/* The ring's memory and the hooks that map it. */
#include <linux/io.h>

#include "hook_log.h"
#include "memory.h"
#include "mmap_ring.h"
#include "mmap_testbed.h"

void ring_reset(struct channel *channel)
{
	memory_fill(channel->ringbuffer_page, channel->ringbuffer_pagecount,
		    MMAP_TESTBED_RING_MAGIC);
}

int ring_alloc(struct channel *channel)
{
	channel->ringbuffer_page = alloc_pages(GFP_KERNEL, RING_ORDER);
	if (!channel->ringbuffer_page)
		return -ENOMEM;
	channel->ringbuffer_pagecount = 1 << RING_ORDER;
	ring_reset(channel);
	return 0;
}

void ring_free(struct channel *channel)
{
	__free_pages(channel->ringbuffer_page, RING_ORDER);
}

static phys_addr_t ring_phys(const struct channel *channel)
{
	return virt_to_phys(page_address(channel->ringbuffer_page));
}

static unsigned long ring_size(const struct channel *channel)
{
	return (unsigned long)channel->ringbuffer_pagecount << PAGE_SHIFT;
}

/* As hv_uio_ring_mmap_prepare() of drivers/uio/uio_hv_generic.c. */
int ring_mmap_prepare(struct channel *channel, struct vm_area_desc *desc)
{
	if (!channel->opened)
		return -ENODEV;

	mmap_action_simple_ioremap(desc, ring_phys(channel),
				   ring_size(channel));
	return 0;
}

static int ring_close_mmap_prepare(struct channel *channel,
				   struct vm_area_desc *desc)
{
	desc->vm_ops = &ring_closing_vm_ops;
	return ring_mmap_prepare(channel, desc);
}

static void log_mmap(const char *event, const struct bin_attribute *attr,
		     const struct vm_area_struct *vma)
{
	struct seq_buf *s = hook_log_begin(event);

	seq_buf_printf(s, " node=%s", attr->attr.name);
	hook_log_vma(s, vma);
	hook_log_end();
}

static int mmap_done(const struct bin_attribute *attr,
		     const struct vm_area_struct *vma, int err)
{
	struct seq_buf *s = hook_log_begin("mmap_done");

	seq_buf_printf(s, " node=%s", attr->attr.name);
	hook_log_vma(s, vma);
	seq_buf_printf(s, " err=%d", err);
	hook_log_end();
	return err;
}

/* As hv_mmap_ring_buffer_wrapper() of vmbus_drv.c; logs each step. */
static int nested_mmap(struct file *filp, struct channel *channel,
		       struct vm_area_struct *vma,
		       int (*mmap_prepare)(struct channel *channel,
					   struct vm_area_desc *desc))
{
	struct vm_area_desc desc;
	int err;

	compat_set_desc_from_vma(&desc, filp, vma);
	hook_log_prepare(&desc);
	err = mmap_prepare(channel, &desc);
	hook_log_prepare_done(&desc, err);
	if (err)
		return err;

	return __compat_vma_mmap(&desc, vma);
}

int mmap_ring_wrapper(struct file *filp, struct kobject *kobj,
		      const struct bin_attribute *attr,
		      struct vm_area_struct *vma)
{
	struct channel *channel = to_channel(kobj);

	log_mmap("mmap", attr, vma);
	return mmap_done(attr, vma,
			 nested_mmap(filp, channel, vma,
				     channel->mmap_prepare_ring_buffer));
}

int mmap_ring_close_wrapper(struct file *filp, struct kobject *kobj,
			    const struct bin_attribute *attr,
			    struct vm_area_struct *vma)
{
	log_mmap("mmap", attr, vma);
	return mmap_done(attr, vma,
			 nested_mmap(filp, to_channel(kobj), vma,
				     ring_close_mmap_prepare));
}

/* As hv_mmap_ring_buffer_wrapper() before its conversion to mmap_prepare. */
int mmap_ring_legacy(struct file *filp, struct kobject *kobj,
		     const struct bin_attribute *attr,
		     struct vm_area_struct *vma)
{
	struct channel *channel = to_channel(kobj);
	int err = -ENODEV;

	log_mmap("mmap", attr, vma);
	if (channel->opened)
		err = vm_iomap_memory(vma, ring_phys(channel),
				      ring_size(channel));
	return mmap_done(attr, vma, err);
}

static void closing_open(struct vm_area_struct *vma)
{
	hook_log_vma_event("open", vma);
}

static void closing_close(struct vm_area_struct *vma)
{
	hook_log_vma_event("close", vma);
}

static int closing_mapped(unsigned long start, unsigned long end, pgoff_t pgoff,
			  const struct file *file, void **vm_private_data)
{
	void *data = *vm_private_data;

	hook_log_mapped(start, end, pgoff, file, data, data, 0);
	return 0;
}

const struct vm_operations_struct ring_closing_vm_ops = {
	.open = closing_open,
	.close = closing_close,
	.mapped = closing_mapped,
};
