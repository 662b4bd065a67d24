// SPDX-License-Identifier: GPL-2.0
/*
 * map, munmap, mprotect, mremap, madvise, mlock, munlock, msync,
 * remap_file_pages
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "probe.h"

#ifndef MAP_32BIT
#define MAP_32BIT	0x40
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE	0x08
#endif

static const struct flag map_flags[] = {
	{ "shared", MAP_SHARED },
	{ "private", MAP_PRIVATE },
	{ "shared_validate", MAP_SHARED_VALIDATE },
	{ "fixed", MAP_FIXED },
	{ "fixed_noreplace", MAP_FIXED_NOREPLACE },
	{ "anonymous", MAP_ANONYMOUS },
	{ "noreserve", MAP_NORESERVE },
	{ "locked", MAP_LOCKED },
	{ "populate", MAP_POPULATE },
	{ "nonblock", MAP_NONBLOCK },
	{ "sync", MAP_SYNC },
	{ "stack", MAP_STACK },
	{ "growsdown", MAP_GROWSDOWN },
	{ "32bit", MAP_32BIT },
	{ "droppable", MAP_DROPPABLE },
	{ "hugetlb", MAP_HUGETLB },
	{ }
};

static const struct flag mremap_flags[] = {
	{ "maymove", MREMAP_MAYMOVE },
	{ "fixed", MREMAP_FIXED },
	{ "dontunmap", MREMAP_DONTUNMAP },
	{ }
};

static const struct flag msync_flags[] = {
	{ "sync", MS_SYNC },
	{ "async", MS_ASYNC },
	{ "invalidate", MS_INVALIDATE },
	{ }
};

static const struct flag advices[] = {
	{ "normal", MADV_NORMAL },
	{ "random", MADV_RANDOM },
	{ "sequential", MADV_SEQUENTIAL },
	{ "willneed", MADV_WILLNEED },
	{ "dontneed", MADV_DONTNEED },
	{ "remove", MADV_REMOVE },
	{ "free", MADV_FREE },
	{ "dontfork", MADV_DONTFORK },
	{ "dofork", MADV_DOFORK },
	{ "wipeonfork", MADV_WIPEONFORK },
	{ "keeponfork", MADV_KEEPONFORK },
	{ "dontdump", MADV_DONTDUMP },
	{ "dodump", MADV_DODUMP },
	{ "hugepage", MADV_HUGEPAGE },
	{ "nohugepage", MADV_NOHUGEPAGE },
	{ "mergeable", MADV_MERGEABLE },
	{ "unmergeable", MADV_UNMERGEABLE },
	{ "populate_read", MADV_POPULATE_READ },
	{ "populate_write", MADV_POPULATE_WRITE },
	{ "cold", MADV_COLD },
	{ "pageout", MADV_PAGEOUT },
	{ }
};

static int choose_flags(struct step *step, bool anonymous)
{
	const char *text = option(step, "flags");
	int flags = anonymous ? MAP_PRIVATE : MAP_SHARED;

	if (text)
		flags = parse_flags(text, map_flags, "flag of mmap");
	return flags | (anonymous ? MAP_ANONYMOUS : 0);
}

void map_step(struct step *step)
{
	const char *name = word(step, 1);
	const char *file = word(step, 2);
	bool anonymous = !strcmp(file, "anon");
	int fd = anonymous ? -1 : fd_of(file);
	int flags = choose_flags(step, anonymous);
	const char *prot = option(step, "prot");
	const char *addr = option(step, "addr");
	off_t offset = number_option(step, "off", 0) + (anonymous ? 0 : mmap_offset);
	struct mapping mapping = { .len = number_option(step, "len", 0) };
	void *at, *hint = addr ? (void *)parse_address(addr) : NULL;
	int err;

	no_more_words(step);
	at = subject(mmap(hint, mapping.len, prot ? parse_prot(prot) :
			  PROT_READ | PROT_WRITE, flags, fd, offset));
	err = at == MAP_FAILED ? errno : 0;
	report_mapping(step, name, at, mapping.len, err);
	if (err)
		mapping.len = 0;
	else
		mapping.addr = (unsigned long)at;
	name_mapping(name, mapping);
}

static struct mapping run_of(struct step *step, int index)
{
	struct mapping mapping = mapping_of(word(step, 1));

	return parse_run(optional_word(step, index), mapping);
}

void munmap_step(struct step *step)
{
	struct mapping run = run_of(step, 2);

	no_more_words(step);
	report_result(step, subject(munmap((void *)run.addr, run.len)));
}

void mprotect_step(struct step *step)
{
	struct mapping run = run_of(step, 2);
	const char *prot = option(step, "prot");

	no_more_words(step);
	if (!prot)
		usage("mprotect: prot= is missing");
	report_result(step, subject(mprotect((void *)run.addr, run.len, parse_prot(prot))));
}

void mremap_step(struct step *step)
{
	const char *name = word(step, 1);
	const char *as = option(step, "as") ?: name;
	struct mapping old = mapping_of(name), new;
	unsigned long from = number_option(step, "from", 0);
	const char *flag_text = option(step, "flags");
	const char *addr = option(step, "addr");
	int flags = flag_text ?
		parse_flags(flag_text, mremap_flags, "flag of mremap") : 0;
	void *at, *to = addr ? (void *)parse_address(addr) : NULL;
	size_t old_len = number_option(step, "old", old.len - from);
	int err;

	new.len = number_option(step, "len", old_len);
	no_more_words(step);
	at = subject(mremap((void *)(old.addr + from), old_len, new.len, flags,
			    to));
	err = at == MAP_FAILED ? errno : 0;
	report_mapping(step, as, at, new.len, err);
	if (!err)
		new.addr = (unsigned long)at;
	else
		new = as == name ? old : (struct mapping){};
	name_mapping(as, new);
}

void madvise_step(struct step *step)
{
	int advice = parse_flag(word(step, 2), advices, "advice");
	struct mapping run = run_of(step, 3);

	no_more_words(step);
	report_result(step, subject(madvise((void *)run.addr, run.len, advice)));
}

void mlock_step(struct step *step)
{
	struct mapping run = run_of(step, 2);

	no_more_words(step);
	report_result(step, subject(mlock((void *)run.addr, run.len)));
}

void munlock_step(struct step *step)
{
	struct mapping run = run_of(step, 2);

	no_more_words(step);
	report_result(step, subject(munlock((void *)run.addr, run.len)));
}

void msync_step(struct step *step)
{
	struct mapping run = run_of(step, 2);
	const char *text = option(step, "flags");
	int flags = MS_SYNC;

	if (text)
		flags = parse_flags(text, msync_flags, "flag of msync");
	no_more_words(step);
	report_result(step, subject(msync((void *)run.addr, run.len, flags)));
}

void remap_file_pages_step(struct step *step)
{
	struct mapping run = run_of(step, 2);
	uint64_t offset = number_option(step, "off", 0);

	no_more_words(step);
	report_result(step, subject(remap_file_pages((void *)run.addr, run.len, 0,
					      offset / page_size(), 0)));
}
