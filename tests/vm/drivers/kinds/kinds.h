/* SPDX-License-Identifier: GPL-2.0 */
/* Right drivers of many kinds, and a wrong twin of each: see main.c. */
#ifndef KINDS_H
#define KINDS_H

#include <linux/fs.h>
#include <linux/mm.h>

#define MOST_PAGES	64

/**
 * struct kind - one kind of a driver
 * @name: value of the parameter "kind"
 * @mmap: its hook
 * @pages: pages that it maps, if not 8
 * @only_read: the node opens for reading only
 * @exclusive: the node is open once at a time
 * @setup: an open file needs an ioctl or a write before mmap()
 */
struct kind {
	const char *name;
	int (*mmap)(struct file *file, struct vm_area_struct *vma);
	unsigned long pages;
	bool only_read;
	bool exclusive;
	bool setup;
};

extern const struct kind kinds[];
extern bool wrong;
extern atomic_t users;
extern struct page *memory[MOST_PAGES + 1];
extern unsigned long nr_pages;

#endif /* KINDS_H */
