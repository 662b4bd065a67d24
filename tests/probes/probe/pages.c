// SPDX-License-Identifier: GPL-2.0
/* Lists of pages, and the content of pages. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mmap_testbed.h"
#include "probe.h"

static void add_range(struct pages *pages, uint64_t first, uint64_t last)
{
	if (last < first || last - first >= MAX_PAGES - pages->count)
		usage("too many pages");
	pages->index = realloc(pages->index, (pages->count + last - first + 1) *
			       sizeof(*pages->index));
	if (!pages->index)
		abort();
	for (; first <= last; first++)
		pages->index[pages->count++] = first;
}

static uint64_t parse_index(const char **text)
{
	char *end;
	uint64_t index = strtoull(*text, &end, 0);

	if (end == *text || index > UINT32_MAX)
		usage("invalid pages '%s'", *text);
	*text = end;
	return index;
}

struct pages parse_pages(const char *text, struct mapping mapping)
{
	struct pages pages = {};
	uint64_t first, last;

	if (!text || !strcmp(text, "all")) {
		if (mapping.len)
			add_range(&pages, 0, (mapping.len - 1) / page_size());
		return pages;
	}
	for (;;) {
		first = parse_index(&text);
		last = first;
		if (*text == '-') {
			text++;
			last = parse_index(&text);
		}
		add_range(&pages, first, last);
		if (!*text)
			return pages;
		if (*text++ != ',')
			usage("invalid pages '%s'", text - 1);
	}
}

/* Returns the addresses of a contiguous run of pages or of the whole mapping. */
struct mapping parse_run(const char *text, struct mapping mapping)
{
	struct pages pages;
	size_t i;

	if (!text || !strcmp(text, "all"))
		return mapping;
	pages = parse_pages(text, mapping);
	for (i = 1; i < pages.count; i++)
		if (pages.index[i] != pages.index[i - 1] + 1)
			usage("'%s' is not one run of pages", text);
	mapping.addr += pages.index[0] * page_size();
	mapping.len = pages.count * page_size();
	free_pages(&pages);
	return mapping;
}

void free_pages(struct pages *pages)
{
	free(pages->index);
}

void fill(void *to, size_t len, uint64_t value)
{
	size_t done;

	for (done = 0; done + sizeof(value) <= len; done += sizeof(value))
		memcpy(to + done, &value, sizeof(value));
	memcpy(to + done, &value, len - done);
}

static bool is_pattern(const uint64_t *words, size_t count, uint64_t magic)
{
	uint64_t page = (words[0] ^ magic) >> 16;
	size_t i;

	if (page > UINT16_MAX)
		return false;
	for (i = 0; i < count; i++)
		if (words[i] != MMAP_TESTBED_WORD(magic, page, i))
			return false;
	return true;
}

static bool is_fill(const uint64_t *words, size_t count)
{
	size_t i;

	for (i = 1; i < count; i++)
		if (words[i] != words[0])
			return false;
	return true;
}

static uint64_t fnv1a(const void *content, size_t len)
{
	const unsigned char *byte = content;
	uint64_t hash = 0xcbf29ce484222325ULL;

	while (len--)
		hash = (hash ^ *byte++) * 0x100000001b3ULL;
	return hash;
}

/* @content is aligned. Content that ends in part of a word is "other". */
void describe_content(const void *content, size_t len)
{
	const uint64_t *words = content;
	size_t count = len / sizeof(*words);
	unsigned long long number = 0;
	const char *format = "other:0x%llx";
	char text[32];

	if (!count || len % sizeof(*words)) {
		number = fnv1a(content, len);
	} else if (is_pattern(words, count, MMAP_TESTBED_POOL_MAGIC)) {
		format = "pool:%llu";
		number = (words[0] ^ MMAP_TESTBED_POOL_MAGIC) >> 16;
	} else if (is_pattern(words, count, MMAP_TESTBED_RING_MAGIC)) {
		format = "ring:%llu";
		number = (words[0] ^ MMAP_TESTBED_RING_MAGIC) >> 16;
	} else if (is_pattern(words, count, MMAP_TESTBED_UIO_MAGIC)) {
		format = "uio:%llu";
		number = (words[0] ^ MMAP_TESTBED_UIO_MAGIC) >> 16;
	} else if (is_fill(words, count)) {
		format = words[0] ? "fill:0x%llx" : "zero";
		number = words[0];
	} else {
		number = fnv1a(content, len);
	}
	if (count)
		json_hex("word", words[0]);
	snprintf(text, sizeof(text), format, number);
	json_str("content", text);
}
