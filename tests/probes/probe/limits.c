// SPDX-License-Identifier: GPL-2.0
/*
 * rlimit, mdwe, mseal, mlockall, ksm, unprivileged, vma_name, read_implies_exec: limits and
 * properties of mappings
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE		65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA		0x53564d41
#define PR_SET_VMA_ANON_NAME	0
#endif
#ifndef SYS_mseal
#define SYS_mseal		462
#endif

static const struct flag mlockall_flags[] = {
	{ "current", MCL_CURRENT },
	{ "future", MCL_FUTURE },
	{ "onfault", MCL_ONFAULT },
	{ }
};

/* Returns the current use in bytes. */
static unsigned long in_use(const char *key)
{
	char *text = must_slurp("/proc/self/status");
	char *line = strstr(text, key);
	unsigned long kilobytes = 0;

	if (line)
		sscanf(line + strlen(key), "%lu", &kilobytes);
	free(text);
	return kilobytes << 10;
}

static int set_limit(int resource, unsigned long bytes)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit))
		return -1;
	limit.rlim_cur = bytes;
	return setrlimit(resource, &limit);
}

void rlimit_step(struct step *step)
{
	const char *what = word(step, 1);
	unsigned long more = parse_number(word(step, 2));

	no_more_words(step);
	if (!strcmp(what, "as"))
		report_result(step, set_limit(RLIMIT_AS, in_use("VmSize:") + more));
	else if (!strcmp(what, "memlock"))
		report_result(step, set_limit(RLIMIT_MEMLOCK, in_use("VmLck:") + more));
	else if (!strcmp(what, "data"))
		report_result(step, set_limit(RLIMIT_DATA, in_use("VmData:") + more));
	else
		usage("unknown limit '%s'", what);
}

void mdwe_step(struct step *step)
{
	no_more_words(step);
	report_result(step, prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0));
}

void mseal_step(struct step *step)
{
	struct mapping mapping = mapping_of(word(step, 1));

	no_more_words(step);
	report_result(step, syscall(SYS_mseal, mapping.addr, mapping.len, 0));
}

void mlockall_step(struct step *step)
{
	unsigned long flags = parse_flags(word(step, 1), mlockall_flags, "flag of mlockall");

	no_more_words(step);
	report_result(step, mlockall(flags));
}

void ksm_step(struct step *step)
{
	no_more_words(step);
	report_result(step, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
}

/* Without this capability, RLIMIT_MEMLOCK counts. */
static int drop_ipc_lock(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		return -1;
	data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	return syscall(SYS_capset, &header, data);
}

void unprivileged_step(struct step *step)
{
	no_more_words(step);
	report_result(step, drop_ipc_lock());
}

void vma_name_step(struct step *step)
{
	struct mapping mapping = mapping_of(word(step, 1));
	const char *name = word(step, 2);

	no_more_words(step);
	report_result(step, prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME,
				  mapping.addr, mapping.len, name));
}

void read_implies_exec_step(struct step *step)
{
	no_more_words(step);
	report_result(step, personality(READ_IMPLIES_EXEC));
}
