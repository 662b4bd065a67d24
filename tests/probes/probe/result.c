// SPDX-License-Identifier: GPL-2.0
/* The objects of steps that are one system call. */
#include <errno.h>

#include "probe.h"

void report_result(const struct step *step, long result)
{
	int err = result < 0 ? errno : 0;

	json_begin(step);
	json_errno(err);
	json_failure();
	json_end();
}

void report_mapping(const struct step *step, const char *name, void *addr,
		    size_t len, int err)
{
	json_begin(step);
	json_str("name", name);
	if (!err)
		json_hex("addr", (uintptr_t)addr);
	json_int("len", len);
	json_errno(err);
	json_failure();
	json_end();
}
