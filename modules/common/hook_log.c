// SPDX-License-Identifier: GPL-2.0
/* The ring of records and its file in debugfs; see hook_log.h. */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/mmap_lock.h>
#include <linux/module.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "hook_log.h"

#define RECORDS		1024
#define RECORD_LEN	640
#define CUT		" cut=1\n"

/*
 * @next is the number of the next record. @first is the number of the first
 * record after the last clear. If more than RECORDS records lie between them,
 * the oldest ones are overwritten.
 */
static struct {
	spinlock_t lock;
	char (*records)[RECORD_LEN];
	u64 first;
	u64 next;
	struct seq_buf line;
	struct dentry *dir;
	const struct hook_log_names *names;
	unsigned long pfn;
	unsigned long nr_pages;
} hook_log = {
	.lock = __SPIN_LOCK_UNLOCKED(hook_log.lock),
	.first = 1,
	.next = 1,
};

static char *record(u64 seq)
{
	return hook_log.records[seq % RECORDS];
}

struct seq_buf *hook_log_begin(const char *event)
{
	struct seq_buf *s = &hook_log.line;

	spin_lock(&hook_log.lock);
	seq_buf_init(s, record(hook_log.next), RECORD_LEN - strlen(CUT));
	seq_buf_printf(s, "%llu pid=%d %s", hook_log.next,
		       task_tgid_nr(current), event);
	return s;
}

void hook_log_end(void)
{
	struct seq_buf *s = &hook_log.line;
	char *text = record(hook_log.next);
	size_t len = seq_buf_used(s);

	if (seq_buf_has_overflowed(s))
		strscpy(text + s->size - 1, CUT, strlen(CUT) + 1);
	else
		strscpy(text + len, "\n", 2);
	hook_log.next++;
	spin_unlock(&hook_log.lock);
}

/* Unlike seq_buf_puts(), leaves no gap in a record that is cut. */
static void put(struct seq_buf *s, const char *text)
{
	seq_buf_printf(s, "%s", text);
}

/* A word of the log has no blanks. */
static void put_word(struct seq_buf *s, const char *word)
{
	for (; *word; word++)
		seq_buf_putc(s, *word > ' ' && *word < 0x7f ? *word : '_');
}

void hook_log_put_file(struct seq_buf *s, const struct file *file)
{
	const struct hook_log_names *names = hook_log.names;
	char name[48];

	if (!file) {
		put(s, "NULL");
	} else if (!names->file || !names->file(s, file)) {
		snprintf(name, sizeof(name), "%pD", file);
		put_word(s, name);
	}
}

void hook_log_file(struct seq_buf *s, const char *key, const struct file *file)
{
	seq_buf_printf(s, " %s=", key);
	hook_log_put_file(s, file);
}

/*
 * Recognizes vma_dummy_vm_ops (mm/init-mm.c), which is empty. It is not
 * exported, and kallsyms lists data only with KALLSYMS_ALL.
 */
static bool has_no_member(const struct vm_operations_struct *ops)
{
	return !memchr_inv(ops, 0, sizeof(*ops));
}

static const char *own_name(const struct vm_operations_struct *ops)
{
	const struct hook_log_vm_ops *own = hook_log.names->vm_ops;

	while (own->ops && own->ops != ops)
		own++;
	return own->name;
}

void hook_log_put_vm_ops(struct seq_buf *s,
			 const struct vm_operations_struct *ops)
{
	const char *name;
	char symbol[48];

	if (!ops) {
		put(s, "NULL");
		return;
	}
	name = own_name(ops);
	if (!name && has_no_member(ops))
		name = "dummy";
	if (!name) {
		snprintf(symbol, sizeof(symbol), "%ps", ops);
		symbol[strcspn(symbol, " ")] = '\0';
		name = strstarts(symbol, "0x") ? "other" : symbol;
	}
	put_word(s, name);
}

static void put_private(struct seq_buf *s, const void *data)
{
	unsigned long cookie = (unsigned long)data;

	if (!data)
		put(s, "NULL");
	else if (upper_32_bits(cookie))
		put(s, "pointer");
	else
		seq_buf_printf(s, "%#lx", cookie);
}

void hook_log_private(struct seq_buf *s, const char *key, const void *data)
{
	seq_buf_printf(s, " %s=", key);
	put_private(s, data);
}

static const char *mm_tag(const struct mm_struct *mm)
{
	if (!mm)
		return "NULL";
	return mm == current->mm ? "current" : "other";
}

