// SPDX-License-Identifier: GPL-2.0
/* The devices and their maps. */
#include <linux/module.h>

#include "hook_log.h"
#include "mmap_uio.h"

static struct device *parent;

static struct uio_info hooked = {
	.name = "mmap_uio",
	.version = "1",
	.irq = UIO_IRQ_NONE,
	.mmap_prepare = mmap_uio_prepare,
};

static struct uio_info legacy = {
	.name = "mmap_uio_legacy",
	.version = "1",
	.irq = UIO_IRQ_NONE,
};

/*
 * uio.c maps map 0 on faults and map 1 at once. UIO_MEM_IOVA does not change
 * the caching, which suits RAM.
 */
static void describe_maps(struct uio_info *info)
{
	info->mem[0] = (struct uio_mem) {
		.name = "logical",
		.addr = (unsigned long)page_address(pool_pages[0]),
		.size = MAP_PAGES * PAGE_SIZE,
		.memtype = UIO_MEM_LOGICAL,
	};
	info->mem[1] = (struct uio_mem) {
		.name = "physical",
		.addr = page_to_phys(pool_pages[MAP_PAGES]),
		.size = MAP_PAGES * PAGE_SIZE,
		.memtype = UIO_MEM_IOVA,
	};
}

/*
 * Maps that begin or end within a page. What uio.c serves on faults has all
 * pages that such a map touches; it remaps only what begins a page and is
 * long enough.
 */
static void describe_odd_maps(struct uio_info *info)
{
	info->mem[2] = (struct uio_mem) {
		.name = "askew",
		.addr = (unsigned long)page_address(pool_pages[0]) + PAGE_SIZE / 2,
		.size = PAGE_SIZE,
		.memtype = UIO_MEM_LOGICAL,
	};
	info->mem[3] = (struct uio_mem) {
		.name = "physical_askew",
		.addr = page_to_phys(pool_pages[0]) + PAGE_SIZE / 2,
		.size = PAGE_SIZE,
		.memtype = UIO_MEM_IOVA,
	};
	info->mem[4] = (struct uio_mem) {
		.name = "physical_short",
		.addr = page_to_phys(pool_pages[0]),
		.size = PAGE_SIZE / 2,
		.memtype = UIO_MEM_IOVA,
	};
}

static int register_devices(void)
{
	int err;

	parent = root_device_register("mmap_uio");
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	describe_maps(&hooked);
	describe_maps(&legacy);
	describe_odd_maps(&legacy);
	err = uio_register_device(parent, &hooked);
	if (err)
		goto unregister_parent;
	err = uio_register_device(parent, &legacy);
	if (err)
		goto unregister_hooked;
	return 0;

unregister_hooked:
	uio_unregister_device(&hooked);
unregister_parent:
	root_device_unregister(parent);
	return err;
}

static const struct hook_log_names log_names = {
	.dir = "mmap_uio",
	.vm_ops = (const struct hook_log_vm_ops[]) {
		{ &mmap_uio_vm_ops, "uio" },
		{ }
	},
	.memory = "uio",
};

static int __init mmap_uio_init(void)
{
	int err = mmap_uio_check_parameters();

	if (!err)
		err = pool_init();
	if (err)
		return err;
	err = hook_log_init(&log_names, page_to_pfn(pool_pages[0]), POOL_PAGES);
	if (err)
		goto free_pool;
	err = register_devices();
	if (err)
		goto exit_log;
	return 0;

exit_log:
	hook_log_exit();
free_pool:
	pool_exit();
	return err;
}

static void __exit mmap_uio_exit(void)
{
	uio_unregister_device(&legacy);
	uio_unregister_device(&hooked);
	root_device_unregister(parent);
	hook_log_exit();
	pool_exit();
}

module_init(mmap_uio_init);
module_exit(mmap_uio_exit);
MODULE_DESCRIPTION("UIO devices with and without an mmap_prepare hook");
MODULE_LICENSE("GPL");
