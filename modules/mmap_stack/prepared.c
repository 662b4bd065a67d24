// SPDX-License-Identifier: GPL-2.0
/*
 * The open files whose prepare hook ran, newest first. The core does not pass
 * mapped() the file whose hook requested it. mapped() and the prepare hook run
 * under one hold of the mmap lock, so the last prepare of the mm is the right
 * one.
 */
#include "mmap_stack.h"

static LIST_HEAD(prepared);
static DEFINE_SPINLOCK(prepared_lock);

void remember_prepared(struct opened *opened)
{
	spin_lock(&prepared_lock);
	opened->prepared_mm = current->mm;
	list_move(&opened->prepared, &prepared);
	spin_unlock(&prepared_lock);
}

void forget_prepared(struct opened *opened)
{
	spin_lock(&prepared_lock);
	list_del_init(&opened->prepared);
	spin_unlock(&prepared_lock);
}

void plan_of_last_prepare(struct mmap_testbed_plan *plan)
{
	struct opened *opened;

	memset(plan, 0, sizeof(*plan));
	spin_lock(&prepared_lock);
	list_for_each_entry(opened, &prepared, prepared) {
		if (opened->prepared_mm != current->mm)
			continue;
		plan_of(opened, plan);
		break;
	}
	spin_unlock(&prepared_lock);
}
