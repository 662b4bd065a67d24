#include <linux/fs.h>

int compat_vma_mmap(struct file *file)
{
	return file->mode;
}
