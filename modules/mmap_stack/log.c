// SPDX-License-Identifier: GPL-2.0
/* Event counters, and the records of hooks that call others. */
#include "mmap_stack.h"

static atomic64_t events[MMAP_TESTBED_NR_EVENTS];

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

void log_outer(const char *event, const struct vm_area_desc *desc, int err)
{
	struct seq_buf *s = hook_log_begin(event);

	hook_log_desc(s, desc);
	seq_buf_printf(s, " err=%d", err);
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
