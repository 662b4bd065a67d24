/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mmap_uio.ko: two UIO devices with the same memory. One has an mmap_prepare
 * hook, which uio_mmap() of drivers/uio/uio.c calls. The other has none, so
 * uio_mmap() maps its memory by itself.
 */
#ifndef MMAP_UIO_H
#define MMAP_UIO_H

#include <linux/mm.h>
#include <linux/uio_driver.h>

/* Each device has two maps. Each map is half of the pool. */
#define POOL_ORDER	3
#define POOL_PAGES	(1 << POOL_ORDER)
#define MAP_PAGES	(POOL_PAGES / 2)

/* pool.c */
extern struct page *pool_pages[POOL_PAGES];

int pool_init(void);
void pool_exit(void);

/* prepare.c */
int mmap_uio_check_parameters(void);
int mmap_uio_prepare(struct uio_info *info, struct vm_area_desc *desc);

extern const struct vm_operations_struct mmap_uio_vm_ops;

#endif /* MMAP_UIO_H */
