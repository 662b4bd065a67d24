// SPDX-License-Identifier: GPL-2.0
/* The pool: the memory that all nodes map. */
#include "memory.h"
#include "mmap_stack.h"

struct page *pool_pages[POOL_PAGES];

void pool_reset(void)
{
	memory_fill(pool_pages[0], POOL_PAGES, MMAP_TESTBED_POOL_MAGIC);
}

int pool_init(void)
{
	int err = memory_alloc_split(pool_pages, POOL_ORDER);

	if (!err)
		pool_reset();
	return err;
}

void pool_exit(void)
{
	memory_free_split(pool_pages, POOL_ORDER);
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
	/* The core has to refuse a size that exceeds the address space. */
	if (area && *size > LONG_MAX)
		return 0;
	return *size > room ? -ENXIO : 0;
}
