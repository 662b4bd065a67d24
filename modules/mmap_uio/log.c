// SPDX-License-Identifier: GPL-2.0
/* The hook log of this module. */
#include "mmap_uio.h"

#include "hook_log.c"

static bool file_name(struct seq_buf *s, const struct file *file)
{
	return false;
}

static const char *vm_ops_name(const struct vm_operations_struct *ops)
{
	return ops == &mmap_uio_vm_ops ? "uio" : NULL;
}

static struct hook_log_names names = {
	.file = file_name,
	.vm_ops = vm_ops_name,
	.memory = "uio",
	.nr_pages = POOL_PAGES,
};

int mmap_uio_log_init(void)
{
	names.pfn = page_to_pfn(pool_pages[0]);
	return hook_log_init("mmap_uio", &names);
}
