/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the /dev/fuse protocol that the server uses, a copy from
 * include/uapi/linux/fuse.h. Installed headers can be older than protocol 7.40,
 * which introduced passthrough.
 */
#ifndef WIRE_H
#define WIRE_H

#include <linux/ioctl.h>
#include <stdint.h>

#define VERSION			7
#define MINOR			40

enum opcode {
	LOOKUP = 1,
	FORGET = 2,
	GETATTR = 3,
	SETATTR = 4,
	OPEN = 14,
	STATFS = 17,
	RELEASE = 18,
	INIT = 26,
	INTERRUPT = 36,
	DESTROY = 38,
	BATCH_FORGET = 42,
};

/* Flags of INIT. The upper half is in flags2, which requires INIT_EXT. */
#define INIT_EXT		(1ULL << 30)
#define INIT_PASSTHROUGH	(1ULL << 37)

#define OPEN_PASSTHROUGH	(1U << 7)
#define SETATTR_SIZE		(1U << 3)

#define ROOT			1

/* Minimum buffer size for a read of /dev/fuse. */
#define MIN_READ_BUFFER		8192
#define MAX_WRITE		4096

struct request {
	uint32_t len;
	uint32_t opcode;
	uint64_t unique;
	uint64_t nodeid;
	uint32_t uid;
	uint32_t gid;
	uint32_t pid;
	uint32_t padding;
	char body[];
};

struct answer {
	uint32_t len;
	int32_t error;
	uint64_t unique;
};

struct init_in {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint32_t flags2;
	uint32_t unused[11];
};

struct init_out {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint16_t max_background;
	uint16_t congestion_threshold;
	uint32_t max_write;
	uint32_t time_gran;
	uint16_t max_pages;
	uint16_t map_alignment;
	uint32_t flags2;
	uint32_t max_stack_depth;
	uint32_t unused[6];
};

struct attr {
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t atime;
	uint64_t mtime;
	uint64_t ctime;
	uint32_t atimensec;
	uint32_t mtimensec;
	uint32_t ctimensec;
	uint32_t mode;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint32_t rdev;
	uint32_t blksize;
	uint32_t flags;
};

struct attr_out {
	uint64_t valid;
	uint32_t valid_nsec;
	uint32_t dummy;
	struct attr attr;
};

struct entry_out {
	uint64_t nodeid;
	uint64_t generation;
	uint64_t entry_valid;
	uint64_t attr_valid;
	uint32_t entry_valid_nsec;
	uint32_t attr_valid_nsec;
	struct attr attr;
};

struct setattr_in {
	uint32_t valid;
	uint32_t padding;
	uint64_t fh;
	uint64_t size;
	uint64_t unused[8];
};

struct statfs_out {
	uint64_t blocks;
	uint64_t bfree;
	uint64_t bavail;
	uint64_t files;
	uint64_t ffree;
	uint32_t bsize;
	uint32_t namelen;
	uint32_t frsize;
	uint32_t unused[7];
};

struct open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};

struct backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

#define BACKING_OPEN	_IOW(229, 1, struct backing_map)

#endif /* WIRE_H */
