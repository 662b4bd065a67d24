// SPDX-License-Identifier: GPL-2.0
/*
 * mmap_stm.ko: a System Trace Module device with channels that can be mapped.
 * The in-tree dummy device (drivers/hwtracing/stm/dummy_stm.c) lacks them. The
 * registers are RAM.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/stm.h>

#include "memory.h"
#include "mmap_testbed.h"

#define NR_CHANNELS	4

/* One master; channel n is page n. */
static struct page *registers;

/* Drops the packet, as dummy_stm_packet() does. */
static ssize_t packet(struct stm_data *data, unsigned int master,
		      unsigned int channel, unsigned int type,
		      unsigned int flags, unsigned int size,
		      const unsigned char *payload)
{
	return type == STP_PACKET_DATA ? size : 0;
}

static phys_addr_t mmio_addr(struct stm_data *data, unsigned int master,
			     unsigned int channel, unsigned int nr_channels)
{
	return page_to_phys(registers + channel);
}

static struct stm_data device = {
	.name = "mmap_stm",
	.sw_nchannels = NR_CHANNELS,
	.sw_mmiosz = PAGE_SIZE,
	.packet = packet,
	.mmio_addr = mmio_addr,
};

static int __init mmap_stm_init(void)
{
	int err;

	registers = alloc_pages(GFP_KERNEL, get_order(NR_CHANNELS * PAGE_SIZE));
	if (!registers)
		return -ENOMEM;
	memory_fill(registers, NR_CHANNELS, MMAP_TESTBED_POOL_MAGIC);
	err = stm_register_device(NULL, &device, THIS_MODULE);
	if (err)
		__free_pages(registers, get_order(NR_CHANNELS * PAGE_SIZE));
	return err;
}

static void __exit mmap_stm_exit(void)
{
	stm_unregister_device(&device);
	__free_pages(registers, get_order(NR_CHANNELS * PAGE_SIZE));
}

module_init(mmap_stm_init);
module_exit(mmap_stm_exit);
MODULE_DESCRIPTION("a System Trace Module device whose channels can be mapped");
MODULE_LICENSE("GPL");
