"""Source text to a bootable kernel with its modules and guest programs."""
