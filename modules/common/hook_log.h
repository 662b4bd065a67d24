/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The hook log: a bounded ring of text records that userspace reads from
 * debugfs. docs/probe.md describes the lines. Each module that logs compiles
 * its own copy of hook_log.c (hook_log.mk), so it does not need the others.
 */
#ifndef HOOK_LOG_H
#define HOOK_LOG_H

#include <linux/mm.h>
#include <linux/seq_buf.h>

/**
 * struct hook_log_vm_ops - a table of VMA operations that has a name in the log
 * @ops: the table
 * @name: its name
 */
struct hook_log_vm_ops {
	const struct vm_operations_struct *ops;
	const char *name;
};

/**
 * struct hook_log_names - the names that only the logging module knows
 * @dir: the module's directory in debugfs
 * @file: writes the tag of one of the module's own files, returns false for
 *	any other file; NULL if the module's files have no tags
 * @vm_ops: the module's own tables; an empty entry is the last one
 * @memory: name of the memory that the module maps
 */
struct hook_log_names {
	const char *dir;
	bool (*file)(struct seq_buf *s, const struct file *file);
	const struct hook_log_vm_ops *vm_ops;
	const char *memory;
};

/* The memory named @names->memory starts at page frame @pfn. */
int hook_log_init(const struct hook_log_names *names, unsigned long pfn,
		  unsigned long nr_pages);
void hook_log_exit(void);

/* Write a record between begin and end, which hold a spinlock. */
struct seq_buf *hook_log_begin(const char *event);
void hook_log_end(void);

void hook_log_file(struct seq_buf *s, const char *key, const struct file *file);
void hook_log_private(struct seq_buf *s, const char *key, const void *data);
void hook_log_vma(struct seq_buf *s, const struct vm_area_struct *vma);
void hook_log_desc(struct seq_buf *s, const struct vm_area_desc *desc);

void hook_log_put_file(struct seq_buf *s, const struct file *file);
void hook_log_put_vm_ops(struct seq_buf *s,
			 const struct vm_operations_struct *ops);

/* Whole records. mapped() finds the private data @found and leaves @left. */
void hook_log_vma_event(const char *event, const struct vm_area_struct *vma);
void hook_log_prepare(const struct vm_area_desc *desc);
void hook_log_prepare_done(const struct vm_area_desc *desc, int err);
void hook_log_mapped(unsigned long start, unsigned long end, pgoff_t pgoff,
		     const struct file *file, const void *found,
		     const void *left, int err);
void hook_log_fault(const char *event, const struct vm_fault *vmf,
		    const char *result);

#endif /* HOOK_LOG_H */
