// SPDX-License-Identifier: GPL-2.0
/*
 * A writer of JSON objects. It writes an object in one piece when the object is
 * complete, so a step that dies does not leave half a line.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/transfer.h"
#include "probe.h"

/* Of each task: the second one (second.c) reports while the first one runs. */
static __thread struct {
	char *text;
	size_t len;
	size_t room;
	bool comma;
	bool of_step;
} out;

static void (*add_at_step_end)(void);

static void grow(size_t by)
{
	while (out.room - out.len < by) {
		out.room = out.room ? 2 * out.room : 4096;
		out.text = realloc(out.text, out.room);
		if (!out.text)
			abort();
	}
}

static void put(const char *text, size_t len)
{
	if (out.room - out.len < len)
		grow(len);
	memcpy(out.text + out.len, text, len);
	out.len += len;
}

static void putf(const char *format, ...)
{
	char text[64];
	va_list args;

	va_start(args, format);
	put(text, vsnprintf(text, sizeof(text), format, args));
	va_end(args);
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void put_special(unsigned char c)
{
	if (c == '"' || c == '\\')
		putf("\\%c", c);
	else
		putf("\\u%04x", c);
}

/*
 * Text from the kernel can hold any byte. A byte that is not ASCII becomes the
 * code point of the same number, so no information is lost.
 */
static void put_string(const char *text, size_t len)
{
	const char *end = text + len, *run;

	put("\"", 1);
	while (text < end) {
		for (run = text; text < end && is_plain(*text); text++)
			;
		put(run, text - run);
		if (text < end)
			put_special(*text++);
	}
	put("\"", 1);
}

static void put_key(const char *key)
{
	if (out.comma)
		put(",", 1);
	out.comma = true;
	if (key) {
		put_string(key, strlen(key));
		put(":", 1);
	}
}

void json_open(const char *key, char bracket)
{
	put_key(key);
	put(&bracket, 1);
	out.comma = false;
}

void json_close(char bracket)
{
	put(&bracket, 1);
	out.comma = true;
}

void json_strn(const char *key, const char *value, size_t len)
{
	put_key(key);
	put_string(value, len);
}

void json_str(const char *key, const char *value)
{
	json_strn(key, value, strlen(value));
}

void json_int(const char *key, long long value)
{
	put_key(key);
	putf("%lld", value);
}

void json_hex(const char *key, uint64_t value)
{
	put_key(key);
	putf("\"0x%llx\"", (unsigned long long)value);
}

void json_bool(const char *key, bool value)
{
	put_key(key);
	putf("%s", value ? "true" : "false");
}

void json_errno(int err)
{
	const char *name = err ? strerrorname_np(err) : NULL;
	char number[12];

	json_int("errno", err);
	/* A hook can return any error up to 4095, and few have names. */
	if (err && !name) {
		snprintf(number, sizeof(number), "%d", err);
		name = number;
	}
	if (name)
		json_str("error", name);
}

void json_begin(const struct step *step)
{
	json_open(NULL, '{');
	out.of_step = step;
	if (!step)
		return;
	json_int("step", step->number);
	json_str("op", step->words[0]);
	if (script.in_child)
		json_bool("child", true);
	if (script.round)
		json_int("round", script.round);
}

void json_at_step_end(void (*more)(void))
{
	add_at_step_end = more;
}

void json_end(void)
{
	if (out.of_step && add_at_step_end)
		add_at_step_end();
	json_close('}');
	put("\n", 1);
	if (!write_all(STDOUT_FILENO, out.text, out.len))
		_exit(3);
	json_drop();
}

void json_drop(void)
{
	out.len = 0;
	out.comma = false;
}
