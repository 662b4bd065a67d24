// SPDX-License-Identifier: GPL-2.0
/* plan, lower, replacement, counts, reset, vma, ptes: the ioctls of mmap_stack.ko */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmap_testbed.h"
#include "probe.h"

/* Any node serves the ioctls that do not concern an open file. */
#define ANY_NODE	"/dev/mmap_none"

enum kind { NUMBER, ERROR, CHOICE, SWITCH };

/* @field: the bit in plan.fields, 0 if the field always counts */
struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	uint32_t field;
	const struct flag *choices;
};

static const struct flag page_prots[] = {
	{ "noncached", MMAP_TESTBED_PROT_NONCACHED },
	{ "writecombine", MMAP_TESTBED_PROT_WRITECOMBINE },
	{ }
};

static const struct flag vm_ops[] = {
	{ "leave", MMAP_TESTBED_OPS_LEAVE },
	{ "null", MMAP_TESTBED_OPS_NULL },
	{ "full", MMAP_TESTBED_OPS_FULL },
	{ "noclose", MMAP_TESTBED_OPS_NOCLOSE },
	{ "nomapped", MMAP_TESTBED_OPS_NOMAPPED },
	{ "mkwrite", MMAP_TESTBED_OPS_MKWRITE },
	{ }
};

static const struct flag actions[] = {
	{ "none", MMAP_TESTBED_ACTION_NONE },
	{ "remap", MMAP_TESTBED_ACTION_REMAP },
	{ "ioremap", MMAP_TESTBED_ACTION_IOREMAP },
	{ "simple_ioremap", MMAP_TESTBED_ACTION_SIMPLE_IOREMAP },
	{ "kernel_pages", MMAP_TESTBED_ACTION_KERNEL_PAGES },
	{ "unknown", MMAP_TESTBED_ACTION_UNKNOWN },
	{ }
};

static const struct flag replaces[] = {
	{ "shmem", MMAP_TESTBED_REPLACE_SHMEM },
	{ "file", MMAP_TESTBED_REPLACE_FILE },
	{ }
};

#define AT(member)	offsetof(struct mmap_testbed_plan, member)

static const struct key keys[] = {
	{ "set_flags", NUMBER, AT(set_flags), 0, NULL },
	{ "clear_flags", NUMBER, AT(clear_flags), 0, NULL },
	{ "pgoff", NUMBER, AT(pgoff), MMAP_TESTBED_PGOFF, NULL },
	{ "private", NUMBER, AT(private_data), MMAP_TESTBED_PRIVATE, NULL },
	{ "mapped_private", NUMBER, AT(mapped_private),
	  MMAP_TESTBED_MAPPED_PRIVATE, NULL },
	{ "action_offset", NUMBER, AT(action_offset),
	  MMAP_TESTBED_ACTION_OFFSET, NULL },
	{ "action_size", NUMBER, AT(action_size),
	  MMAP_TESTBED_ACTION_SIZE, NULL },
	{ "pool_page", NUMBER, AT(pool_page), 0, NULL },
	{ "pool_byte", NUMBER, AT(pool_byte), 0, NULL },
	{ "pfn", NUMBER, AT(pfn), MMAP_TESTBED_PFN, NULL },
	{ "bad_page", NUMBER, AT(bad_page), MMAP_TESTBED_BAD_PAGE, NULL },
	{ "shrink_start", NUMBER, AT(shrink_start), 0, NULL },
	{ "shrink_end", NUMBER, AT(shrink_end), 0, NULL },
	{ "widen_end", NUMBER, AT(widen_end), 0, NULL },
	{ "page_prot", CHOICE, AT(page_prot), 0, page_prots },
	{ "vm_ops", CHOICE, AT(vm_ops), 0, vm_ops },
	{ "action", CHOICE, AT(action), 0, actions },
	{ "replace", CHOICE, AT(replace), 0, replaces },
	{ "hook_error", ERROR, AT(hook_error), 0, NULL },
	{ "hook_error_after", ERROR, AT(hook_error_after), 0, NULL },
	{ "mapped_error", ERROR, AT(mapped_error), 0, NULL },
	{ "outer_error", ERROR, AT(outer_error), 0, NULL },
	{ "error_override", ERROR, AT(error_override), 0, NULL },
	{ "late_page_prot", SWITCH, 0, MMAP_TESTBED_LATE_PAGE_PROT, NULL },
	{ "late", SWITCH, 0, MMAP_TESTBED_LATE, NULL },
	{ "hide", SWITCH, 0, MMAP_TESTBED_HIDE, NULL },
	{ "scribble", SWITCH, 0, MMAP_TESTBED_SCRIBBLE, NULL },
	{ "unchecked", SWITCH, 0, MMAP_TESTBED_UNCHECKED, NULL },
	{ }
};

