// SPDX-License-Identifier: GPL-2.0
/* The device nodes, their open files and their ioctls. */
#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/miscdevice.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "mmap_stack.h"

static int node_release(struct inode *inode, struct file *file)
{
	struct opened *opened = file->private_data;

	forget_prepared(opened);
	drop_edges(opened);
	kfree(opened);
	return 0;
}

static bool is_errno(s32 err)
{
	return err <= 0 && err >= -MAX_ERRNO;
}

static bool is_cookie(u64 cookie)
{
	return !upper_32_bits(cookie);
}

/*
 * Rejects the plans that no hook can carry out. A plan that the kernel has to
 * refuse is valid.
 */
static bool plan_is_valid(const struct mmap_testbed_plan *plan)
{
	if (plan->size != sizeof(*plan) || plan->reserved ||
	    plan->fields & ~MMAP_TESTBED_ALL_FIELDS)
		return false;
	if (plan->page_prot >= MMAP_TESTBED_NR_PROTS ||
	    plan->vm_ops >= MMAP_TESTBED_NR_OPS ||
	    plan->action >= MMAP_TESTBED_NR_ACTIONS ||
	    plan->replace >= MMAP_TESTBED_NR_REPLACES)
		return false;
	if (!is_errno(plan->hook_error) || !is_errno(plan->hook_error_after) ||
	    !is_errno(plan->mapped_error) || !is_errno(plan->outer_error))
		return false;
	if (!is_cookie(plan->private_data) || !is_cookie(plan->mapped_private))
		return false;
	if (plan->pool_page >= POOL_PAGES || plan->pool_byte >= PAGE_SIZE ||
	    plan->action_offset > POOL_PAGES << PAGE_SHIFT)
		return false;
	if (plan->action == MMAP_TESTBED_ACTION_SIMPLE_IOREMAP &&
	    plan->fields & MMAP_TESTBED_ACTION_OFFSET)
		return false;
	if (plan->action == MMAP_TESTBED_ACTION_KERNEL_PAGES &&
	    plan->fields & MMAP_TESTBED_PFN)
		return false;
	if (plan->bad_page >= POOL_PAGES)
		return false;
	return PAGE_ALIGNED(plan->action_offset | plan->shrink_start |
			    plan->shrink_end | plan->widen_end);
}

static long set_plan(struct opened *opened, const void __user *arg)
{
	struct mmap_testbed_plan plan;

	if (copy_from_user(&plan, arg, sizeof(plan)))
		return -EFAULT;
	if (!plan_is_valid(&plan))
		return -EINVAL;
	spin_lock(&opened->lock);
	opened->plan = plan;
	spin_unlock(&opened->lock);
	return 0;
}

static long set_gate(const void __user *arg)
{
	struct mmap_testbed_gate wanted;

	if (copy_from_user(&wanted, arg, sizeof(wanted)))
		return -EFAULT;
	return gate_set(&wanted);
}

static long set_fd(struct file *file, struct file **edge, const int __user *arg)
{
	int fd;

	if (get_user(fd, arg))
		return -EFAULT;
	return set_edge(file, edge, fd);
}

/* Does not count the reference that this function itself takes. */
static s64 count_edge(struct opened *opened, struct file **edge)
{
	struct file *file = get_edge(opened, edge);
	s64 count = -1;

	if (file) {
		count = file_count(file) - 1;
		fput(file);
	}
	return count;
}

static long get_counts(struct file *file, void __user *arg)
{
	struct opened *opened = opened_of(file);
	struct mmap_testbed_counts counts = {
		.id = opened->id,
		.file = file_count(file),
		.lower = count_edge(opened, &opened->lower),
		.replacement = count_edge(opened, &opened->replacement),
	};

	pool_count(&counts);
	count_events(counts.events);
	return copy_to_user(arg, &counts, sizeof(counts)) ? -EFAULT : 0;
}

static long get_info(void __user *arg)
{
	const struct mmap_testbed_info info = {
		.pool_pages = POOL_PAGES,
		.pool_pfn = pool_pfn(),
	};

	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static void describe_pte(struct vm_area_struct *vma,
			 struct mmap_testbed_vma *to)
{
	struct follow_pfnmap_args args = {
		.vma = vma,
		.address = to->addr,
	};

	if (follow_pfnmap_start(&args))
		return;
	to->pte_prot = pgprot_val(args.pgprot);
	to->pte_pfn = args.pfn;
	to->bits |= MMAP_TESTBED_VMA_HAS_PTE;
	if (args.writable)
		to->bits |= MMAP_TESTBED_VMA_PTE_WRITABLE;
	follow_pfnmap_end(&args);
}

static void describe_vma(struct vm_area_struct *vma,
			 struct mmap_testbed_vma *to)
{
	unsigned long private = (unsigned long)vma->vm_private_data;
	struct seq_buf s;

	to->start = vma->vm_start;
	to->end = vma->vm_end;
	to->pgoff = vma->vm_pgoff;
	to->flags = vma->vm_flags;
	to->page_prot = pgprot_val(vma->vm_page_prot);
	to->private_data = is_cookie(private) ? private : U64_MAX;
	to->bits = vma->anon_vma ? MMAP_TESTBED_VMA_ANON_VMA : 0;
	seq_buf_init(&s, to->vm_ops, sizeof(to->vm_ops));
	hook_log_put_vm_ops(&s, vma->vm_ops);
	seq_buf_init(&s, to->file, sizeof(to->file));
	hook_log_put_file(&s, vma->vm_file);
	describe_pte(vma, to);
}

static long get_vma(void __user *arg)
{
	struct mmap_testbed_vma facts = {};
	struct vm_area_struct *vma;

	if (get_user(facts.addr, (u64 __user *)arg))
		return -EFAULT;
	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, facts.addr);
	if (vma)
		describe_vma(vma, &facts);
	mmap_read_unlock(current->mm);
	if (!vma)
		return -ENOENT;
	return copy_to_user(arg, &facts, sizeof(facts)) ? -EFAULT : 0;
}

