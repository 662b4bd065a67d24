/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mmap_stack.ko: one device node for each path to an mmap hook. The plan of
 * the open file controls the hooks (mmap_testbed.h).
 */
#ifndef MMAP_STACK_H
#define MMAP_STACK_H

#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/spinlock.h>

#include "hook_log.h"
#include "mmap_testbed.h"

#define POOL_ORDER	6
#define POOL_PAGES	(1UL << POOL_ORDER)

/**
 * struct opened - one open file of any of the nodes
 * @id: number of this open, part of the file's tag in the log
 * @name: the node's name
 * @lock: guards @plan, @lower and @replacement against the hooks
 * @plan: the actions of the hooks
 * @lower: the file that a stack node maps
 * @replacement: the file that a hook stores in vm_file
 * @depth: length of the longest chain of node files that starts at this one
 * @users: number of open files that have this one as @lower or @replacement
 * @prepared: entry in the list of files whose prepare hook ran (prepared.c)
 * @prepared_mm: mm of the last run of the prepare hook
 * @pages: pages that the core inserts for a plan with a bad page
 */
struct opened {
	u64 id;
	const char *name;
	spinlock_t lock;
	struct mmap_testbed_plan plan;
	struct file *lower;
	struct file *replacement;
	unsigned int depth;
	unsigned int users;
	struct list_head prepared;
	struct mm_struct *prepared_mm;
	struct page *pages[POOL_PAGES];
};

/* node.c: the state of an open file */
int node_open(struct inode *inode, struct file *file);

/* NULL for a file of something else. */
struct opened *opened_of(const struct file *file);
void plan_of(struct opened *opened, struct mmap_testbed_plan *plan);

/* Return the lower file or the replacement with a reference, or NULL. */
struct file *get_edge(struct opened *opened, struct file **edge);

/* edges.c: the links from a file to its lower file and its replacement */
int set_edge(struct file *file, struct file **edge, int fd);
void drop_edges(struct opened *opened);

/* prepared.c: the open files whose prepare hook ran */
void remember_prepared(struct opened *opened);
void forget_prepared(struct opened *opened);
void plan_of_last_prepare(struct mmap_testbed_plan *plan);

/* prepare.c: the mmap_prepare hook that calls no other */
int prepare_hook(struct vm_area_desc *desc);
int prepare_with(struct opened *opened, struct vm_area_desc *desc);
int apply_to_desc(struct opened *opened, const struct mmap_testbed_plan *plan,
		  struct vm_area_desc *desc);
struct page **planned_pages(struct opened *opened,
			    const struct mmap_testbed_plan *plan);
pgprot_t planned_page_prot(const struct mmap_testbed_plan *plan, pgprot_t prot);
struct file *planned_vm_file(struct opened *opened,
			     const struct mmap_testbed_plan *plan,
			     unsigned long size);

/* outer.c: the mmap_prepare hooks that call that of a file below */
int prepare_stack_hook(struct vm_area_desc *desc);
int prepare_first_hook(struct vm_area_desc *desc);

/* nested.c: the .mmap hooks that call another hook */
int stack_mmap(struct file *file, struct vm_area_struct *vma);
int stack_first_mmap(struct file *file, struct vm_area_struct *vma);
int stack_after_mmap(struct file *file, struct vm_area_struct *vma);
int custom_mmap(struct file *file, struct vm_area_struct *vma);

/* legacy.c: the .mmap hook that calls no prepare hook */
int legacy_mmap(struct file *file, struct vm_area_struct *vma);
void apply_fields(struct vm_area_struct *vma,
		  const struct mmap_testbed_plan *plan);

/* vm_ops.c */
extern const struct vm_operations_struct *const
	testbed_vm_ops[MMAP_TESTBED_NR_OPS];
extern const struct hook_log_vm_ops vm_ops_names[];

/* pool.c: the memory that all nodes map */
extern struct page *pool_pages[POOL_PAGES];

int pool_init(void);
void pool_exit(void);
void pool_reset(void);
void pool_count(struct mmap_testbed_counts *counts);

static inline unsigned long pool_pfn(void)
{
	return page_to_pfn(pool_pages[0]);
}

/* Returns the first page frame that an action maps. */
static inline unsigned long action_pfn(const struct mmap_testbed_plan *plan)
{
	bool other = plan->fields & MMAP_TESTBED_PFN;

	return (other ? plan->pfn : pool_pfn()) + plan->pool_page;
}

/*
 * Store in @size how many bytes an action maps. Returns -ENXIO if the action
 * would leave the pool. Other memory counts as being as long as the pool.
 */
int pool_range(const struct mmap_testbed_plan *plan, unsigned long vma_size,
	       unsigned long *size);

/* gate.c: where a hook waits while another system call runs */
int gate_set(const struct mmap_testbed_gate *wanted);
void gate_pass(enum mmap_testbed_gate_place place);
int gate_await(unsigned long ms);
void gate_open(void);

/* log.c */
void count_event(enum mmap_testbed_event event);
void count_events(u64 *events);
void log_mmap(const char *event, const struct file *file,
	      const struct vm_area_struct *vma);
void log_outer(const char *event, const struct vm_area_desc *desc, int err);
void log_mmap_done(const struct file *file, const struct vm_area_struct *vma,
		   int err);

#endif /* MMAP_STACK_H */
