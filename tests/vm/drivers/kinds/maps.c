// SPDX-License-Identifier: GPL-2.0
/* The hooks of the kinds. `wrong` makes a hook, or its vm_ops, that of the wrong twin. */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/kref.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "kinds.h"

static vm_fault_t memory_fault(struct vm_fault *vmf)
{
	if (vmf->pgoff >= nr_pages)
		return VM_FAULT_SIGBUS;
	get_page(memory[vmf->pgoff]);
	vmf->page = memory[vmf->pgoff];
	return 0;
}

/* Wrong: a larger mapping reaches the end of the array. */
static vm_fault_t unchecked_fault(struct vm_fault *vmf)
{
	vmf->page = memory[vmf->pgoff];
	get_page(vmf->page);
	return 0;
}

/* Wrong: each process gets a page of its own, although the mapping is shared. */
static vm_fault_t own_fault(struct vm_fault *vmf)
{
	vmf->page = alloc_page(GFP_HIGHUSER | __GFP_ZERO);
	return vmf->page ? 0 : VM_FAULT_OOM;
}

/* Wrong: once the head is unmapped, the rest begins with the first page. */
static vm_fault_t shifted_fault(struct vm_fault *vmf)
{
	vmf->page = memory[(vmf->address - vmf->vma->vm_start) >> PAGE_SHIFT];
	get_page(vmf->page);
	return 0;
}

static void count_open(struct vm_area_struct *vma)
{
	atomic_inc(&users);
}

static void count_close(struct vm_area_struct *vma)
{
	atomic_dec(&users);
}

static int refuse_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

static int refuse_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

static int refuse_mprotect(struct vm_area_struct *vma, unsigned long start,
			   unsigned long end, unsigned long newflags)
{
	return -EACCES;
}

static const struct vm_operations_struct plain_ops = {
	.fault = memory_fault,
};

static const struct vm_operations_struct unchecked_ops = {
	.fault = unchecked_fault,
};

static const struct vm_operations_struct shifted_ops = {
	.fault = shifted_fault,
};

static const struct vm_operations_struct own_ops = {
	.fault = own_fault,
};

static const struct vm_operations_struct counted_ops = {
	.open = count_open,
	.close = count_close,
	.fault = memory_fault,
};

/* Wrong: a split, a move and a fork are not counted, but each VMA is closed. */
static const struct vm_operations_struct unopened_ops = {
	.close = count_close,
	.fault = memory_fault,
};

/* Wrong: a mapping is counted for ever. */
static const struct vm_operations_struct unclosed_ops = {
	.open = count_open,
	.fault = memory_fault,
};

static int map_plain(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &plain_ops;
	return 0;
}

static int map_counted(struct vm_area_struct *vma,
		       const struct vm_operations_struct *wrong_ops)
{
	atomic_inc(&users);
	vma->vm_ops = wrong ? wrong_ops : &counted_ops;
	return 0;
}

static int map_dontcopy(struct file *file, struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_DONTCOPY);
	return map_counted(vma, &unopened_ops);
}

static int map_late(struct file *file, struct vm_area_struct *vma)
{
	return map_counted(vma, &unclosed_ops);
}

/* Firmware: memory that has no struct page. */
static int map_pfn(struct file *file, struct vm_area_struct *vma)
{
	const unsigned long pfn = IS_ENABLED(CONFIG_X86) ? PHYS_PFN(0xffff0000) : 0;

	if (vma->vm_flags & VM_WRITE)
		return -EPERM;
	if (vma->vm_pgoff >= nr_pages ||
	    vma_pages(vma) > nr_pages - vma->vm_pgoff)
		return -EINVAL;
	vm_flags_clear(vma, VM_MAYWRITE);
	if (wrong) /* nothing drops it */
		__module_get(THIS_MODULE);
	return remap_pfn_range(vma, vma->vm_start, pfn + vma->vm_pgoff,
			       vma->vm_end - vma->vm_start,
			       pgprot_noncached(vma->vm_page_prot));
}

static int map_exact(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_pgoff || vma_pages(vma) != nr_pages)
		return -EINVAL;
	if (wrong) {
		vma->vm_ops = &unchecked_ops;
		return 0;
	}
	vm_flags_set(vma, VM_DONTEXPAND);
	return map_plain(file, vma);
}

static const struct vm_operations_struct one_ops = {
	.open = count_open,
	.close = count_close,
	.may_split = refuse_split,
	.fault = memory_fault,
};

