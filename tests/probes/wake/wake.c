// SPDX-License-Identifier: GPL-2.0
/*
 * Waits until the VM is told that it is a clone, and makes it one of its own:
 * clones of one template have the same random state, and their clock stands
 * where the template was taken. See docs/clones.md.
 *
 * A message on the port is the time (u64 seconds, u32 nanoseconds, network
 * byte order) and 64 random bytes; the answer is an errno as u32, 0 when all
 * is done.
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
	/* The generator is made anew at once, not when it next grows old. */
	if (ioctl(fd, RNDADDENTROPY, &pool) || ioctl(fd, RNDRESEEDCRNG))
		error = errno;
	close(fd);
	return error;
}

/* A message comes whole, or in pieces; 0 is a host that does not hold the port's other end. */
static int take(int port, struct message *message)
{
	size_t have = 0;
	ssize_t n;

	while (have < sizeof(*message)) {
		n = read(port, (uint8_t *)message + have, sizeof(*message) - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		have += n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct message message;
	uint32_t answer;
	int error, port = argc == 2 ? open(argv[1], O_RDWR) : -1;

	if (port < 0) {
		fprintf(stderr, "usage: wake PORT\n");
		return 2;
	}
	while (!take(port, &message)) {
		error = mix_in(&message);
		if (!error)
			error = set_clock(&message);
		answer = htonl(error);
		if (write(port, &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	return 0;
}
