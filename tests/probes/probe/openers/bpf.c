// SPDX-License-Identifier: GPL-2.0
/* bpf: a map that can be mapped. */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "opener.h"

/* Linux 6.9. */
#define MAP_TYPE_ARENA	33

static const struct flag maps[] = {
	{ "array", BPF_MAP_TYPE_ARRAY },
	{ "ringbuf", BPF_MAP_TYPE_RINGBUF },
	{ "user-ringbuf", BPF_MAP_TYPE_USER_RINGBUF },
	{ "arena", MAP_TYPE_ARENA },
	{ }
};

int open_bpf(struct step *step, struct opening *opening)
{
	union bpf_attr attr = {
		.map_type = parse_flag(must_option(step, "map"), maps, "map"),
	};

	opening->length = SOME_PAGES * page_size();
	switch (attr.map_type) {
	case BPF_MAP_TYPE_ARRAY:
		attr.key_size = sizeof(uint32_t);
		attr.value_size = page_size();
		attr.max_entries = SOME_PAGES;
		attr.map_flags = BPF_F_MMAPABLE;
		break;
	case MAP_TYPE_ARENA:
		attr.max_entries = SOME_PAGES;
		attr.map_flags = BPF_F_MMAPABLE;
		break;
	default: /* bytes; two pages of positions, and the data twice */
		attr.max_entries = opening->length;
		opening->length = 2 * (opening->length + page_size());
	}
	return tried(opening, "BPF_MAP_CREATE",
		     syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}