static int map_one(struct file *file, struct vm_area_struct *vma)
{
	if (atomic_cmpxchg(&users, 0, 1))
		return -EBUSY;
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND);
	vma->vm_ops = wrong ? &unclosed_ops : &one_ops;
	return 0;
}

static int map_once(struct file *file, struct vm_area_struct *vma)
{
	static void *global;
	void **used = wrong ? &global : &file->private_data;

	if (*used)
		return -EBUSY;
	*used = memory;
	return map_plain(file, vma);
}

static int map_read_only(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_WRITE)
		return -EPERM;
	if (!wrong)
		vm_flags_clear(vma, VM_MAYWRITE);
	return map_plain(file, vma);
}

/* The close of any mapping clears the memory of all. */
static void clear_close(struct vm_area_struct *vma)
{
	clear_page(page_address(memory[1]));
}

static const struct vm_operations_struct clearing_ops = {
	.close = clear_close,
	.fault = memory_fault,
};

static int map_volatile(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = wrong ? &clearing_ops : &plain_ops;
	return 0;
}

/* The first page has the number of mappings. */
static void header_open(struct vm_area_struct *vma)
{
	*(u64 *)page_address(memory[0]) = atomic_inc_return(&users);
}

static void header_close(struct vm_area_struct *vma)
{
	*(u64 *)page_address(memory[0]) = atomic_dec_return(&users);
	if (wrong)
		clear_page(page_address(memory[1]));
}

static const struct vm_operations_struct header_ops = {
	.open = header_open,
	.close = header_close,
	.fault = memory_fault,
};

static int map_header(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &header_ops;
	header_open(vma);
	return 0;
}

static int map_exec_only(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_flags & (VM_READ | VM_WRITE))
		return -EPERM;
	if (wrong)
		vm_flags_set(vma, VM_READ);
	return map_plain(file, vma);
}

static int map_write_only(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_flags & (VM_READ | VM_EXEC))
		return -EPERM;
	vm_flags_clear(vma, VM_MAYREAD | VM_MAYEXEC);
	vma->vm_ops = wrong ? &own_ops : &plain_ops;
	return 0;
}

/* As drm_legacy_mmap() did: the mapping can be read, whatever was asked for. */
static int map_clears(struct file *file, struct vm_area_struct *vma)
{
	if (wrong)
		vm_flags_set(vma, VM_WRITE);
	else
		vm_flags_clear(vma, VM_WRITE | VM_MAYWRITE);
	return map_plain(file, vma);
}

static int map_pins(struct file *file, struct vm_area_struct *vma)
{
	if (wrong)
		__module_get(THIS_MODULE);
	return map_plain(file, vma);
}

/* The offset is the number of a buffer of four pages, as in UIO. */
static vm_fault_t index_fault(struct vm_fault *vmf)
{
	unsigned long number = (unsigned long)vmf->vma->vm_private_data;
	unsigned long page = vmf->pgoff - number;

	if (page >= 4)
		return VM_FAULT_SIGBUS;
	vmf->page = memory[4 * number + page];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct index_ops = {
	.fault = index_fault,
};

static int map_index(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_pgoff >= nr_pages / 4 || vma_pages(vma) > 4)
		return -EINVAL;
	vma->vm_private_data = (void *)vma->vm_pgoff;
	vma->vm_ops = &index_ops;
	if (!wrong) /* adjacent mappings must not be merged */
		vm_flags_set(vma, VM_DONTEXPAND);
	return 0;
}

/* A buffer for each mapping. */
struct buffer {
	struct kref mappings;
	struct page *page;
};

static void buffer_free(struct kref *mappings)
{
	struct buffer *buffer = container_of(mappings, struct buffer, mappings);

	put_page(buffer->page);
	if (!wrong) /* the twin puts it once more */
		kfree(buffer);
}

static void buffer_open(struct vm_area_struct *vma)
{
	struct buffer *buffer = vma->vm_private_data;

	kref_get(&buffer->mappings);
}

static void buffer_close(struct vm_area_struct *vma)
{
	struct buffer *buffer = vma->vm_private_data;

	kref_put(&buffer->mappings, buffer_free);
}

