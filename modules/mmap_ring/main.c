// SPDX-License-Identifier: GPL-2.0
/* /sys/kernel/mmap_ring: the channel and its attributes. */
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "hook_log.h"
#include "mmap_ring.h"

static struct channel *the_channel;

/* Orders writers of the attributes. As in vmbus, the hooks do not take it. */
static DEFINE_MUTEX(channel_lock);

#define RING_ATTR(_name, _mmap)			\
	{					\
		.attr = {			\
			.name = _name,		\
			.mode = 0600,		\
		},				\
		.mmap = _mmap,			\
	}

static const struct bin_attribute ring = RING_ATTR("ring", mmap_ring_wrapper);
static const struct bin_attribute ring_close =
	RING_ATTR("ring_close", mmap_ring_close_wrapper);
static const struct bin_attribute ring_legacy =
	RING_ATTR("ring_legacy", mmap_ring_legacy);

static const struct bin_attribute *const ring_attrs[] = {
	&ring,
	&ring_close,
	&ring_legacy,
	NULL
};

static umode_t ring_is_visible(struct kobject *kobj,
			       const struct bin_attribute *attr, int idx)
{
	return to_channel(kobj)->ring_sysfs_visible ? attr->attr.mode : 0;
}

static size_t ring_bin_size(struct kobject *kobj,
			    const struct bin_attribute *attr, int idx)
{
	return (size_t)to_channel(kobj)->ringbuffer_pagecount << PAGE_SHIFT;
}

static const struct attribute_group ring_group = {
	.bin_attrs = ring_attrs,
	.is_bin_visible = ring_is_visible,
	.bin_size = ring_bin_size,
};

/* As hv_create_ring_sysfs() and hv_remove_ring_sysfs() of vmbus_drv.c. */
static int show_ring(struct channel *channel)
{
	channel->mmap_prepare_ring_buffer = ring_mmap_prepare;
	channel->ring_sysfs_visible = true;
	return sysfs_update_group(&channel->kobj, &ring_group);
}

static int hide_ring(struct channel *channel)
{
	int err;

	channel->ring_sysfs_visible = false;
	err = sysfs_update_group(&channel->kobj, &ring_group);
	channel->mmap_prepare_ring_buffer = NULL;
	return err;
}

static ssize_t state_show(struct kobject *kobj, struct kobj_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%s\n",
			  to_channel(kobj)->opened ? "opened" : "closed");
}

static ssize_t state_store(struct kobject *kobj, struct kobj_attribute *attr,
			   const char *buf, size_t count)
{
	static const char *const states[] = { "closed", "opened" };
	int state = sysfs_match_string(states, buf);

	if (state < 0)
		return state;
	mutex_lock(&channel_lock);
	to_channel(kobj)->opened = state;
	mutex_unlock(&channel_lock);
	return count;
}

static ssize_t visible_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%d\n", to_channel(kobj)->ring_sysfs_visible);
}

static ssize_t visible_store(struct kobject *kobj, struct kobj_attribute *attr,
			     const char *buf, size_t count)
{
	struct channel *channel = to_channel(kobj);
	bool visible;
	int err;

	err = kstrtobool(buf, &visible);
	if (err)
		return err;
	mutex_lock(&channel_lock);
	err = visible ? show_ring(channel) : hide_ring(channel);
	mutex_unlock(&channel_lock);
	return err ?: count;
}

static ssize_t pages_show(struct kobject *kobj, struct kobj_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%u\n", to_channel(kobj)->ringbuffer_pagecount);
}

static ssize_t pfn_show(struct kobject *kobj, struct kobj_attribute *attr,
			char *buf)
{
	return sysfs_emit(buf, "%#lx\n",
			  page_to_pfn(to_channel(kobj)->ringbuffer_page));
}

static ssize_t reset_store(struct kobject *kobj, struct kobj_attribute *attr,
			   const char *buf, size_t count)
{
	ring_reset(to_channel(kobj));
	return count;
}

static struct kobj_attribute state_attr = __ATTR_RW(state);
static struct kobj_attribute visible_attr = __ATTR_RW(visible);
static struct kobj_attribute pages_attr = __ATTR_RO(pages);
static struct kobj_attribute pfn_attr = __ATTR_RO_MODE(pfn, 0400);
static struct kobj_attribute reset_attr = __ATTR_WO(reset);

static struct attribute *channel_attrs[] = {
	&state_attr.attr,
	&visible_attr.attr,
	&pages_attr.attr,
	&pfn_attr.attr,
	&reset_attr.attr,
	NULL
};
ATTRIBUTE_GROUPS(channel);

static void channel_release(struct kobject *kobj)
{
	struct channel *channel = to_channel(kobj);

	ring_free(channel);
	kfree(channel);
}

static const struct kobj_type channel_ktype = {
	.sysfs_ops = &kobj_sysfs_ops,
	.release = channel_release,
	.default_groups = channel_groups,
};

static const struct hook_log_names log_names = {
	.dir = "mmap_ring",
	.vm_ops = (const struct hook_log_vm_ops[]) {
		{ &ring_closing_vm_ops, "closing" },
		{ }
	},
	.memory = "ring",
};

/* Passes the ring's memory to the kobject, also on failure. */
static int add_channel(struct channel *channel)
{
	int err = kobject_init_and_add(&channel->kobj, &channel_ktype,
				       kernel_kobj, "mmap_ring");

	if (!err)
		err = sysfs_create_group(&channel->kobj, &ring_group);
	if (!err)
		err = show_ring(channel);
	if (err)
		kobject_put(&channel->kobj);
	return err;
}

static int __init mmap_ring_init(void)
{
	struct channel *channel = kzalloc_obj(*channel);
	int err;

	if (!channel)
		return -ENOMEM;
	err = ring_alloc(channel);
	if (err)
		goto free_channel;
	err = hook_log_init(&log_names, page_to_pfn(channel->ringbuffer_page),
			    channel->ringbuffer_pagecount);
	if (err)
		goto free_ring;

	channel->opened = true;
	err = add_channel(channel);
	if (err)
		hook_log_exit();
	else
		the_channel = channel;
	return err;

free_ring:
	ring_free(channel);
free_channel:
	kfree(channel);
	return err;
}

static void __exit mmap_ring_exit(void)
{
	kobject_put(&the_channel->kobj);
	hook_log_exit();
}

module_init(mmap_ring_init);
module_exit(mmap_ring_exit);
MODULE_DESCRIPTION("a model of the VMBus channel's mmap-able ring");
MODULE_LICENSE("GPL");
