// SPDX-License-Identifier: GPL-2.0
/* opener: opens a file by the calls of its kind. The rest of the folder has a file for each kind. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "opener.h"

static const struct {
	const char *name;
	opener_function *open;
} openers[] = {
	{ "bpf", open_bpf },
	{ "dma-heap", open_dma_heap },
	{ "drm-dumb", open_drm_dumb },
	{ "drm-prime", open_drm_prime },
	{ "dvb", open_dvb },
	{ "fb", open_fb },
	{ "io_uring", open_io_uring },
	{ "kcov", open_kcov },
	{ "kvm", open_kvm },
	{ "mem", open_mem },
	{ "memfd", open_memfd },
	{ "memfd-huge", open_memfd_huge },
	{ "oss", open_oss },
	{ "packet", open_packet },
	{ "pcm", open_pcm },
	{ "perf", open_perf },
	{ "proc-pci", open_proc_pci },
	{ "secretmem", open_secretmem },
	{ "sg", open_sg },
	{ "stm", open_stm },
	{ "tcp", open_tcp },
	{ "ublk", open_ublk },
	{ "udmabuf", open_udmabuf },
	{ "usbmon", open_usbmon },
	{ "uverbs", open_uverbs },
	{ "v4l2", open_v4l2 },
	{ "v4l2-export", open_v4l2_export },
	{ "vfio", open_vfio },
	{ "xsk", open_xsk },
};

static opener_function *find_opener(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(openers); i++)
		if (!strcmp(openers[i].name, name))
			return openers[i].open;
	usage("unknown opener '%s'", name);
}

static int access_word(struct step *step)
{
	if (has_word(step, "ro"))
		return O_RDONLY;
	if (has_word(step, "wo"))
		return O_WRONLY;
	has_word(step, "rw");
	return O_RDWR;
}

/* A socket is always open for reading and writing: there is none for reading only. */
static int with_access(int fd, struct opening *opening)
{
	if (fd < 0 || (fcntl(fd, F_GETFL) & O_ACCMODE) == opening->access)
		return fd;
	opening->failed = "the mode of open(2)";
	errno = EOPNOTSUPP;
	return drop(fd);
}

static void report_opening(const struct step *step, const char *name, int fd,
			   int err, const struct opening *opening)
{
	json_begin(step);
	json_str("name", name);
	json_int("fd", fd);
	json_errno(err);
	if (err) {
		json_str("failed", opening->failed ?: "");
	} else {
		json_hex("mmap_offset", opening->offset);
		json_int("pages", page_align(opening->length) / page_size());
	}
	json_end();
}

void opener_step(struct step *step)
{
	const char *name = word(step, 1);
	opener_function *open_it = find_opener(word(step, 2));
	struct opening opening = { .access = access_word(step) };
	int fd = with_access(open_it(step, &opening), &opening);
	int err = fd < 0 ? errno : 0;

	no_more_words(step);
	name_fd(name, fd);
	if (!err)
		mmap_offset = opening.offset;
	report_opening(step, name, fd, err, &opening);
}
