/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The hook log: a bounded ring of text records that userspace reads from
 * debugfs. docs/probe.md describes the lines. Each module that logs compiles
 * hook_log.c into itself, so that none needs another one to be loaded.
 */
#ifndef HOOK_LOG_H
#define HOOK_LOG_H

#include <linux/mm.h>
#include <linux/seq_buf.h>

/**
 * struct hook_log_names - what only the logging module can put a name to
 * @file: write the tag of one of the module's own files, false for any other
 * @vm_ops: the name of one of the module's own tables, else NULL
 * @memory: what the module calls the memory that it maps
 * @pfn: its first page frame
 * @nr_pages: its length
 */
struct hook_log_names {
	bool (*file)(struct seq_buf *s, const struct file *file);
	const char *(*vm_ops)(const struct vm_operations_struct *ops);
	const char *memory;
	unsigned long pfn;
	unsigned long nr_pages;
};

int hook_log_init(const char *dir, const struct hook_log_names *names);
void hook_log_exit(void);

/* A record is written between begin and end: a spinlock is held there. */
struct seq_buf *hook_log_begin(const char *event);
void hook_log_end(void);

void hook_log_file(struct seq_buf *s, const char *key, const struct file *file);
void hook_log_private(struct seq_buf *s, const char *key, const void *data);
void hook_log_vma(struct seq_buf *s, const struct vm_area_struct *vma);
void hook_log_desc(struct seq_buf *s, const struct vm_area_desc *desc);

void hook_log_put_file(struct seq_buf *s, const struct file *file);
void hook_log_put_vm_ops(struct seq_buf *s,
			 const struct vm_operations_struct *ops);

/* Whole records. @left is what mapped() puts where it found @found. */
void hook_log_vma_event(const char *event, const struct vm_area_struct *vma);
void hook_log_prepare(const struct vm_area_desc *desc);
void hook_log_prepare_done(const struct vm_area_desc *desc, int err);
void hook_log_mapped(unsigned long start, unsigned long end, pgoff_t pgoff,
		     const struct file *file, const void *found,
		     const void *left, int err);
void hook_log_fault(const char *event, const struct vm_fault *vmf,
		    const char *result);

#endif /* HOOK_LOG_H */