static long node_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct opened *opened = opened_of(file);
	void __user *to = (void __user *)arg;

	switch (cmd) {
	case MMAP_TESTBED_SET_PLAN:
		return set_plan(opened, to);
	case MMAP_TESTBED_SET_LOWER:
		return set_fd(file, &opened->lower, to);
	case MMAP_TESTBED_SET_REPLACEMENT:
		return set_fd(file, &opened->replacement, to);
	case MMAP_TESTBED_COUNTS:
		return get_counts(file, to);
	case MMAP_TESTBED_INFO:
		return get_info(to);
	case MMAP_TESTBED_VMA:
		return get_vma(to);
	case MMAP_TESTBED_RESET_POOL:
		pool_reset();
		return 0;
	case MMAP_TESTBED_SET_GATE:
		return set_gate(to);
	case MMAP_TESTBED_AWAIT_GATE:
		return gate_await(arg);
	case MMAP_TESTBED_OPEN_GATE:
		gate_open();
		return 0;
	}
	return -ENOTTY;
}

#define NODE_FOPS(...)				\
	(&(const struct file_operations) {	\
		.owner = THIS_MODULE,		\
		.open = node_open,		\
		.release = node_release,	\
		.unlocked_ioctl = node_ioctl,	\
		__VA_ARGS__			\
	})

#define NODE(_name, ...)				\
	{						\
		.minor = MISC_DYNAMIC_MINOR,		\
		.name = "mmap_" _name,			\
		.fops = NODE_FOPS(__VA_ARGS__),		\
	}

static struct miscdevice nodes[] = {
	NODE("direct", .mmap_prepare = prepare_hook),
	NODE("stack", .mmap = stack_mmap),
	NODE("stack_first", .mmap = stack_first_mmap),
	NODE("stack_after", .mmap = stack_after_mmap),
	NODE("prepare_stack", .mmap_prepare = prepare_stack_hook),
	NODE("prepare_first", .mmap_prepare = prepare_first_hook),
#ifdef LAYER_NESTS
	NODE("custom", .mmap = custom_mmap),
#endif
	NODE("legacy", .mmap = legacy_mmap),
	NODE("both", .mmap = legacy_mmap, .mmap_prepare = prepare_hook),
	NODE("none"),
};

static void remove_nodes(size_t count)
{
	while (count--)
		misc_deregister(&nodes[count]);
}

static int add_nodes(void)
{
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(nodes); i++) {
		err = misc_register(&nodes[i]);
		if (err) {
			remove_nodes(i);
			return err;
		}
	}
	return 0;
}

/*
 * A regular file with both hooks, which FUSE has to refuse: fuse_backing_open()
 * of fs/fuse/backing.c takes only regular files. The hooks are never called.
 */
static int refuse_mmap(struct file *file, struct vm_area_struct *vma)
{
	return -EBADF;
}

static const struct file_operations both_fops = {
	.owner = THIS_MODULE,
	.mmap = refuse_mmap,
	.mmap_prepare = prepare_hook,
};

static struct dentry *both_file;

static bool log_file_tag(struct seq_buf *s, const struct file *file)
{
	struct opened *opened = opened_of(file);

	if (opened)
		seq_buf_printf(s, "%s#%llu", opened->name, opened->id);
	return opened;
}

static const struct hook_log_names log_names = {
	.dir = "mmap_testbed",
	.file = log_file_tag,
	.vm_ops = vm_ops_names,
	.memory = "pool",
};

static int __init mmap_stack_init(void)
{
	int err = pool_init();

	if (err)
		return err;
	err = hook_log_init(&log_names, pool_pfn(), POOL_PAGES);
	if (err)
		goto free_pool;
	err = add_nodes();
	if (err)
		goto exit_log;
	both_file = debugfs_create_file_unsafe("mmap_both", 0600, NULL, NULL,
					       &both_fops);
	return 0;

exit_log:
	hook_log_exit();
free_pool:
	pool_exit();
	return err;
}

static void __exit mmap_stack_exit(void)
{
	debugfs_remove(both_file);
	remove_nodes(ARRAY_SIZE(nodes));
	hook_log_exit();
	pool_exit();
}

module_init(mmap_stack_init);
module_exit(mmap_stack_exit);
MODULE_DESCRIPTION("mmap hooks, direct and stacked, that carry out a plan");
MODULE_LICENSE("GPL");