static void set_key(struct mmap_testbed_plan *plan, const struct key *key,
		    const char *value)
{
	char *at = (char *)plan + key->offset;
	uint64_t number;
	uint32_t choice;
	int32_t err;

	plan->fields |= key->field;
	switch (key->kind) {
	case NUMBER:
		number = parse_number(value);
		memcpy(at, &number, sizeof(number));
		break;
	case ERROR:
		err = parse_error(value);
		memcpy(at, &err, sizeof(err));
		break;
	case CHOICE:
		choice = parse_flag(value, key->choices, key->name);
		memcpy(at, &choice, sizeof(choice));
		break;
	case SWITCH:
		if (parse_number(value) != 1)
			usage("%s=%s: must be 1", key->name, value);
		break;
	}
}

static const struct key *find_key(const char *name)
{
	const struct key *key;

	for (key = keys; key->name; key++)
		if (!strcmp(key->name, name))
			return key;
	usage("a plan has no '%s'", name);
}

void plan_step(struct step *step)
{
	struct mmap_testbed_plan plan = { .size = sizeof(plan) };
	int fd = fd_of(word(step, 1));
	char *key, *value;

	while (next_option(step, &key, &value))
		set_key(&plan, find_key(key), value);
	no_more_words(step);
	report_result(step, ioctl(fd, MMAP_TESTBED_SET_PLAN, &plan));
}

static void set_edge(struct step *step, unsigned long request)
{
	int fd = fd_of(word(step, 1));
	const char *name = word(step, 2);
	int target = strcmp(name, "none") ? fd_of(name) : -1;

	no_more_words(step);
	report_result(step, ioctl(fd, request, &target));
}

void lower_step(struct step *step)
{
	set_edge(step, MMAP_TESTBED_SET_LOWER);
}

void replacement_step(struct step *step)
{
	set_edge(step, MMAP_TESTBED_SET_REPLACEMENT);
}

void reset_step(struct step *step)
{
	int fd = fd_of(word(step, 1));

	no_more_words(step);
	report_result(step, ioctl(fd, MMAP_TESTBED_RESET_POOL));
}

static const char *const event_names[MMAP_TESTBED_NR_EVENTS] = {
	[MMAP_TESTBED_EV_PREPARE] = "prepare",
	[MMAP_TESTBED_EV_MMAP] = "mmap",
	[MMAP_TESTBED_EV_MAPPED] = "mapped",
	[MMAP_TESTBED_EV_OPEN] = "open",
	[MMAP_TESTBED_EV_CLOSE] = "close",
	[MMAP_TESTBED_EV_MAY_SPLIT] = "may_split",
	[MMAP_TESTBED_EV_MREMAP] = "mremap",
	[MMAP_TESTBED_EV_MPROTECT] = "mprotect",
	[MMAP_TESTBED_EV_FAULT] = "fault",
	[MMAP_TESTBED_EV_MKWRITE] = "mkwrite",
};

static void report_counts(const struct mmap_testbed_counts *counts)
{
	int i;

	json_int("id", counts->id);
	json_int("file", counts->file);
	json_int("lower", counts->lower);
	json_int("replacement", counts->replacement);
	json_int("page_count", counts->page_count);
	json_int("page_mapcount", counts->page_mapcount);
	json_int("pool_pages", find_module_memory().pool_pages);
	json_open("events", '{');
	for (i = 0; i < MMAP_TESTBED_NR_EVENTS; i++)
		json_int(event_names[i], counts->events[i]);
	json_close('}');
}

/*
 * A batch of the CPU holds a reference to each page that was locked or unlocked
 * (mm/mlock.c, mlock_folio()). As a side effect this advice empties the batch
 * (mm/madvise.c, madvise_cold()).
 */
