// SPDX-License-Identifier: GPL-2.0
/*
 * The pool: physically contiguous RAM, so that page frames can be remapped, of
 * which each page has a reference count of its own, so that the pages can be
 * inserted one by one and counted.
 */
#include <linux/highmem.h>

#include "mmap_stack.h"

struct page *pool_pages[POOL_PAGES];

void pool_reset(void)
{
	unsigned long i, w;
	u64 *words;

	for (i = 0; i < POOL_PAGES; i++) {
		words = page_address(pool_pages[i]);
		for (w = 0; w < PAGE_SIZE / sizeof(*words); w++)
			words[w] = MMAP_TESTBED_WORD(MMAP_TESTBED_POOL_MAGIC,
						     i, w);
		flush_dcache_page(pool_pages[i]);
	}
}

int pool_init(void)
{
	struct page *first = alloc_pages(GFP_KERNEL, POOL_ORDER);
	unsigned long i;

	if (!first)
		return -ENOMEM;
	split_page(first, POOL_ORDER);
	for (i = 0; i < POOL_PAGES; i++)
		pool_pages[i] = first + i;
	pool_reset();
	return 0;
}

void pool_exit(void)
{
	unsigned long i;

	for (i = 0; i < POOL_PAGES; i++)
		__free_page(pool_pages[i]);
}

void pool_count(struct mmap_testbed_counts *counts)
{
	unsigned long i;

	for (i = 0; i < POOL_PAGES; i++) {
		counts->page_count += page_count(pool_pages[i]);
		counts->page_mapcount +=
			folio_mapcount(page_folio(pool_pages[i]));
	}
}

int pool_range(const struct mmap_testbed_plan *plan, unsigned long vma_size,
	       unsigned long *size)
{
	bool area = plan->action == MMAP_TESTBED_ACTION_SIMPLE_IOREMAP;
	unsigned long room = (POOL_PAGES - plan->pool_page) << PAGE_SHIFT;

	if (area)
		room -= plan->pool_byte;
	if (plan->fields & MMAP_TESTBED_ACTION_SIZE)
		*size = plan->action_size;
	else
		*size = area ? room : vma_size;
	/* The core has to refuse one that goes on beyond the last address. */
	if (area && *size > LONG_MAX)
		return 0;
	return *size > room ? -ENXIO : 0;
}
