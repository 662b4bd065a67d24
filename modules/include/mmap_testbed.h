/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface between the modules and the guest programs. docs/probe.md
 * describes what each field of the plan does, and on which node.
 */
#ifndef MMAP_TESTBED_H
#define MMAP_TESTBED_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The pattern of a module's memory: word @word of page @page. */
#define MMAP_TESTBED_POOL_MAGIC	0x6d6d617000000000ULL
#define MMAP_TESTBED_RING_MAGIC	0x72696e6700000000ULL
#define MMAP_TESTBED_UIO_MAGIC	0x2d75696f00000000ULL
#define MMAP_TESTBED_WORD(magic, page, word) \
	((magic) | (__u64)(page) << 16 | (__u64)(word))

/* The optional fields of the plan that count; the others do nothing. */
#define MMAP_TESTBED_PGOFF		(1U << 0)
#define MMAP_TESTBED_PRIVATE		(1U << 1)
#define MMAP_TESTBED_MAPPED_PRIVATE	(1U << 2)
#define MMAP_TESTBED_ACTION_OFFSET	(1U << 3)
#define MMAP_TESTBED_ACTION_SIZE	(1U << 4)
#define MMAP_TESTBED_LATE_PAGE_PROT	(1U << 5)
#define MMAP_TESTBED_HIDE		(1U << 6)
#define MMAP_TESTBED_UNCHECKED		(1U << 7)
#define MMAP_TESTBED_PFN		(1U << 8)
#define MMAP_TESTBED_BAD_PAGE		(1U << 9)
#define MMAP_TESTBED_SCRIBBLE		(1U << 10)
#define MMAP_TESTBED_LATE		(1U << 11)
#define MMAP_TESTBED_ALL_FIELDS		((1U << 12) - 1)

enum mmap_testbed_page_prot {
	MMAP_TESTBED_PROT_LEAVE,
	MMAP_TESTBED_PROT_NONCACHED,
	MMAP_TESTBED_PROT_WRITECOMBINE,
	MMAP_TESTBED_NR_PROTS,
};

enum mmap_testbed_vm_ops {
	MMAP_TESTBED_OPS_LEAVE,
	MMAP_TESTBED_OPS_NULL,
	MMAP_TESTBED_OPS_FULL,
	MMAP_TESTBED_OPS_NOCLOSE,
	MMAP_TESTBED_OPS_NOMAPPED,
	MMAP_TESTBED_OPS_MKWRITE,
	MMAP_TESTBED_NR_OPS,
};

enum mmap_testbed_action {
	MMAP_TESTBED_ACTION_NONE,
	MMAP_TESTBED_ACTION_REMAP,
	MMAP_TESTBED_ACTION_IOREMAP,
	MMAP_TESTBED_ACTION_SIMPLE_IOREMAP,
	MMAP_TESTBED_ACTION_KERNEL_PAGES,
	MMAP_TESTBED_ACTION_UNKNOWN,
	MMAP_TESTBED_NR_ACTIONS,
};

enum mmap_testbed_replace {
	MMAP_TESTBED_REPLACE_NONE,
	MMAP_TESTBED_REPLACE_SHMEM,
	MMAP_TESTBED_REPLACE_FILE,
	MMAP_TESTBED_NR_REPLACES,
};

/**
 * struct mmap_testbed_plan - the actions of the hooks of one open file
 * @size: sizeof(struct mmap_testbed_plan); no other value is accepted
 * @fields: MMAP_TESTBED_* bits of the optional fields that count
 * @set_flags: VM_* bits to set, after @clear_flags
 * @clear_flags: VM_* bits to clear
 * @pgoff: page offset of the mapping
 * @private_data: cookie below 2^32
 * @mapped_private: cookie that mapped() stores
 * @action_offset: bytes from the start of the mapping
 * @action_size: bytes
 * @pool_page: first page of the pool that the action maps
 * @pool_byte: offset in bytes that a simple_ioremap adds to @pool_page
 * @pfn: first page frame of other memory, which the action maps instead of
 *	the pool
 * @bad_page: index of the action's kernel page that cannot be inserted
 * @shrink_start: bytes by which the hook moves desc->start up
 * @shrink_end: bytes by which the hook moves desc->end down
 * @widen_end: bytes by which the hook moves desc->end up
 * @page_prot: enum mmap_testbed_page_prot
 * @vm_ops: enum mmap_testbed_vm_ops
 * @action: enum mmap_testbed_action
 * @replace: enum mmap_testbed_replace
 * @hook_error: 0 or -errno; the hook returns it at once
 * @hook_error_after: 0 or -errno; the hook sets all fields and returns it
 * @mapped_error: 0 or -errno from mapped()
 * @outer_error: 0 or -errno from an outer hook whose nested hook succeeded
 * @error_override: passed to the core unchanged
 * @reserved: must be 0
 */
struct mmap_testbed_plan {
	__u32 size;
	__u32 fields;
	__u64 set_flags;
	__u64 clear_flags;
	__u64 pgoff;
	__u64 private_data;
	__u64 mapped_private;
	__u64 action_offset;
	__u64 action_size;
	__u64 pool_page;
	__u64 pool_byte;
	__u64 pfn;
	__u64 bad_page;
	__u64 shrink_start;
	__u64 shrink_end;
	__u64 widen_end;
	__u32 page_prot;
	__u32 vm_ops;
	__u32 action;
	__u32 replace;
	__s32 hook_error;
	__s32 hook_error_after;
	__s32 mapped_error;
	__s32 outer_error;
	__s32 error_override;
	__u32 reserved;
};

