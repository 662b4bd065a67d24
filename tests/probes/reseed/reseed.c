// SPDX-License-Identifier: GPL-2.0
/*
 * reseed: waits for a message on the reseed port and makes a clone a machine of
 * its own. Without it, all clones of a template have the same random state, and
 * their clock shows the time of the template. See docs/clones.md.
 *
 * A message is the time (u64 seconds, u32 nanoseconds, network byte order) and
 * 64 random bytes. The answer is an errno as u32, 0 on success.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "../common/transfer.h"

#define RANDOM	"/dev/urandom"
#define SEED	64

struct message {
	uint64_t seconds;
	uint32_t nanoseconds;
	uint8_t seed[SEED];
} __attribute__((packed));

static int set_clock(const struct message *message)
{
	struct timespec now = {
		.tv_sec = be64toh(message->seconds),
		.tv_nsec = ntohl(message->nanoseconds),
	};

	return clock_settime(CLOCK_REALTIME, &now) ? errno : 0;
}

static int mix_in(const struct message *message)
{
	struct {
		struct rand_pool_info info;
		uint8_t bytes[SEED];
	} pool = { .info = { .entropy_count = 8 * SEED, .buf_size = SEED } };
	int fd = open(RANDOM, O_WRONLY), error = 0;

	if (fd < 0)
		return errno;
	memcpy(pool.bytes, message->seed, SEED);
	/* RNDRESEEDCRNG makes the generator use the seed at once. */
	if (ioctl(fd, RNDADDENTROPY, &pool) || ioctl(fd, RNDRESEEDCRNG))
		error = errno;
	close(fd);
	return error;
}

int main(int argc, char **argv)
{
	struct message message;
	uint32_t answer;
	int error, port = argc == 2 ? open(argv[1], O_RDWR) : -1;

	if (port < 0) {
		fprintf(stderr, "usage: reseed PORT\n");
		return 2;
	}
	/* The message can come in pieces. The port ends when the host closes it. */
	while (read_all(port, &message, sizeof(message))) {
		error = mix_in(&message);
		if (!error)
			error = set_clock(&message);
		answer = htonl(error);
		if (!write_all(port, &answer, sizeof(answer)))
			break;
	}
	return 0;
}
