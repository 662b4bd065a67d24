// SPDX-License-Identifier: GPL-2.0
/* The memory that both devices map. */
#include "memory.h"
#include "mmap_testbed.h"
#include "mmap_uio.h"

struct page *pool_pages[POOL_PAGES];

int pool_init(void)
{
	int err = memory_alloc_split(pool_pages, POOL_ORDER);

	if (!err)
		memory_fill(pool_pages[0], POOL_PAGES, MMAP_TESTBED_UIO_MAGIC);
	return err;
}

void pool_exit(void)
{
	memory_free_split(pool_pages, POOL_ORDER);
}
