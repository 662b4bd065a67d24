// SPDX-License-Identifier: GPL-2.0
/* The hook log of this module. */
#include "mmap_ring.h"

#include "hook_log.c"

static bool file_name(struct seq_buf *s, const struct file *file)
{
	return false;
}

static const char *vm_ops_name(const struct vm_operations_struct *ops)
{
	return ops == &ring_closing_vm_ops ? "closing" : NULL;
}

static struct hook_log_names names = {
	.file = file_name,
	.vm_ops = vm_ops_name,
	.memory = "ring",
};

int ring_log_init(const struct channel *channel)
{
	names.pfn = page_to_pfn(channel->ringbuffer_page);
	names.nr_pages = channel->ringbuffer_pagecount;
	return hook_log_init("mmap_ring", &names);
}
