// SPDX-License-Identifier: GPL-2.0
/* maps, query, pagemap: a range of addresses in the files of /proc/self */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "probe.h"

struct vma_line {
	unsigned long start;
	unsigned long end;
	char perms[8];
	unsigned long long offset;
	char dev[16];
	unsigned long inode;
	int path;
};

static bool parse_vma_line(const char *line, struct vma_line *vma)
{
	/* Other lines begin with a capital. sscanf() takes long to find that out. */
	if (isupper((unsigned char)*line))
		return false;
	return sscanf(line, "%lx-%lx %7s %llx %15s %lu %n", &vma->start,
		      &vma->end, vma->perms, &vma->offset, vma->dev,
		      &vma->inode, &vma->path) == 6;
}

static bool overlaps(struct mapping range, unsigned long start,
		     unsigned long end)
{
	return start < range.addr + range.len && range.addr < end;
}

static void report_vmflags(char *flags)
{
	char *rest = NULL, *flag;

	json_open("vmflags", '[');
	for (flag = strtok_r(flags, " ", &rest); flag;
	     flag = strtok_r(NULL, " ", &rest))
		json_str(NULL, flag);
	json_close(']');
}

static void open_vma(const char *line, const struct vma_line *vma)
{
	json_open(NULL, '{');
	json_hex("start", vma->start);
	json_hex("end", vma->end);
	json_str("perms", vma->perms);
	json_hex("offset", vma->offset);
	json_str("dev", vma->dev);
	json_int("inode", vma->inode);
	json_str("path", line + vma->path);
	json_str("line", line);
	json_open("smaps", '{');
}

/* A line is like "Rss:   4 kB". "VmFlags: rd wr" is the last line of a VMA. */
static void report_smaps_line(char *line)
{
	char *colon = strchr(line, ':');

	if (!colon)
		return;
	*colon++ = '\0';
	if (strcmp(line, "VmFlags")) {
		json_int(line, strtoll(colon, NULL, 10));
		return;
	}
	json_close('}');
	report_vmflags(colon);
	json_close('}');
}

void maps_step(struct step *step)
{
	struct mapping range = mapping_of(word(step, 1));
	char *text, *rest = NULL, *line;
	struct vma_line vma;
	bool wanted = false;

	no_more_words(step);
	text = must_slurp("/proc/self/smaps");
	json_begin(step);
	json_open("vmas", '[');
	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		if (parse_vma_line(line, &vma)) {
			wanted = overlaps(range, vma.start, vma.end);
			if (wanted)
				open_vma(line, &vma);
		} else if (wanted) {
			report_smaps_line(line);
		}
	}
	json_close(']');
	json_end();
	free(text);
}

/* struct procmap_query of include/uapi/linux/fs.h, which older headers lack. */
struct vma_query {
	__u64 size;
	__u64 query_flags;
	__u64 query_addr;
	__u64 vma_start;
	__u64 vma_end;
	__u64 vma_flags;
	__u64 vma_page_size;
	__u64 vma_offset;
	__u64 inode;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 vma_name_size;
	__u32 build_id_size;
	__u64 vma_name_addr;
	__u64 build_id_addr;
};

#define QUERY_VMA		_IOWR('f', 17, struct vma_query)
#define COVERING_OR_NEXT	0x10

static const struct flag query_flags[] = {
	{ "read", 1 }, { "write", 2 }, { "exec", 4 }, { "shared", 8 }, { }
};

static void report_query(const struct vma_query *vma, const char *name)
{
	const struct flag *flag;
	char dev[24];

	json_open(NULL, '{');
	json_hex("start", vma->vma_start);
	json_hex("end", vma->vma_end);
	json_open("flags", '[');
	for (flag = query_flags; flag->name; flag++)
		if (vma->vma_flags & flag->value)
			json_str(NULL, flag->name);
	json_close(']');
	json_int("page_size", vma->vma_page_size);
	json_hex("offset", vma->vma_offset);
	json_int("inode", vma->inode);
	snprintf(dev, sizeof(dev), "%02x:%02x", vma->dev_major, vma->dev_minor);
	json_str("dev", dev);
	json_str("name", vma->vma_name_size ? name : "");
	json_close('}');
}

/* Returns 0 or an errno. The end of the VMAs is not an error. */
static int query_range(int fd, struct mapping range)
{
	unsigned long end = range.addr + range.len, addr = range.addr;
	char name[4096];

	while (addr < end) {
		struct vma_query vma = {
			.size = sizeof(vma),
			.query_flags = COVERING_OR_NEXT,
			.query_addr = addr,
			.vma_name_size = sizeof(name),
			.vma_name_addr = (uintptr_t)name,
		};

		if (ioctl(fd, QUERY_VMA, &vma))
			return errno == ENOENT ? 0 : errno;
		if (vma.vma_start >= end)
			return 0;
		report_query(&vma, name);
		addr = vma.vma_end;
	}
	return 0;
}

void query_step(struct step *step)
{
	struct mapping range = mapping_of(word(step, 1));
	int fd, err;

	no_more_words(step);
	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	json_begin(step);
	json_open("vmas", '[');
	err = fd < 0 ? errno : query_range(fd, range);
	json_close(']');
	json_errno(err);
	json_end();
	if (fd >= 0)
		close(fd);
}

static void report_entry(unsigned long page, uint64_t entry,
			 const struct module_memory *memory)
{
	uint64_t pfn = entry & ((1ULL << 55) - 1);
	bool present = entry >> 63;

	json_open(NULL, '{');
	json_int("page", page);
	json_bool("present", present);
	json_bool("swapped", entry >> 62 & 1);
	json_bool("file", entry >> 61 & 1);
	json_bool("guard", entry >> 58 & 1);
	json_bool("uffd_wp", entry >> 57 & 1);
	json_bool("exclusive", entry >> 56 & 1);
	json_bool("soft_dirty", entry >> 55 & 1);
	if (present && pfn) {
		json_hex("pfn", pfn);
		report_module_page(pfn, memory);
	}
	json_close('}');
}

void pagemap_step(struct step *step)
{
	struct mapping mapping = mapping_of(word(step, 1));
	struct pages pages = parse_pages(optional_word(step, 2), mapping);
	struct module_memory memory = find_module_memory();
	unsigned long number;
	uint64_t entry;
	int fd, err = 0;
	size_t i;

	no_more_words(step);
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	json_begin(step);
	json_open("pages", '[');
	for (i = 0; i < pages.count && !err; i++) {
		number = mapping.addr / page_size() + pages.index[i];
		if (pread(fd, &entry, sizeof(entry), number * sizeof(entry)) !=
		    sizeof(entry))
			err = errno;
		else
			report_entry(pages.index[i], entry, &memory);
	}
	json_close(']');
	json_errno(err);
	json_end();
	if (fd >= 0)
		close(fd);
	free_pages(&pages);
}
