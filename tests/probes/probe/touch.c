// SPDX-License-Identifier: GPL-2.0
/* read, write: accesses pages one by one and catches the signals */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t touching;
static __thread siginfo_t caught;

/* A signal outside an access kills the process, as it should. */
static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (!touching) {
		signal(number, SIG_DFL);
		return;
	}
	caught = *info;
	siglongjmp(back, 1);
}

static void catch_signals(void)
{
	const struct sigaction action = {
		.sa_sigaction = on_signal,
		.sa_flags = SA_SIGINFO,
	};

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

struct code {
	int signal;
	int code;
	const char *name;
};

static const struct code codes[] = {
	{ SIGBUS, BUS_ADRALN, "BUS_ADRALN" },
	{ SIGBUS, BUS_ADRERR, "BUS_ADRERR" },
	{ SIGBUS, BUS_OBJERR, "BUS_OBJERR" },
	{ SIGBUS, BUS_MCEERR_AR, "BUS_MCEERR_AR" },
	{ SIGSEGV, SEGV_MAPERR, "SEGV_MAPERR" },
	{ SIGSEGV, SEGV_ACCERR, "SEGV_ACCERR" },
	{ SIGSEGV, SEGV_PKUERR, "SEGV_PKUERR" },
	{ SIGSEGV, SEGV_MTEAERR, "SEGV_MTEAERR" },
	{ SIGSEGV, SEGV_MTESERR, "SEGV_MTESERR" },
};

static void report_signal(void)
{
	char number[16];
	const char *name = number;
	size_t i;

	snprintf(number, sizeof(number), "%d", caught.si_code);
	for (i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].signal == caught.si_signo &&
		    codes[i].code == caught.si_code)
			name = codes[i].name;
	json_str("result", caught.si_signo == SIGBUS ? "SIGBUS" : "SIGSEGV");
	json_str("code", name);
	json_hex("fault_addr", (uintptr_t)caught.si_addr);
}

/* Copies word by word, because device memory may not support memcpy(). */
static bool copy_words(volatile uint64_t *to, const volatile uint64_t *from,
		       size_t count)
{
	size_t i;

	if (sigsetjmp(back, 1)) {
		touching = 0;
		return false;
	}
	touching = 1;
	for (i = 0; i < count; i++)
		to[i] = from[i];
	touching = 0;
	return true;
}

static void touch(struct step *step, const char *text,
		  void (*one)(unsigned long addr, uint64_t *page),
		  uint64_t *page)
{
	struct mapping mapping = mapping_of(word(step, 1));
	struct pages pages;
	unsigned long addr;
	size_t i;

	no_more_words(step);
	pages = parse_pages(text, mapping);
	catch_signals();
	json_begin(step);
	json_open("pages", '[');
	for (i = 0; i < pages.count; i++) {
		addr = mapping.addr + pages.index[i] * page_size();
		json_open(NULL, '{');
		json_int("page", pages.index[i]);
		json_hex("addr", addr);
		one(addr, page);
		json_close('}');
	}
	json_close(']');
	json_end();
	free_pages(&pages);
	free(page);
}

static uint64_t *one_page(void)
{
	uint64_t *page = aligned_alloc(page_size(), page_size());

	if (!page)
		abort();
	return page;
}

static void read_page(unsigned long addr, uint64_t *page)
{
	if (copy_words(page, (uint64_t *)addr, page_size() / sizeof(*page))) {
		json_str("result", "ok");
		describe_content(page, page_size());
	} else {
		report_signal();
	}
}

static void write_page(unsigned long addr, uint64_t *page)
{
	if (copy_words((uint64_t *)addr, page, page_size() / sizeof(*page)))
		json_str("result", "ok");
	else
		report_signal();
}

void read_step(struct step *step)
{
	touch(step, word(step, 2), read_page, one_page());
}

void write_step(struct step *step)
{
	const char *pages = word(step, 2);
	uint64_t value = parse_number(word(step, 3));
	uint64_t *page = one_page();

	fill(page, page_size(), value);
	touch(step, pages, write_page, page);
}
