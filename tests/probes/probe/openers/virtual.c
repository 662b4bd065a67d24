// SPDX-License-Identifier: GPL-2.0
/* vfio: a region of a device. kvm: the page of a virtual processor, or memory of a machine. */
#define _GNU_SOURCE
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <unistd.h>

#include "opener.h"

/* Linux 6.6. */
#define BIND_IOMMUFD	_IO(VFIO_TYPE, VFIO_BASE + 18)

struct binding {
	uint32_t size;
	uint32_t flags;
	int32_t iommufd;
	uint32_t device; /* set by the kernel */
};

/* The device keeps what the file of /dev/iommu stands for. */
static int bind_device(int fd)
{
	struct binding binding = { .size = sizeof(binding) };
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC), result;

	if (iommufd < 0)
		return -1;
	binding.iommufd = iommufd;
	result = ioctl(fd, BIND_IOMMUFD, &binding);
	drop(iommufd);
	return result;
}

int open_vfio(struct step *step, struct opening *opening)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = atoi(must_option(step, "region")),
	};
	int fd = open_device(step, opening);

	if (fd < 0)
		return -1;
	if (tried(opening, "VFIO_DEVICE_BIND_IOMMUFD", bind_device(fd)) ||
	    tried(opening, "VFIO_DEVICE_GET_REGION_INFO",
		  ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &region)))
		return drop(fd);
	opening->offset = region.offset;
	opening->length = region.size;
	return fd;
}

/* Linux 6.8, with flags of 6.18. */
struct machine_memory {
	uint64_t size;
	uint64_t flags;
	uint64_t reserved[6];
};

#define CREATE_GUEST_MEMFD	_IOWR(KVMIO, 0xd4, struct machine_memory)
#define MEMORY_MMAP		1
#define MEMORY_SHARED		2

enum { VCPU, MEMORY };

static const struct flag parts[] = {
	{ "vcpu", VCPU },
	{ "memory", MEMORY },
	{ }
};

static int open_vcpu(int kvm, int machine, struct opening *opening)
{
	int size = tried(opening, "KVM_GET_VCPU_MMAP_SIZE",
			 ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));

	if (size < 0)
		return -1;
	opening->length = size;
	return tried(opening, "KVM_CREATE_VCPU", ioctl(machine, KVM_CREATE_VCPU, 0));
}

static int open_memory(int machine, struct opening *opening)
{
	struct machine_memory memory = {
		.size = 2 * SOME_PAGES * page_size(),
		.flags = MEMORY_MMAP | MEMORY_SHARED,
	};

	opening->length = memory.size;
	return tried(opening, "KVM_CREATE_GUEST_MEMFD",
		     ioctl(machine, CREATE_GUEST_MEMFD, &memory));
}

int open_kvm(struct step *step, struct opening *opening)
{
	int part = parse_flag(must_option(step, "part"), parts, "part");
	int kvm = tried(opening, "open", open("/dev/kvm", O_RDWR | O_CLOEXEC));
	int machine, fd;

	if (kvm < 0)
		return -1;
	machine = tried(opening, "KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, 0));
	if (machine < 0)
		return drop(kvm);
	fd = part == VCPU ? open_vcpu(kvm, machine, opening) : open_memory(machine, opening);
	drop(machine);
	drop(kvm);
	return fd;
}
