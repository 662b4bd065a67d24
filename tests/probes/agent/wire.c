// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"

uint32_t take_u32(struct cursor *c)
{
	uint32_t v;

	if (c->bad || (size_t)(c->end - c->at) < sizeof(v)) {
		c->bad = true;
		return 0;
	}
	memcpy(&v, c->at, sizeof(v));
	c->at += sizeof(v);
	return ntohl(v);
}

struct bytes take_bytes(struct cursor *c)
{
	struct bytes b = { .len = take_u32(c) };

	if (c->bad || (size_t)(c->end - c->at) < b.len) {
		c->bad = true;
		return (struct bytes){ 0 };
	}
	b.data = c->at;
	c->at += b.len;
	return b;
}

/* A string includes its NUL, so it needs no copy. */
const char *take_string(struct cursor *c)
{
	struct bytes b = take_bytes(c);

	if (c->bad || !b.len || memchr(b.data, 0, b.len) != b.data + b.len - 1) {
		c->bad = true;
		return "";
	}
	return (const char *)b.data;
}

/* Returns a NULL-terminated array that the caller frees, or NULL for a bad list. */
char **take_strings(struct cursor *c)
{
	uint32_t count = take_u32(c);
	char **list;

	/* Each string takes at least five bytes, which bounds the allocation. */
	if (c->bad || count > (size_t)(c->end - c->at) / 5) {
		c->bad = true;
		return NULL;
	}
	list = calloc(count + 1, sizeof(*list));
	if (!list) {
		c->bad = true;
		return NULL;
	}
	for (uint32_t i = 0; i < count; i++)
		list[i] = (char *)take_string(c);
	return list;
}

/* Returns false if memory runs out, which counts as reaching the limit. */
static bool make_room(struct store *s, size_t need)
{
	size_t room = s->room ? s->room : 4096;
	uint8_t *data;

	while (room < need)
		room *= 2;
	if (room == s->room)
		return true;
	data = realloc(s->data, room);
	if (!data)
		return false;
	s->data = data;
	s->room = room;
	return true;
}

/* Allocates the maximum at once, so memory use does not grow during a test. */
void reserve(struct store *s)
{
	make_room(s, s->limit);
}

void keep(struct store *s, const void *data, size_t len)
{
	size_t fits = s->limit - s->len < len ? s->limit - s->len : len;

	if (fits && !make_room(s, s->len + fits))
		fits = 0;
	if (fits)
		memcpy(s->data + s->len, data, fits);
	s->len += fits;
	s->cut |= fits < len;
}

void keep_u32(struct store *s, uint32_t v)
{
	v = htonl(v);
	keep(s, &v, sizeof(v));
}

void keep_u64(struct store *s, uint64_t v)
{
	keep_u32(s, v >> 32);
	keep_u32(s, v);
}

void keep_bytes(struct store *s, const void *data, size_t len)
{
	keep_u32(s, len);
	keep(s, data, len);
}
