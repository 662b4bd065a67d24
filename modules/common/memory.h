/* SPDX-License-Identifier: GPL-2.0 */
/* The memory that the modules map: contiguous RAM that holds a pattern. */
#ifndef MEMORY_H
#define MEMORY_H

#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/mm.h>

#include "mmap_testbed.h"

/* Fill contiguous pages with the pattern of @magic (mmap_testbed.h). */
static inline void memory_fill(struct page *first, unsigned long nr_pages,
			       u64 magic)
{
	u64 *words = page_address(first);
	unsigned long page, w;

	for (page = 0; page < nr_pages; page++) {
		for (w = 0; w < PAGE_SIZE / sizeof(*words); w++)
			*words++ = MMAP_TESTBED_WORD(magic, page, w);
		flush_dcache_page(first + page);
	}
}

/*
 * Allocate 1 << @order contiguous pages, which can be remapped as one range of
 * page frames. Each page has its own reference count, so pages can also be
 * inserted one by one and counted.
 */
static inline int memory_alloc_split(struct page **pages, unsigned int order)
{
	struct page *first = alloc_pages(GFP_KERNEL, order);
	unsigned long i;

	if (!first)
		return -ENOMEM;
	split_page(first, order);
	for (i = 0; i < 1UL << order; i++)
		pages[i] = first + i;
	return 0;
}

static inline void memory_free_split(struct page **pages, unsigned int order)
{
	unsigned long i;

	for (i = 0; i < 1UL << order; i++)
		__free_page(pages[i]);
}

#endif /* MEMORY_H */
