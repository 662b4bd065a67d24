// SPDX-License-Identifier: GPL-2.0
/* The hook log of this module, and its event counters. */
#include "mmap_stack.h"

#include "hook_log.c"

static atomic64_t events[MMAP_TESTBED_NR_EVENTS];

static bool file_name(struct seq_buf *s, const struct file *file)
{
	struct opened *opened = opened_of(file);

	if (opened)
		seq_buf_printf(s, "%s#%llu", opened->name, opened->id);
	return opened;
}

static struct hook_log_names names = {
	.file = file_name,
	.vm_ops = vm_ops_name,
	.memory = "pool",
	.nr_pages = POOL_PAGES,
};

int testbed_log_init(void)
{
	names.pfn = pool_pfn();
	return hook_log_init("mmap_testbed", &names);
}

void count_event(enum mmap_testbed_event event)
{
	atomic64_inc(&events[event]);
}

void count_events(u64 *to)
{
	int i;

	for (i = 0; i < MMAP_TESTBED_NR_EVENTS; i++)
		to[i] = atomic64_read(&events[i]);
}

void log_mmap(const char *event, const struct file *file,
	      const struct vm_area_struct *vma)
{
	struct seq_buf *s = hook_log_begin(event);

	hook_log_file(s, "node", file);
	hook_log_vma(s, vma);
	hook_log_end();
}

void log_mmap_done(const struct file *file, const struct vm_area_struct *vma,
		   int err)
{
	struct seq_buf *s = hook_log_begin("mmap_done");

	hook_log_file(s, "node", file);
	hook_log_vma(s, vma);
	seq_buf_printf(s, " err=%d", err);
	hook_log_end();
}
