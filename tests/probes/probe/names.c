// SPDX-License-Identifier: GPL-2.0
/* The names that a script gives to files, mappings and shared memory segments. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

#define NAME_LEN	32
#define MAX_NAMES	256

/* The names of one kind; messages use @kind. */
struct names {
	const char *kind;
	int count;
	struct {
		char name[NAME_LEN];
		struct mapping mapping;
		int number;
	} entries[MAX_NAMES];
};

static struct names files = { .kind = "file" };
static struct names mappings = { .kind = "mapping" };
static struct names segments = { .kind = "segment" };

static int find(const struct names *names, const char *name, size_t len)
{
	int i;

	for (i = 0; i < names->count; i++)
		if (strlen(names->entries[i].name) == len &&
		    !strncmp(names->entries[i].name, name, len))
			return i;
	return -1;
}

static int must_find(const struct names *names, const char *name)
{
	int i = find(names, name, strlen(name));

	if (i < 0)
		usage("unknown %s '%s'", names->kind, name);
	return i;
}

static void check_name(const char *name)
{
	const char *c;

	if (!isalpha((unsigned char)*name) || strlen(name) >= NAME_LEN)
		usage("invalid name '%s'", name);
	for (c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '_' && *c != '.')
			usage("invalid name '%s'", name);
}

static int find_or_add(struct names *names, const char *name)
{
	int i = find(names, name, strlen(name));

	if (i >= 0)
		return i;
	check_name(name);
	if (names->count == MAX_NAMES)
		usage("more than %d %ss", MAX_NAMES, names->kind);
	snprintf(names->entries[names->count].name, NAME_LEN, "%s", name);
	names->entries[names->count].number = -1;
	return names->count++;
}

static void forget(struct names *names, int i)
{
	names->entries[i] = names->entries[--names->count];
}

int fd_of(const char *name)
{
	return files.entries[must_find(&files, name)].number;
}

void name_fd(const char *name, int fd)
{
	int i = find_or_add(&files, name);

	if (files.entries[i].number >= 0)
		close(files.entries[i].number);
	files.entries[i].number = fd;
}

void forget_fd(const char *name)
{
	forget(&files, must_find(&files, name));
}

bool find_mapping(const char *name, size_t len, struct mapping *mapping)
{
	int i = find(&mappings, name, len);

	if (i >= 0)
		*mapping = mappings.entries[i].mapping;
	return i >= 0;
}

struct mapping mapping_of(const char *name)
{
	return mappings.entries[must_find(&mappings, name)].mapping;
}

void name_mapping(const char *name, struct mapping mapping)
{
	mappings.entries[find_or_add(&mappings, name)].mapping = mapping;
}

int segment_of(const char *name)
{
	return segments.entries[must_find(&segments, name)].number;
}

void name_segment(const char *name, int id)
{
	segments.entries[find_or_add(&segments, name)].number = id;
}
