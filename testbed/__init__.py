"""A driver testbed for the mmap hooks of Linux."""
