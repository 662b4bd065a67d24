// SPDX-License-Identifier: GPL-2.0
/* The words of a line: arguments, options, numbers and names of flags. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probe.h"

#ifndef PROT_BTI
#define PROT_BTI	0x10
#endif
#ifndef PROT_MTE
#define PROT_MTE	0x20
#endif

unsigned long page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

size_t page_align(size_t len)
{
	return (len + page_size() - 1) & ~(page_size() - 1);
}

/* Returns false for an empty line and for a comment. */
bool cut_line(struct step *step, int number, char *line)
{
	char *rest = NULL, *text;

	memset(step, 0, sizeof(*step));
	step->number = number;
	for (text = strtok_r(line, " \t\r\n", &rest); text;
	     text = strtok_r(NULL, " \t\r\n", &rest)) {
		if (step->count == MAX_WORDS)
			usage("more than %d words", MAX_WORDS);
		step->words[step->count++] = text;
	}
	step->used[0] = true;
	return step->count && step->words[0][0] != '#';
}

/* Returns argument @index, from 1. KEY=VALUE words do not count. */
const char *optional_word(struct step *step, int index)
{
	int i;

	for (i = 1; i < step->count; i++) {
		if (strchr(step->words[i], '=') || --index)
			continue;
		step->used[i] = true;
		return step->words[i];
	}
	return NULL;
}

const char *word(struct step *step, int index)
{
	const char *text = optional_word(step, index);

	if (!text)
		usage("%s: argument %d is missing", step->words[0], index);
	return text;
}

bool has_word(struct step *step, const char *text)
{
	int i;

	for (i = 1; i < step->count; i++) {
		if (!step->used[i] && !strcmp(step->words[i], text)) {
			step->used[i] = true;
			return true;
		}
	}
	return false;
}

const char *option(struct step *step, const char *key)
{
	size_t len = strlen(key);
	int i;

	for (i = 1; i < step->count; i++) {
		if (strncmp(step->words[i], key, len) ||
		    step->words[i][len] != '=')
			continue;
		step->used[i] = true;
		return step->words[i] + len + 1;
	}
	return NULL;
}

uint64_t number_option(struct step *step, const char *key, uint64_t otherwise)
{
	const char *text = option(step, key);

	return text ? parse_number(text) : otherwise;
}

/* Takes the next unused KEY=VALUE word and cuts it in two. */
bool next_option(struct step *step, char **key, char **value)
{
	int i;

	for (i = 1; i < step->count; i++) {
		*value = step->used[i] ? NULL : strchr(step->words[i], '=');
		if (!*value)
			continue;
		step->used[i] = true;
		*(*value)++ = '\0';
		*key = step->words[i];
		return true;
	}
	return false;
}

void no_more_words(struct step *step)
{
	int i;

	for (i = 0; i < step->count; i++)
		if (!step->used[i])
			usage("%s: unknown word '%s'", step->words[0],
			      step->words[i]);
}

static uint64_t unit(char suffix)
{
	switch (suffix) {
	case 'p':
		return page_size();
	case 'k':
		return 1 << 10;
	case 'm':
		return 1 << 20;
	}
	return 0;
}

uint64_t parse_number(const char *text)
{
	uint64_t value, result;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *text == '-' || *text == '+')
		usage("invalid number '%s'", text);
	if (!*end)
		return value;
	if (end[1] || !unit(*end) ||
	    __builtin_mul_overflow(value, unit(*end), &result))
		usage("invalid number '%s'", text);
	return result;
}

/* Accepts -EINVAL, -22, 0 and any other number: a plan can have a wrong sign. */
int parse_error(const char *text)
{
	const char *name;
	char *end;
	long value;
	int err;

	for (err = 1; err < 4096; err++) {
		name = strerrorname_np(err);
		if (name && *text == '-' && !strcmp(text + 1, name))
			return -err;
	}
	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value != (int)value)
		usage("invalid error '%s'", text);
	return value;
}

/* Accepts NUMBER, MAP, MAP+NUMBER and MAP-NUMBER. */
unsigned long parse_address(const char *text)
{
	size_t len = strcspn(text, "+-");
	struct mapping mapping;

	if (*text >= '0' && *text <= '9')
		return parse_number(text);
	if (!find_mapping(text, len, &mapping))
		usage("unknown mapping '%.*s'", (int)len, text);
	if (text[len] == '+')
		return mapping.addr + parse_number(text + len + 1);
	if (text[len] == '-')
		return mapping.addr - parse_number(text + len + 1);
	return mapping.addr;
}

int parse_prot(const char *text)
{
	int prot = PROT_NONE;
	const char *c;

	if (!strcmp(text, "none"))
		return PROT_NONE;
	for (c = text; *c; c++) {
		if (*c == 'r')
			prot |= PROT_READ;
		else if (*c == 'w')
			prot |= PROT_WRITE;
		else if (*c == 'x')
			prot |= PROT_EXEC;
		else if (*c == 'b')
			prot |= PROT_BTI;
		else if (*c == 'm')
			prot |= PROT_MTE;
		else
			usage("invalid protection '%s'", text);
	}
	return prot;
}

static unsigned long find_flag(const char *text, size_t len,
			       const struct flag *flags, const char *what)
{
	for (; flags->name; flags++)
		if (strlen(flags->name) == len &&
		    !strncmp(flags->name, text, len))
			return flags->value;
	usage("unknown %s '%.*s'", what, (int)len, text);
}

unsigned long parse_flag(const char *text, const struct flag *flags,
			 const char *what)
{
	return find_flag(text, strlen(text), flags, what);
}

unsigned long parse_flags(const char *text, const struct flag *flags,
			  const char *what)
{
	unsigned long result = 0;
	size_t len;

	for (;;) {
		len = strcspn(text, ",");
		result |= find_flag(text, len, flags, what);
		if (!text[len])
			return result;
		text += len + 1;
	}
}
