// SPDX-License-Identifier: GPL-2.0
/* fb, sg, usbmon, proc-pci, mem, stm: devices that report the size or the place of their memory. */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <linux/fb.h>
#include <linux/pci.h>
#include <linux/pci_regs.h>
#include <linux/stm.h>
#include <scsi/sg.h>
#include <string.h>
#include <unistd.h>

#include "opener.h"

/* The channels of a policy of this name are mapped (stp-policy in configfs). */
#define STM_POLICY		"default"

/* Documentation/usb/usbmon.rst */
#define MON_IOCQ_RING_SIZE	_IO(0x92, 5)

int open_fb(struct step *step, struct opening *opening)
{
	int fd = open_device(step, opening);
	struct fb_fix_screeninfo info;

	if (fd < 0)
		return -1;
	if (tried(opening, "FBIOGET_FSCREENINFO", ioctl(fd, FBIOGET_FSCREENINFO, &info)))
		return drop(fd);
	opening->length = info.smem_len;
	return fd;
}

int open_sg(struct step *step, struct opening *opening)
{
	int fd = open_device(step, opening);
	int size = SOME_PAGES * page_size();

	if (fd < 0)
		return -1;
	if (tried(opening, "SG_SET_RESERVED_SIZE", ioctl(fd, SG_SET_RESERVED_SIZE, &size)) ||
	    tried(opening, "SG_GET_RESERVED_SIZE", ioctl(fd, SG_GET_RESERVED_SIZE, &size)))
		return drop(fd);
	opening->length = size;
	return fd;
}

int open_usbmon(struct step *step, struct opening *opening)
{
	int fd = open_device(step, opening);
	int size;

	if (fd < 0)
		return -1;
	size = tried(opening, "MON_IOCQ_RING_SIZE", ioctl(fd, MON_IOCQ_RING_SIZE));
	if (size < 0)
		return drop(fd);
	opening->length = size;
	return fd;
}

/* Returns 0, or -1 with errno. */
static int read_bar(int fd, uint64_t *start)
{
	uint64_t bar;

	if (pread(fd, &bar, sizeof(bar), PCI_BASE_ADDRESS_2) != sizeof(bar))
		return -1;
	bar = le64toh(bar);
	if ((bar & PCI_BASE_ADDRESS_MEM_TYPE_MASK) != PCI_BASE_ADDRESS_MEM_TYPE_64)
		bar = (uint32_t)bar;
	*start = bar & PCI_BASE_ADDRESS_MEM_MASK;
	return 0;
}

/* BAR 2 of the device whose file of /proc/bus/pci this is. */
int open_proc_pci(struct step *step, struct opening *opening)
{
	int fd = open_device(step, opening);

	if (fd < 0)
		return -1;
	if (tried(opening, "the configuration space", read_bar(fd, &opening->offset)) ||
	    tried(opening, "PCIIOC_MMAP_IS_MEM", ioctl(fd, PCIIOC_MMAP_IS_MEM)))
		return drop(fd);
	return fd;
}

/* /dev/mem at the same place: memory that neither the kernel nor firmware uses. */
int open_mem(struct step *step, struct opening *opening)
{
	int device = tried(opening, "open", open(must_option(step, "path"), O_RDONLY | O_CLOEXEC));
	int result;

	if (device < 0)
		return -1;
	result = tried(opening, "the configuration space", read_bar(device, &opening->offset));
	drop(device);
	if (result)
		return -1;
	return tried(opening, "open", open("/dev/mem", opening->access | O_CLOEXEC));
}

/* The first channel of a System Trace Module. */
int open_stm(struct step *step, struct opening *opening)
{
	char room[sizeof(struct stp_policy_id) + sizeof(STM_POLICY)] = {};
	struct stp_policy_id *id = (struct stp_policy_id *)room;
	int fd = open_device(step, opening);

	if (fd < 0)
		return -1;
	id->size = sizeof(room);
	id->width = 1;
	memcpy(id->id, STM_POLICY, sizeof(STM_POLICY));
	opening->length = page_size();
	if (tried(opening, "STP_POLICY_ID_SET", ioctl(fd, STP_POLICY_ID_SET, id)))
		return drop(fd);
	return fd;
}
