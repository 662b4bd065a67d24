struct file {
	int mode;
};

struct file_operations {
	int (*mmap_prepare)(void *desc);
};
