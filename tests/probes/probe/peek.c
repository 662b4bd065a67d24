// SPDX-License-Identifier: GPL-2.0
/*
 * peek, poke: accesses pages as another process does, by /proc/self/mem, by
 * process_vm_readv(2) and process_vm_writev(2), or by ptrace(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

/* Copies a page from or to an address of this process. Returns 0, or an errno. */
typedef int access_function(unsigned long addr, uint64_t *page, bool write);

static int by_mem(unsigned long addr, uint64_t *page, bool write)
{
	size_t size = page_size();
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC), err = 0;
	ssize_t done;

	if (fd < 0)
		return errno;
	done = write ? pwrite(fd, page, size, addr) : pread(fd, page, size, addr);
	if (done != (ssize_t)size)
		err = done < 0 ? errno : EIO;
	close(fd);
	return err;
}

static int by_vm(unsigned long addr, uint64_t *page, bool write)
{
	struct iovec mine = { page, page_size() }, theirs = { (void *)addr, page_size() };
	ssize_t done;

	done = write ? process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0) :
		       process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0);
	if (done == (ssize_t)page_size())
		return 0;
	return done < 0 ? errno : EIO;
}

/* Runs in a child, which stops its parent. */
static int trace(pid_t parent, unsigned long addr, uint64_t *page, bool write)
{
	size_t i;

	if (ptrace(PTRACE_SEIZE, parent, 0, 0) || ptrace(PTRACE_INTERRUPT, parent, 0, 0))
		return errno;
	waitpid(parent, NULL, __WALL);
	for (i = 0; i < page_size() / sizeof(*page); i++, addr += sizeof(*page)) {
		errno = 0;
		if (write)
			ptrace(PTRACE_POKEDATA, parent, addr, page[i]);
		else
			page[i] = ptrace(PTRACE_PEEKDATA, parent, addr, 0);
		if (errno)
			break;
	}
	return errno;
}

static int read_whole(int fd, void *to, size_t len)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < len; done += n) {
		n = read(fd, (char *)to + done, len - done);
		if (n <= 0)
			return n < 0 ? errno : EPIPE;
	}
	return 0;
}

static void trace_and_exit(int fd, unsigned long addr, uint64_t *page, bool write_it)
{
	int err = trace(getppid(), addr, page, write_it);
	ssize_t size = page_size();

	if (write(fd, &err, sizeof(err)) != sizeof(err) || write(fd, page, size) != size)
		_exit(1);
	_exit(0); /* detaches */
}

static int by_ptrace(unsigned long addr, uint64_t *page, bool write)
{
	int ends[2], err, result;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return errno;
	child = fork();
	if (!child)
		trace_and_exit(ends[1], addr, page, write);
	err = child < 0 ? errno : 0;
	close(ends[1]);
	if (!err)
		err = read_whole(ends[0], &result, sizeof(result));
	if (!err)
		err = read_whole(ends[0], page, page_size());
	close(ends[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	return err ?: result;
}

static const struct flag ways[] = {
	{ "mem", 0 },
	{ "vm", 1 },
	{ "ptrace", 2 },
	{ }
};

static access_function *const functions[] = { by_mem, by_vm, by_ptrace };

static access_function *find_way(struct step *step)
{
	const char *text = option(step, "by");

	if (!text)
		usage("%s: by= is missing", step->words[0]);
	return functions[parse_flag(text, ways, "way")];
}

static void access_page(access_function *access_it, unsigned long addr, uint64_t *page,
			bool write)
{
	int err = access_it(addr, page, write);

	json_str("result", err ? strerrorname_np(err) : "ok");
	if (!err && !write)
		describe_content(page, page_size());
}

static void access_pages(struct step *step, const char *text, uint64_t *page, bool write)
{
	struct mapping mapping = mapping_of(word(step, 1));
	access_function *access_it = find_way(step);
	struct pages pages;
	size_t i;

	no_more_words(step);
	pages = parse_pages(text, mapping);
	json_begin(step);
	json_open("pages", '[');
	for (i = 0; i < pages.count; i++) {
		json_open(NULL, '{');
		json_int("page", pages.index[i]);
		access_page(access_it, mapping.addr + pages.index[i] * page_size(), page, write);
		json_close('}');
	}
	json_close(']');
	json_end();
	free_pages(&pages);
}

static uint64_t *new_page(uint64_t value)
{
	uint64_t *page = malloc(page_size());

	if (!page)
		abort();
	fill(page, page_size(), value);
	return page;
}

void peek_step(struct step *step)
{
	uint64_t *page = new_page(0);

	access_pages(step, word(step, 2), page, false);
	free(page);
}

void poke_step(struct step *step)
{
	const char *pages = word(step, 2);
	uint64_t *page = new_page(parse_number(word(step, 3)));

	access_pages(step, pages, page, true);
	free(page);
}