void hook_log_vma(struct seq_buf *s, const struct vm_area_struct *vma)
{
	seq_buf_printf(s, " start=%#lx end=%#lx pgoff=%#lx flags=%#lx",
		       vma->vm_start, vma->vm_end, vma->vm_pgoff,
		       (unsigned long)vma->vm_flags);
	seq_buf_printf(s, " page_prot=%#llx vm_ops=",
		       (u64)pgprot_val(vma->vm_page_prot));
	hook_log_put_vm_ops(s, vma->vm_ops);
	hook_log_private(s, "private", vma->vm_private_data);
	hook_log_file(s, "vm_file", vma->vm_file);
	seq_buf_printf(s, " mm=%s", mm_tag(vma->vm_mm));
}

static void put_pfn(struct seq_buf *s, unsigned long pfn)
{
	unsigned long index = pfn - hook_log.pfn;

	if (index < hook_log.nr_pages)
		seq_buf_printf(s, "%s+%#lx", hook_log.names->memory, index);
	else
		seq_buf_printf(s, "%#lx", pfn);
}

static void put_remap(struct seq_buf *s, const struct mmap_action *action)
{
	seq_buf_printf(s, " a_start=%#lx a_pfn=", action->remap.start);
	put_pfn(s, action->remap.start_pfn);
	seq_buf_printf(s, " a_size=%#lx a_prot=%#llx", action->remap.size,
		       (u64)pgprot_val(action->remap.pgprot));
}

static void put_action(struct seq_buf *s, const struct mmap_action *action)
{
	switch (action->type) {
	case MMAP_NOTHING:
		put(s, " action=none");
		return;
	case MMAP_REMAP_PFN:
		put(s, " action=remap");
		put_remap(s, action);
		return;
	case MMAP_IO_REMAP_PFN:
		put(s, " action=ioremap");
		put_remap(s, action);
		return;
	case MMAP_SIMPLE_IO_REMAP:
		put(s, " action=simple_ioremap a_phys=");
		put_pfn(s, PHYS_PFN(action->simple_ioremap.start_phys_addr));
		seq_buf_printf(s, " a_size=%#lx", action->simple_ioremap.size);
		return;
	case MMAP_MAP_KERNEL_PAGES:
		seq_buf_printf(s, " action=kernel_pages a_start=%#lx a_nr=%lu",
			       action->map_kernel.start,
			       action->map_kernel.nr_pages);
		seq_buf_printf(s, " a_pgoff=%#lx", action->map_kernel.pgoff);
		return;
	}
	seq_buf_printf(s, " action=%d", action->type);
}

void hook_log_desc(struct seq_buf *s, const struct vm_area_desc *desc)
{
	hook_log_file(s, "file", desc->file);
	hook_log_file(s, "vm_file", desc->vm_file);
	seq_buf_printf(s, " mm=%s start=%#lx end=%#lx pgoff=%#lx",
		       mm_tag(desc->mm), desc->start, desc->end, desc->pgoff);
	seq_buf_printf(s, " flags=%#lx page_prot=%#llx vm_ops=",
		       (unsigned long)vma_flags_to_legacy(desc->vma_flags),
		       (u64)pgprot_val(desc->page_prot));
	hook_log_put_vm_ops(s, desc->vm_ops);
	hook_log_private(s, "private", desc->private_data);
	seq_buf_printf(s, " override=%d hide=%d", desc->action.error_override,
		       desc->action.hide_from_rmap_until_complete);
	put_action(s, &desc->action);
}

void hook_log_vma_event(const char *event, const struct vm_area_struct *vma)
{
	hook_log_vma(hook_log_begin(event), vma);
	hook_log_end();
}

void hook_log_prepare(const struct vm_area_desc *desc)
{
	hook_log_desc(hook_log_begin("prepare"), desc);
	hook_log_end();
}

void hook_log_prepare_done(const struct vm_area_desc *desc, int err)
{
	struct seq_buf *s = hook_log_begin("prepare_done");

	hook_log_desc(s, desc);
	seq_buf_printf(s, " err=%d", err);
	hook_log_end();
}

/*
 * Returns whether the tree already holds the new VMA. With MAP_FIXED the tree
 * can still hold a VMA with the same bounds that is being replaced, but that
 * one is detached.
 */
static bool is_visible(unsigned long start, unsigned long end)
{
	struct vm_area_struct *vma = find_exact_vma(current->mm, start, end);

	return vma && vma_is_attached(vma);
}

