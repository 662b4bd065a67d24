/* SPDX-License-Identifier: GPL-2.0 */
/* Openers: the system calls that end in a file that can be mapped. docs/drivers.md lists them. */
#ifndef OPENER_H
#define OPENER_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "../probe.h"

/* The offsets that a trial adds must stay below the length: this many pages at least. */
#define SOME_PAGES	8

/**
 * struct opening - what an opener is asked for, and what it has found
 * @access: O_RDWR, O_RDONLY or O_WRONLY
 * @failed: the call that failed, with its errno
 * @offset: file offset at which the memory begins
 * @length: its length in bytes, 0 if there is no limit
 */
struct opening {
	int access;
	const char *failed;
	uint64_t offset;
	uint64_t length;
};

/* Returns the descriptor of the file to map, or -1 with errno. */
typedef int opener_function(struct step *step, struct opening *opening);

opener_function open_bpf, open_dma_heap, open_drm_dumb, open_drm_prime, open_dvb, open_fb,
	open_io_uring, open_kcov, open_kvm, open_mem, open_memfd, open_memfd_huge, open_oss,
	open_packet, open_pcm, open_perf, open_proc_pci, open_secretmem, open_sg, open_stm,
	open_tcp, open_ublk, open_udmabuf, open_usbmon, open_uverbs, open_v4l2, open_v4l2_export,
	open_vfio, open_xsk;

/* Returns the result of a call, and names it if it is the first that failed. */
long tried(struct opening *opening, const char *what, long result);

/* Opens the device of the option path=. */
int open_device(struct step *step, struct opening *opening);

/* Closes a file whose preparation failed, keeps errno, and returns -1. */
int drop(int fd);

/* The value of an option that must be there. */
const char *must_option(struct step *step, const char *key);

#endif /* OPENER_H */
