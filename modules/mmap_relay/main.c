// SPDX-License-Identifier: GPL-2.0
/*
 * mmap_relay.ko: a relay channel that can be mapped. The in-tree channels are
 * behind debugfs_full_proxy_file_operations (fs/debugfs/file.c), which lacks
 * mmap.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/relay.h>

#define NR_SUBBUFS	4

/* Page n of the buffer repeats this word plus n. */
#define FIRST_WORD	0x72656c6179000000ULL

static struct dentry *dir;
static struct rchan *channel;

static struct dentry *create_buf_file(const char *name, struct dentry *parent,
				      umode_t mode, struct rchan_buf *buf,
				      int *is_global)
{
	*is_global = 1;
	return debugfs_create_file_unsafe(name, mode, parent, buf,
					  &relay_file_operations);
}

static int remove_buf_file(struct dentry *file)
{
	debugfs_remove(file);
	return 0;
}

static const struct rchan_callbacks callbacks = {
	.create_buf_file = create_buf_file,
	.remove_buf_file = remove_buf_file,
};

static void fill(void)
{
	unsigned int page, word;

	for (page = 0; page < NR_SUBBUFS; page++) {
		u64 value = FIRST_WORD + page;

		for (word = 0; word < PAGE_SIZE / sizeof(value); word++)
			relay_write(channel, &value, sizeof(value));
	}
}

static int __init mmap_relay_init(void)
{
	dir = debugfs_create_dir("mmap_relay", NULL);
	channel = relay_open("buffer", dir, PAGE_SIZE, NR_SUBBUFS, &callbacks,
			     NULL);
	if (!channel) {
		debugfs_remove(dir);
		return -ENOMEM;
	}
	fill();
	return 0;
}

static void __exit mmap_relay_exit(void)
{
	relay_close(channel);
	debugfs_remove(dir);
}

module_init(mmap_relay_init);
module_exit(mmap_relay_exit);
MODULE_DESCRIPTION("a relay channel whose buffer can be mapped");
MODULE_LICENSE("GPL");