/* The lock keeps others from looking up the file's mappings. */
static bool rmap_is_locked(const struct file *file)
{
	return file && rwsem_is_locked(&file->f_mapping->i_mmap_rwsem);
}

void hook_log_mapped(unsigned long start, unsigned long end, pgoff_t pgoff,
		     const struct file *file, const void *found,
		     const void *left, int err)
{
	bool visible = is_visible(start, end);
	struct seq_buf *s = hook_log_begin("mapped");

	seq_buf_printf(s, " start=%#lx end=%#lx pgoff=%#lx", start, end, pgoff);
	hook_log_file(s, "file", file);
	hook_log_private(s, "private", found);
	seq_buf_printf(s, " visible=%d rmap_locked=%d err=%d", visible,
		       rmap_is_locked(file), err);
	hook_log_private(s, "private_out", left);
	hook_log_end();
}

void hook_log_fault(const char *event, const struct vm_fault *vmf,
		    const char *result)
{
	struct seq_buf *s = hook_log_begin(event);

	hook_log_vma(s, vmf->vma);
	seq_buf_printf(s, " addr=%#lx at=%#lx write=%d result=%s", vmf->address,
		       vmf->pgoff, !!(vmf->flags & FAULT_FLAG_WRITE), result);
	hook_log_end();
}

/* open() copies the log for a reader, who sees one moment. */
struct snapshot {
	size_t len;
	char text[];
};

/* Returns the number of records since the last clear that the ring holds. */
static size_t count_records(void)
{
	size_t count;

	spin_lock(&hook_log.lock);
	count = min_t(u64, hook_log.next - hook_log.first, RECORDS);
	spin_unlock(&hook_log.lock);
	return count;
}

/* Copies the oldest records, @most of them: newer ones came after the count. */
static void take_snapshot(struct snapshot *snap, size_t size, size_t most)
{
	u64 seq, end, lost = 0;

	spin_lock(&hook_log.lock);
	seq = hook_log.first;
	if (hook_log.next - seq > RECORDS) {
		lost = hook_log.next - seq - RECORDS;
		seq += lost;
		snap->len = scnprintf(snap->text, size, "%llu pid=0 lost n=%llu\n",
				      seq - 1, lost);
	}
	end = min_t(u64, hook_log.next, seq + most);
	for (; seq < end; seq++)
		snap->len += scnprintf(snap->text + snap->len, size - snap->len,
				       "%s", record(seq));
	spin_unlock(&hook_log.lock);
}

static int log_open(struct inode *inode, struct file *file)
{
	struct snapshot *snap;
	size_t count, size;

	/* One who only clears the log needs no copy. */
	if (!(file->f_mode & FMODE_READ))
		return 0;
	count = count_records();
	size = (count + 1) * RECORD_LEN;
	snap = kvmalloc(struct_size(snap, text, size), GFP_KERNEL);
	if (!snap)
		return -ENOMEM;
	snap->len = 0;
	take_snapshot(snap, size, count);
	file->private_data = snap;
	return 0;
}

static ssize_t log_read(struct file *file, char __user *buf, size_t count,
			loff_t *pos)
{
	struct snapshot *snap = file->private_data;

	return simple_read_from_buffer(buf, count, pos, snap->text, snap->len);
}

static ssize_t log_write(struct file *file, const char __user *buf,
			 size_t count, loff_t *pos)
{
	spin_lock(&hook_log.lock);
	hook_log.first = hook_log.next;
	spin_unlock(&hook_log.lock);
	return count;
}

static int log_release(struct inode *inode, struct file *file)
{
	kvfree(file->private_data);
	return 0;
}

static const struct file_operations log_fops = {
	.owner = THIS_MODULE,
	.open = log_open,
	.read = log_read,
	.write = log_write,
	.release = log_release,
	.llseek = default_llseek,
};

int hook_log_init(const struct hook_log_names *names, unsigned long pfn,
		  unsigned long nr_pages)
{
	hook_log.names = names;
	hook_log.pfn = pfn;
	hook_log.nr_pages = nr_pages;
	hook_log.records = kvmalloc_array(RECORDS, RECORD_LEN, GFP_KERNEL);
	if (!hook_log.records)
		return -ENOMEM;
	hook_log.dir = debugfs_create_dir(names->dir, NULL);
	debugfs_create_file("log", 0600, hook_log.dir, NULL, &log_fops);
	return 0;
}

void hook_log_exit(void)
{
	debugfs_remove(hook_log.dir);
	kvfree(hook_log.records);
}