static void empty_batches(void)
{
	static char page[1] __attribute__((aligned(65536)));

	madvise(page, 1, MADV_COLD);
}

void counts_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	struct mmap_testbed_counts counts;
	int err;

	no_more_words(step);
	empty_batches();
	err = ioctl(fd, MMAP_TESTBED_COUNTS, &counts) ? errno : 0;
	json_begin(step);
	json_errno(err);
	if (!err)
		report_counts(&counts);
	json_end();
}

static int open_any_node(void)
{
	return open(ANY_NODE, O_RDWR | O_CLOEXEC);
}

/* Returns 0 or an errno. */
static int ask(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) ? errno : 0;
}

void report_module_page(uint64_t pfn, const struct module_memory *memory)
{
	if (pfn - memory->pool_pfn < memory->pool_pages)
		json_int("pool", pfn - memory->pool_pfn);
	if (pfn - memory->ring_pfn < memory->ring_pages)
		json_int("ring", pfn - memory->ring_pfn);
}

static void report_pte(const struct mmap_testbed_vma *vma,
		       const struct module_memory *memory)
{
	if (!(vma->bits & MMAP_TESTBED_VMA_HAS_PTE))
		return;
	json_hex("pte_prot", vma->pte_prot);
	json_bool("pte_writable", vma->bits & MMAP_TESTBED_VMA_PTE_WRITABLE);
	json_hex("pte_pfn", vma->pte_pfn);
	report_module_page(vma->pte_pfn, memory);
}

static void report_vma(const struct mmap_testbed_vma *vma)
{
	json_hex("start", vma->start);
	json_hex("end", vma->end);
	json_hex("pgoff", vma->pgoff);
	json_hex("flags", vma->flags);
	json_hex("page_prot", vma->page_prot);
	json_hex("private", vma->private_data);
	json_str("vm_ops", vma->vm_ops);
	json_str("file", vma->file);
	json_bool("anon_vma", vma->bits & MMAP_TESTBED_VMA_ANON_VMA);
}

void vma_step(struct step *step)
{
	struct mapping mapping = mapping_of(word(step, 1));
	struct mapping run = parse_run(optional_word(step, 2), mapping);
	struct mmap_testbed_vma vma = { .addr = run.addr };
	int fd, err;

	no_more_words(step);
	fd = open_any_node();
	err = ask(fd, MMAP_TESTBED_VMA, &vma);
	close(fd);
	json_begin(step);
	json_errno(err);
	if (!err)
		report_vma(&vma);
	json_end();
}

static void report_ptes(int fd, struct mapping mapping,
			const struct pages *pages,
			const struct module_memory *memory)
{
	size_t i;

	for (i = 0; i < pages->count; i++) {
		struct mmap_testbed_vma vma = {
			.addr = mapping.addr + pages->index[i] * page_size(),
		};

		json_open(NULL, '{');
		json_int("page", pages->index[i]);
		json_errno(ask(fd, MMAP_TESTBED_VMA, &vma));
		report_pte(&vma, memory);
		json_close('}');
	}
}

void ptes_step(struct step *step)
{
	struct mapping mapping = mapping_of(word(step, 1));
	struct pages pages = parse_pages(optional_word(step, 2), mapping);
	struct module_memory memory = find_module_memory();
	int fd;

	no_more_words(step);
	fd = open_any_node();
	json_begin(step);
	json_open("pages", '[');
	report_ptes(fd, mapping, &pages, &memory);
	json_close(']');
	json_end();
	close(fd);
	free_pages(&pages);
}

static uint64_t number_in(const char *path)
{
	char *text = slurp(path);
	uint64_t number = text ? strtoull(text, NULL, 0) : 0;

	free(text);
	return number;
}

/* The values of a module that is not loaded are 0. */
struct module_memory find_module_memory(void)
{
	struct module_memory memory = {
		.ring_pages = number_in("/sys/kernel/mmap_ring/pages"),
		.ring_pfn = number_in("/sys/kernel/mmap_ring/pfn"),
	};
	struct mmap_testbed_info info;
	int fd = open_any_node();

	if (!ask(fd, MMAP_TESTBED_INFO, &info)) {
		memory.pool_pages = info.pool_pages;
		memory.pool_pfn = info.pool_pfn;
	}
	close(fd);
	return memory;
}
