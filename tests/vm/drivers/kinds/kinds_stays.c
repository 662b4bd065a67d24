// SPDX-License-Identifier: GPL-2.0
/* A module without an exit function: it can never be unloaded. */
#include <linux/module.h>

static int __init kinds_stays_init(void)
{
	return 0;
}

module_init(kinds_stays_init);
MODULE_DESCRIPTION("Stays loaded");
MODULE_LICENSE("GPL");
