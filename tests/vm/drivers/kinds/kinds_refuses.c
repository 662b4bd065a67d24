// SPDX-License-Identifier: GPL-2.0
/* A module that does its work when it is loaded, and refuses to stay. */
#include <linux/module.h>

static int __init kinds_refuses_init(void)
{
	return -EAGAIN;
}

module_init(kinds_refuses_init);
MODULE_DESCRIPTION("Refuses to stay");
MODULE_LICENSE("GPL");
