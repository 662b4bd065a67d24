// SPDX-License-Identifier: GPL-2.0
/*
 * ioctl, read_file, write_file: system calls that make an open file ready for
 * mmap(). await, pause: time passes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

/* The size in an ioctl's number has 14 bits (asm-generic/ioctl.h). */
#define ROOM		(16 << 10)
#define INTERVAL	10 /* ms */

static char room[ROOM];

uint64_t mmap_offset;

static int digit(char c)
{
	const char *digits = "0123456789abcdef", *found;

	found = c ? strchr(digits, c | 0x20) : NULL;
	return found ? found - digits : -1;
}

/* Fills the buffer with bytes in hexadecimal, then zeros. Returns their number. */
static size_t parse_bytes(const char *text)
{
	size_t len = strlen(text) / 2, i;

	if (strlen(text) % 2 || len > ROOM)
		usage("invalid bytes '%s'", text);
	memset(room, 0, sizeof(room));
	for (i = 0; i < len; i++) {
		if (digit(text[2 * i]) < 0 || digit(text[2 * i + 1]) < 0)
			usage("invalid bytes '%s'", text);
		room[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
	}
	return len;
}

static void json_bytes(size_t len)
{
	char text[2 * 64 + 1] = "";
	size_t i;

	for (i = 0; i < len && i < 64; i++)
		sprintf(text + 2 * i, "%02x", (unsigned char)room[i]);
	json_str("bytes", text);
}

static void begin_call(const struct step *step, long result, size_t len)
{
	int err = result < 0 ? errno : 0;

	json_begin(step);
	json_errno(err);
	json_int("result", result);
	json_bytes(len);
}

static void report_call(const struct step *step, long result, size_t len)
{
	begin_call(step, result, len);
	json_end();
}

/* Where an ioctl returns the mmap offset in the buffer; bits is 0 if it does not. */
struct place {
	size_t byte;
	unsigned int bits;
};

static struct place place_option(struct step *step)
{
	const char *text = option(step, "mmap_offset");
	struct place place = {};

	if (!text)
		return place;
	place.byte = parse_number(text);
	place.bits = number_option(step, "bits", 64);
	if ((place.bits != 32 && place.bits != 64) ||
	    place.byte > ROOM - place.bits / 8)
		usage("ioctl: no value at mmap_offset=%s bits=%u", text, place.bits);
	return place;
}

static uint64_t value_at(struct place place)
{
	uint32_t half;
	uint64_t whole;

	memcpy(&half, room + place.byte, sizeof(half));
	if (place.bits == 32)
		return half;
	memcpy(&whole, room + place.byte, sizeof(whole));
	return whole;
}

/* The argument is a number, or the address of a buffer that holds bytes. */
void ioctl_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	unsigned long number = parse_number(word(step, 2));
	const char *bytes = option(step, "bytes");
	unsigned long argument = number_option(step, "value", 0);
	struct place place = place_option(step);
	size_t len = 0;
	int result;

	no_more_words(step);
	if (place.bits && !bytes)
		usage("ioctl: mmap_offset= needs bytes=");
	if (bytes) {
		len = parse_bytes(bytes);
		argument = (unsigned long)room;
	}
	result = ioctl(fd, number, argument);
	begin_call(step, result, len);
	if (place.bits && result >= 0) {
		mmap_offset = value_at(place);
		json_hex("mmap_offset", mmap_offset);
	}
	json_end();
}

void write_file_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	size_t len = parse_bytes(word(step, 2));

	no_more_words(step);
	report_call(step, write(fd, room, len), 0);
}

void read_file_step(struct step *step)
{
	int fd = fd_of(word(step, 1));
	size_t len = parse_number(word(step, 2));
	ssize_t n;

	no_more_words(step);
	if (len > ROOM)
		usage("more than %d bytes", ROOM);
	n = read(fd, room, len);
	report_call(step, n, n < 0 ? 0 : n);
}

static void sleep_ms(uint64_t ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) && errno == EINTR)
		continue;
}

/* Waits until a file exists, at most the given number of milliseconds. */
void await_step(struct step *step)
{
	const char *path = word(step, 1);
	uint64_t most = parse_number(word(step, 2)), waited = 0;
	struct stat unused;
	int err;

	no_more_words(step);
	for (;;) {
		err = stat(path, &unused) ? errno : 0;
		if (!err || waited >= most)
			break;
		sleep_ms(INTERVAL);
		waited += INTERVAL;
	}
	json_begin(step);
	json_errno(err);
	json_end();
}

/* Lets time pass between two looks at pages that may change by themselves. */
void pause_step(struct step *step)
{
	uint64_t ms = parse_number(word(step, 1));

	no_more_words(step);
	sleep_ms(ms);
	json_begin(step);
	json_end();
}
