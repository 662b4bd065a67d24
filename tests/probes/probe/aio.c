// SPDX-License-Identifier: GPL-2.0
/* io_setup, io_destroy: the ring of an AIO context, which the kernel maps */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe.h"

/* The head of the ring; as struct aio_ring of fs/aio.c. */
struct ring {
	uint32_t id;
	uint32_t nr;
	uint32_t head;
	uint32_t tail;
	uint32_t magic;
	uint32_t compat_features;
	uint32_t incompat_features;
	uint32_t header_length;
};

static size_t length_of(const struct ring *ring)
{
	size_t len = sizeof(*ring) + ring->nr * sizeof(struct io_event);

	return page_align(len);
}

/* The number of a context is the address of its mapped ring. */
void io_setup_step(struct step *step)
{
	const char *name = word(step, 1);
	uint64_t events = parse_number(word(step, 2));
	struct mapping mapping = { };
	aio_context_t context = 0;
	long result;
	int err;

	no_more_words(step);
	result = syscall(SYS_io_setup, events, &context);
	err = result < 0 ? errno : 0;
	if (!err) {
		mapping.addr = context;
		mapping.len = length_of((struct ring *)mapping.addr);
	}
	name_mapping(name, mapping);
	report_mapping(step, name, (void *)mapping.addr, mapping.len, err);
}

void io_destroy_step(struct step *step)
{
	struct mapping mapping = mapping_of(word(step, 1));

	no_more_words(step);
	report_result(step, syscall(SYS_io_destroy, (aio_context_t)mapping.addr));
}