/* The places of hooks at which the gate can be. */
enum mmap_testbed_gate_place {
	MMAP_TESTBED_GATE_NONE,
	MMAP_TESTBED_GATE_PREPARE,
	MMAP_TESTBED_GATE_MAPPED,
	MMAP_TESTBED_GATE_CLOSE,
	MMAP_TESTBED_GATE_FAULT,
	MMAP_TESTBED_NR_GATES,
};

/**
 * struct mmap_testbed_gate - where the next hook waits
 * @place: enum mmap_testbed_gate_place
 * @limit_ms: milliseconds after which the gate opens by itself, at most 10000
 */
struct mmap_testbed_gate {
	__u32 place;
	__u32 limit_ms;
};

enum mmap_testbed_event {
	MMAP_TESTBED_EV_PREPARE,
	MMAP_TESTBED_EV_MMAP,
	MMAP_TESTBED_EV_MAPPED,
	MMAP_TESTBED_EV_OPEN,
	MMAP_TESTBED_EV_CLOSE,
	MMAP_TESTBED_EV_MAY_SPLIT,
	MMAP_TESTBED_EV_MREMAP,
	MMAP_TESTBED_EV_MPROTECT,
	MMAP_TESTBED_EV_FAULT,
	MMAP_TESTBED_EV_MKWRITE,
	MMAP_TESTBED_NR_EVENTS,
};

/**
 * struct mmap_testbed_counts - a snapshot of the ledger
 * @id: number of the open file in the hook log
 * @file: references of the file itself
 * @lower: references of the lower file, -1 without one
 * @replacement: references of the replacement, -1 without one
 * @page_count: references, summed over the pool's pages
 * @page_mapcount: mapcounts, summed over the pool's pages
 * @events: hook calls since the module was loaded, by enum mmap_testbed_event
 */
struct mmap_testbed_counts {
	__u64 id;
	__s64 file;
	__s64 lower;
	__s64 replacement;
	__s64 page_count;
	__s64 page_mapcount;
	__u64 events[MMAP_TESTBED_NR_EVENTS];
};

/**
 * struct mmap_testbed_info - constants of the loaded module
 * @pool_pages: length of the pool
 * @pool_pfn: its first page frame
 */
struct mmap_testbed_info {
	__u64 pool_pages;
	__u64 pool_pfn;
};

#define MMAP_TESTBED_TAG_LEN	48

#define MMAP_TESTBED_VMA_HAS_PTE	(1U << 0)
#define MMAP_TESTBED_VMA_PTE_WRITABLE	(1U << 1)
#define MMAP_TESTBED_VMA_ANON_VMA	(1U << 2)

/**
 * struct mmap_testbed_vma - the kernel's view of a VMA of the caller
 * @addr: in: an address in the VMA
 * @start: its first byte
 * @end: the byte after it
 * @pgoff: vm_pgoff
 * @flags: vm_flags
 * @page_prot: vm_page_prot
 * @private_data: vm_private_data: 0, a cookie, or all ones for a pointer
 * @pte_prot: protection of the PTE at @addr, with MMAP_TESTBED_VMA_HAS_PTE
 * @pte_pfn: its page frame
 * @bits: MMAP_TESTBED_VMA_*
 * @reserved: 0
 * @vm_ops: tag, as in the hook log
 * @file: tag, as in the hook log
 */
struct mmap_testbed_vma {
	__u64 addr;
	__u64 start;
	__u64 end;
	__u64 pgoff;
	__u64 flags;
	__u64 page_prot;
	__u64 private_data;
	__u64 pte_prot;
	__u64 pte_pfn;
	__u32 bits;
	__u32 reserved;
	char vm_ops[MMAP_TESTBED_TAG_LEN];
	char file[MMAP_TESTBED_TAG_LEN];
};

/* SET_LOWER and SET_REPLACEMENT take a file descriptor, -1 for none. */
#define MMAP_TESTBED_SET_PLAN		_IOW('m', 0x80, struct mmap_testbed_plan)
#define MMAP_TESTBED_SET_LOWER		_IOW('m', 0x81, __s32)
#define MMAP_TESTBED_SET_REPLACEMENT	_IOW('m', 0x82, __s32)
#define MMAP_TESTBED_COUNTS		_IOR('m', 0x83, struct mmap_testbed_counts)
#define MMAP_TESTBED_INFO		_IOR('m', 0x84, struct mmap_testbed_info)
#define MMAP_TESTBED_VMA		_IOWR('m', 0x85, struct mmap_testbed_vma)
#define MMAP_TESTBED_RESET_POOL		_IO('m', 0x86)
#define MMAP_TESTBED_SET_GATE		_IOW('m', 0x87, struct mmap_testbed_gate)
/* The argument is the longest wait in milliseconds. 1: a hook waits; 0: none does. */
#define MMAP_TESTBED_AWAIT_GATE		_IO('m', 0x88)
#define MMAP_TESTBED_OPEN_GATE		_IO('m', 0x89)

#endif /* MMAP_TESTBED_H */
