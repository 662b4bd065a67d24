// SPDX-License-Identifier: GPL-2.0
/* packet: the ring of a packet socket. xsk: a ring of an XDP socket. tcp: a plain socket. */
#define _GNU_SOURCE
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <sys/socket.h>

#include "opener.h"

#define PACKET_PAGES	4
#define FRAME		2048
#define DESCRIPTORS	2048

/* Without a protocol the socket receives nothing, and its ring does not change. */
int open_packet(struct step *step, struct opening *opening)
{
	struct tpacket_req ring = {
		.tp_block_size = page_size(),
		.tp_block_nr = PACKET_PAGES,
		.tp_frame_size = FRAME,
		.tp_frame_nr = PACKET_PAGES * page_size() / FRAME,
	};
	int fd = tried(opening, "socket", socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));

	(void)step;
	if (fd < 0)
		return -1;
	opening->length = PACKET_PAGES * page_size();
	if (tried(opening, "PACKET_RX_RING",
		  setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring))))
		return drop(fd);
	return fd;
}

struct xsk_ring {
	int option;
	uint64_t offset;
};

static const struct xsk_ring xsk_rings[] = {
	{ XDP_RX_RING, XDP_PGOFF_RX_RING },
	{ XDP_TX_RING, XDP_PGOFF_TX_RING },
	{ XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING },
	{ XDP_UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING },
};

static const struct flag xsk_names[] = {
	{ "rx", 0 },
	{ "tx", 1 },
	{ "fill", 2 },
	{ "completion", 3 },
	{ }
};

int open_xsk(struct step *step, struct opening *opening)
{
	const struct xsk_ring *ring;
	int fd, count = DESCRIPTORS;

	ring = &xsk_rings[parse_flag(must_option(step, "ring"), xsk_names, "ring")];
	fd = tried(opening, "socket", socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
	if (fd < 0)
		return -1;
	opening->offset = ring->offset;
	if (tried(opening, "the size of the ring",
		  setsockopt(fd, SOL_XDP, ring->option, &count, sizeof(count))))
		return drop(fd);
	return fd;
}

static const struct flag families[] = {
	{ "inet", AF_INET },
	{ "inet6", AF_INET6 },
	{ }
};

int open_tcp(struct step *step, struct opening *opening)
{
	int family = parse_flag(must_option(step, "family"), families, "family");

	return tried(opening, "socket", socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
}
