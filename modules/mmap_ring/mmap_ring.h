/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mmap_ring.ko: the ring buffer of a VMBus channel (drivers/hv/vmbus_drv.c)
 * without the bus. A kobject has a bin_attribute whose .mmap calls the
 * channel's own prepare hook.
 */
#ifndef MMAP_RING_H
#define MMAP_RING_H

#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/sysfs.h>

#define RING_ORDER	3

/**
 * struct channel - the fields of struct vmbus_channel that mapping uses
 * @kobj: the channel's directory in sysfs
 * @opened: state == CHANNEL_OPENED_STATE in vmbus
 * @ringbuffer_page: first page of the ring, which is contiguous RAM
 * @ringbuffer_pagecount: length of the ring
 * @ring_sysfs_visible: the ring attributes are shown
 * @mmap_prepare_ring_buffer: the channel's own prepare hook
 */
struct channel {
	struct kobject kobj;
	bool opened;
	struct page *ringbuffer_page;
	u32 ringbuffer_pagecount;
	bool ring_sysfs_visible;
	int (*mmap_prepare_ring_buffer)(struct channel *channel,
					struct vm_area_desc *desc);
};

static inline struct channel *to_channel(struct kobject *kobj)
{
	return container_of(kobj, struct channel, kobj);
}

/* ring.c */
int ring_alloc(struct channel *channel);
void ring_free(struct channel *channel);
void ring_reset(struct channel *channel);
int ring_mmap_prepare(struct channel *channel, struct vm_area_desc *desc);

int mmap_ring_wrapper(struct file *filp, struct kobject *kobj,
		      const struct bin_attribute *attr,
		      struct vm_area_struct *vma);
int mmap_ring_close_wrapper(struct file *filp, struct kobject *kobj,
			    const struct bin_attribute *attr,
			    struct vm_area_struct *vma);
int mmap_ring_legacy(struct file *filp, struct kobject *kobj,
		     const struct bin_attribute *attr,
		     struct vm_area_struct *vma);

extern const struct vm_operations_struct ring_closing_vm_ops;

#endif /* MMAP_RING_H */
