// SPDX-License-Identifier: GPL-2.0
/* secretmem, stm, io_setup, io_destroy: hooks that open(2) alone does not reach */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/stm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret	447
#endif

/* The policy that every channel comes from; see configfs' stp-policy. */
#define STM_POLICY	"default"

void secretmem_step(struct step *step)
{
	const char *name = word(step, 1);
	uint64_t size = parse_number(word(step, 2));
	int fd, err;

	no_more_words(step);
	fd = syscall(SYS_memfd_secret, 0);
	err = fd < 0 || ftruncate(fd, size) ? errno : 0;
	name_fd(name, fd);
	json_begin(step);
	json_str("name", name);
	json_int("fd", fd);
	json_errno(err);
	json_end();
}

/* An open STM device maps the channel that it was given. */
void stm_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	char room[sizeof(struct stp_policy_id) + sizeof(STM_POLICY)] = {};
	struct stp_policy_id *id = (struct stp_policy_id *)room;

	no_more_words(step);
	id->size = sizeof(room);
	id->width = 1;
	memcpy(id->id, STM_POLICY, sizeof(STM_POLICY));
	report_result(step, ioctl(fd, STP_POLICY_ID_SET, id));
}

/* The head of the ring, which the kernel shares with libaio (fs/aio.c). */
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

	return (len + page_size() - 1) & ~(page_size() - 1);
}

/* A context's number is the address at which its ring is mapped. */
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