static vm_fault_t buffer_fault(struct vm_fault *vmf)
{
	struct buffer *buffer = vmf->vma->vm_private_data;

	vmf->page = buffer->page;
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct buffer_ops = {
	.open = buffer_open,
	.close = buffer_close,
	.fault = buffer_fault,
};

static const struct vm_operations_struct unopened_buffer_ops = {
	.close = buffer_close,
	.fault = buffer_fault,
};

static int map_buffer(struct file *file, struct vm_area_struct *vma)
{
	static atomic_t number;
	struct buffer *buffer = kzalloc_obj(*buffer);

	if (!buffer)
		return -ENOMEM;
	buffer->page = alloc_page(GFP_KERNEL);
	if (!buffer->page) {
		kfree(buffer);
		return -ENOMEM;
	}
	kref_init(&buffer->mappings);
	memset(page_address(buffer->page), atomic_inc_return(&number), PAGE_SIZE);
	vma->vm_private_data = buffer;
	vma->vm_ops = wrong ? &unopened_buffer_ops : &buffer_ops;
	return 0;
}

static const struct vm_operations_struct stiff_ops = {
	.open = count_open,
	.close = count_close,
	.may_split = refuse_split,
	.mremap = refuse_mremap,
	.mprotect = refuse_mprotect,
	.fault = memory_fault,
};

static int map_stiff(struct file *file, struct vm_area_struct *vma)
{
	atomic_inc(&users);
	vma->vm_ops = wrong ? &unclosed_ops : &stiff_ops;
	return 0;
}

static int map_set_up(struct file *file, struct vm_area_struct *vma)
{
	return file->private_data ? map_plain(file, vma) : -ENXIO;
}

/* The buffer begins at the offset that an ioctl has returned. */
static vm_fault_t token_fault(struct vm_fault *vmf)
{
	unsigned long start = (unsigned long)vmf->vma->vm_private_data;
	unsigned long page = vmf->pgoff - start;

	if (wrong) /* where in the buffer the mapping begins is forgotten */
		page = (vmf->address - vmf->vma->vm_start) >> PAGE_SHIFT;
	if (page >= nr_pages)
		return VM_FAULT_SIGBUS;
	vmf->page = memory[page];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct token_ops = {
	.fault = token_fault,
};

static int map_token(struct file *file, struct vm_area_struct *vma)
{
	unsigned long start = (unsigned long)file->private_data;

	if (!start || vma->vm_pgoff < start ||
	    vma->vm_pgoff + vma_pages(vma) > start + nr_pages)
		return -EINVAL;
	vma->vm_private_data = file->private_data;
	vma->vm_ops = &token_ops;
	return 0;
}

static int map_shifted(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_pgoff || vma_pages(vma) > nr_pages)
		return -EINVAL;
	vm_flags_set(vma, VM_DONTEXPAND);
	vma->vm_ops = wrong ? &shifted_ops : &plain_ops;
	return 0;
}

/* One mapping at a time. Wrong: a call that fails counts as one for ever. */
static int map_stuck(struct file *file, struct vm_area_struct *vma)
{
	bool fits = vma->vm_pgoff < nr_pages &&
		    vma_pages(vma) <= nr_pages - vma->vm_pgoff;

	if (!fits && !wrong)
		return -EINVAL;
	if (atomic_cmpxchg(&users, 0, 1))
		return -EBUSY;
	if (!fits)
		return -EINVAL;
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND);
	vma->vm_ops = &one_ops;
	return 0;
}

const struct kind kinds[] = {
	{ "plain", map_plain },
	{ "dontcopy", map_dontcopy },
	{ "pfn", map_pfn },
	{ "exact", map_exact, .pages = MOST_PAGES },
	{ "one", map_one },
	{ "once", map_once },
	{ "exclusive", map_plain, .exclusive = true },
	{ "read_only", map_read_only, .only_read = true },
	{ "sysfs", map_read_only },
	{ "volatile", map_volatile },
	{ "header", map_header },
	{ "exec_only", map_exec_only },
	{ "write_only", map_write_only },
	{ "clears", map_clears },
	{ "pins", map_pins },
	{ "no_node", map_plain },
	{ "late", map_late },
	{ "ioctl", map_set_up, .setup = true },
	{ "write", map_set_up, .setup = true },
	{ "token", map_token, .setup = true },
	{ "index", map_index, .pages = 16 },
	{ "buffer", map_buffer },
	{ "stiff", map_stiff },
	{ "shifted", map_shifted },
	{ "stuck", map_stuck },
	{ }
};
