// SPDX-License-Identifier: GPL-2.0
/* shmget, shmat, shmdt, shmstat, shmrm: SysV shared memory, an in-tree stack */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#include "probe.h"

void shmget_step(struct step *step)
{
	const char *name = word(step, 1);
	uint64_t size = parse_number(word(step, 2));
	int flags = has_word(step, "hugetlb") ? SHM_HUGETLB : 0;
	int id;

	no_more_words(step);
	id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600 | flags);
	report_result(step, id);
	name_segment(name, id);
}

static size_t size_of_segment(int id)
{
	struct shmid_ds facts;

	if (shmctl(id, IPC_STAT, &facts))
		return 0;
	return page_align(facts.shm_segsz);
}

static int attach_flags(struct step *step)
{
	int flags = 0;

	if (has_word(step, "ro"))
		flags |= SHM_RDONLY;
	if (has_word(step, "exec"))
		flags |= SHM_EXEC;
	if (has_word(step, "rnd"))
		flags |= SHM_RND;
	if (has_word(step, "remap"))
		flags |= SHM_REMAP;
	return flags;
}

void shmat_step(struct step *step)
{
	const char *name = word(step, 1);
	int id = segment_of(word(step, 2));
	int flags = attach_flags(step);
	const char *addr = option(step, "addr");
	void *at, *hint = addr ? (void *)parse_address(addr) : NULL;
	struct mapping mapping = {};
	int err;

	no_more_words(step);
	at = shmat(id, hint, flags);
	err = at == (void *)-1 ? errno : 0;
	if (!err) {
		mapping.addr = (unsigned long)at;
		mapping.len = size_of_segment(id);
	}
	name_mapping(name, mapping);
	report_mapping(step, name, at, mapping.len, err);
}

void shmdt_step(struct step *step)
{
	struct mapping mapping = mapping_of(word(step, 1));

	no_more_words(step);
	report_result(step, shmdt((void *)mapping.addr));
}

void shmstat_step(struct step *step)
{
	int id = segment_of(word(step, 1));
	struct shmid_ds facts = {};
	int err;

	no_more_words(step);
	err = shmctl(id, IPC_STAT, &facts) ? errno : 0;
	json_begin(step);
	json_errno(err);
	if (!err) {
		json_int("nattch", facts.shm_nattch);
		json_int("size", facts.shm_segsz);
		json_bool("attached", facts.shm_atime);
		json_bool("detached", facts.shm_dtime);
		json_bool("last_was_own", facts.shm_lpid == getpid());
	}
	json_end();
}

void shmrm_step(struct step *step)
{
	int id = segment_of(word(step, 1));

	no_more_words(step);
	report_result(step, shmctl(id, IPC_RMID, NULL));
}
