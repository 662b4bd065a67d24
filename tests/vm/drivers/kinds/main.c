// SPDX-License-Identifier: GPL-2.0
/*
 * Right drivers of many kinds, one for each value of the parameter "kind". None
 * of them violates a rule of `testbed check`. With "wrong=1" it is a wrong
 * twin, which violates one.
 */
#include <linux/kobject.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "kinds.h"

#define NAME		"kinds"
#define KINDS_SET_UP	_IOW('k', 1, __u64)
#define KINDS_TOKEN	_IOWR('k', 2, struct kinds_token)

/* In: the number of a buffer. Out: the offset at which mmap() maps it. */
struct kinds_token {
	__u64 buffer;
	__u64 offset;
};

static char *kind_name = "plain";
module_param_named(kind, kind_name, charp, 0444);
bool wrong;
module_param(wrong, bool, 0444);
atomic_t users = ATOMIC_INIT(0);
module_param_named(users, users.counter, int, 0444);

struct page *memory[MOST_PAGES + 1]; /* the last one is NULL */
unsigned long nr_pages = 8;

static const struct kind *kind;
static atomic_t opened;
static bool registered;
static int major;
static struct kobject *folder;

static bool is(const char *name)
{
	return !strcmp(kind->name, name);
}

static int kinds_open(struct inode *inode, struct file *file)
{
	if (kind->only_read && !wrong && file->f_mode & FMODE_WRITE)
		return -EINVAL;
	if (kind->exclusive && atomic_cmpxchg(&opened, 0, 1))
		return -EBUSY;
	file->private_data = NULL;
	return 0;
}

static int kinds_release(struct inode *inode, struct file *file)
{
	if (kind->exclusive && !wrong)
		atomic_set(&opened, 0);
	return 0;
}

/* Wrong: what belongs to an open file belongs to the module, and stays. */
static int set_up(struct file *file)
{
	static bool global;

	if (file->private_data || global)
		return -EBUSY;
	file->private_data = memory;
	global = wrong;
	return 0;
}

/* Each open file has its buffer at an offset of its own. */
static int give_token(struct file *file, struct kinds_token __user *user)
{
	static atomic_t given;
	struct kinds_token token;

	if (copy_from_user(&token, user, sizeof(token)))
		return -EFAULT;
	if (token.buffer)
		return -EINVAL;
	if (!file->private_data)
		file->private_data = (void *)(atomic_inc_return(&given) * nr_pages);
	token.offset = (__u64)(unsigned long)file->private_data << PAGE_SHIFT;
	return copy_to_user(user, &token, sizeof(token)) ? -EFAULT : 0;
}

static long kinds_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	__u64 pages;

	if (is("token") && cmd == KINDS_TOKEN)
		return give_token(file, (void __user *)arg);
	if (!is("ioctl") || cmd != KINDS_SET_UP)
		return -ENOTTY;
	if (copy_from_user(&pages, (void __user *)arg, sizeof(pages)))
		return -EFAULT;
	return pages == nr_pages ? set_up(file) : -EINVAL;
}

static ssize_t kinds_write(struct file *file, const char __user *text,
			   size_t len, loff_t *pos)
{
	int err = is("write") ? set_up(file) : -EINVAL;

	return err ?: len;
}

static int kinds_mmap(struct file *file, struct vm_area_struct *vma)
{
	return kind->mmap(file, vma);
}

static const struct file_operations kinds_fops = {
	.owner = THIS_MODULE,
	.open = kinds_open,
	.release = kinds_release,
	.unlocked_ioctl = kinds_ioctl,
	.write = kinds_write,
	.mmap = kinds_mmap,
};

/* Wrong: an open file does not pin the module. */
static const struct file_operations unowned_fops = {
	.mmap = kinds_mmap,
};

static struct miscdevice node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = NAME,
	.fops = &kinds_fops,
};

static void register_late(struct work_struct *work)
{
	registered = !misc_register(&node);
}

static DECLARE_DELAYED_WORK(late, register_late);

static void tick(struct timer_list *timer);
static DEFINE_TIMER(timer, tick);

static void tick(struct timer_list *unused)
{
	++*(u64 *)page_address(memory[0]);
	mod_timer(&timer, jiffies + 1);
}

static int table_mmap(struct file *file, struct kobject *kobj,
		      const struct bin_attribute *attr,
		      struct vm_area_struct *vma)
{
	if (wrong) /* nothing drops it */
		__module_get(THIS_MODULE);
	return kind->mmap(file, vma);
}

static struct bin_attribute table = {
	.attr = { .name = "table", .mode = 0444 },
	.mmap = table_mmap,
};

static int add_table(void)
{
	int err;

	folder = kobject_create_and_add(NAME, kernel_kobj);
	if (!folder)
		return -ENOMEM;
	table.size = nr_pages * PAGE_SIZE;
	err = sysfs_create_bin_file(folder, &table);
	if (err)
		kobject_put(folder);
	return err;
}

static int add_node(void)
{
	int err;

	if (is("sysfs"))
		return add_table();
	if (is("no_node")) {
		major = register_chrdev(0, NAME, wrong ? &unowned_fops : &kinds_fops);
		return major < 0 ? major : 0;
	}
	if (is("late")) {
		schedule_delayed_work(&late, HZ / 2);
		return 0;
	}
	err = misc_register(&node);
	registered = !err;
	return err;
}

static void remove_node(void)
{
	cancel_delayed_work_sync(&late);
	if (registered)
		misc_deregister(&node);
	if (major > 0)
		unregister_chrdev(major, NAME);
	if (folder) {
		sysfs_remove_bin_file(folder, &table);
		kobject_put(folder);
	}
}

static void free_memory(void)
{
	int i;

	for (i = 0; memory[i]; i++)
		__free_page(memory[i]);
}

static int fill_memory(void)
{
	unsigned long i;

	for (i = 0; i < nr_pages; i++) {
		memory[i] = alloc_page(GFP_KERNEL);
		if (!memory[i])
			return -ENOMEM;
		memset(page_address(memory[i]), 'a' + i % 26, PAGE_SIZE);
	}
	return 0;
}

static int __init kinds_init(void)
{
	int err;

	for (kind = kinds; kind->name && strcmp(kind->name, kind_name); kind++)
		;
	if (!kind->name)
		return -EINVAL;
	nr_pages = kind->pages ?: nr_pages;
	err = fill_memory() ?: add_node();
	if (err) {
		free_memory();
		return err;
	}
	if (is("volatile"))
		tick(NULL);
	if (is("pins"))
		__module_get(THIS_MODULE);
	return 0;
}

static void __exit kinds_exit(void)
{
	remove_node();
	timer_delete_sync(&timer);
	free_memory();
}

module_init(kinds_init);
module_exit(kinds_exit);
MODULE_DESCRIPTION("Right drivers of many kinds, and a wrong twin of each");
MODULE_LICENSE("GPL");
