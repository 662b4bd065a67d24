/* SPDX-License-Identifier: GPL-2.0 */
/* The interfaces of the probe's files. docs/probe.md describes the language. */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define __noinline	__attribute__((noinline))
#define __noreturn	__attribute__((noreturn))
#define __printf(a, b)	__attribute__((format(printf, a, b)))

/* Older headers lack these. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

#define MAX_WORDS	64
#define MAX_PAGES	65536

/**
 * struct step - one line of the script, cut into words
 * @number: number of the line, from 1
 * @count: number of words
 * @words: the words; the first one is the step's name
 * @used: the words that the step has taken
 */
struct step {
	int number;
	int count;
	char *words[MAX_WORDS];
	bool used[MAX_WORDS];
};

/* The addresses of a named mapping, which may be unmapped by now. */
struct mapping {
	unsigned long addr;
	unsigned long len;
};

/**
 * struct script - the script and the place in it
 * @lines: the lines
 * @count: number of lines
 * @next: index of the next line, which is the number of the current one
 * @round: round of the current sweep, 0 outside a sweep
 * @in_child: this process is the child of a fork
 */
struct script {
	char **lines;
	int count;
	int next;
	int round;
	bool in_child;
};

/* script.c */
extern struct script script;

void read_script(void);

/* parts.c: runs the script, or each of several ones in a child */
void run_parts(void (*run)(void));

/* usage.c: reports a script that is not valid, and exits */
void usage(const char *format, ...) __noreturn __printf(1, 2);

/* settle.c */
void settle(void);
void settle_child(void);

/* fail.c: makes the Nth allocation of a system call fail */
bool failure_pending(void);
void begin_failure(void);
void end_failure(void);
void json_failure(void);

/* kcov.c: the instrumented code that a step reaches */
void begin_reached(void);

/* Wraps the system call under test, the only one that fail_nth affects. */
#define subject(call) ({			\
	__typeof__(call) result;		\
						\
	begin_failure();			\
	result = (call);			\
	end_failure();				\
	result;					\
})

/* json.c: one object per step, written when it is complete */
void json_begin(const struct step *step);
void json_end(void);
/* From now on `more` adds members to the object of each step. */
void json_at_step_end(void (*more)(void));
void json_drop(void);
void json_open(const char *key, char bracket);
void json_close(char bracket);
void json_str(const char *key, const char *value);
void json_strn(const char *key, const char *value, size_t len);
void json_int(const char *key, long long value);
void json_hex(const char *key, uint64_t value);
void json_bool(const char *key, bool value);
void json_errno(int err);

/* words.c: the words of a line */
bool cut_line(struct step *step, int number, char *line);
const char *word(struct step *step, int index);
const char *optional_word(struct step *step, int index);
bool has_word(struct step *step, const char *text);
const char *option(struct step *step, const char *key);
uint64_t number_option(struct step *step, const char *key, uint64_t otherwise);
bool next_option(struct step *step, char **key, char **value);
void no_more_words(struct step *step);

uint64_t parse_number(const char *text);
int parse_error(const char *text);
unsigned long parse_address(const char *text);
int parse_prot(const char *text);
unsigned long page_size(void);
size_t page_align(size_t len);

struct flag {
	const char *name;
	unsigned long value;
};

unsigned long parse_flag(const char *text, const struct flag *flags,
			 const char *what);
unsigned long parse_flags(const char *text, const struct flag *flags,
			  const char *what);

/* names.c: files, mappings and shared memory segments by name */
int fd_of(const char *name);
void name_fd(const char *name, int fd);
void forget_fd(const char *name);
struct mapping mapping_of(const char *name);
bool find_mapping(const char *name, size_t len, struct mapping *mapping);
void name_mapping(const char *name, struct mapping mapping);
int segment_of(const char *name);
void name_segment(const char *name, int id);

/* result.c: the objects of a system call that returns -1 and sets errno */
void report_result(const struct step *step, long result);
void report_mapping(const struct step *step, const char *name, void *addr,
		    size_t len, int err);

/* pages.c: lists of pages, and the content of pages */
struct pages {
	size_t count;
	unsigned long *index;
};

struct pages parse_pages(const char *text, struct mapping mapping);
struct mapping parse_run(const char *text, struct mapping mapping);
void free_pages(struct pages *pages);
void describe_content(const void *content, size_t len);
void fill(void *to, size_t len, uint64_t value);

/* device.c: the memory that the modules map */
struct module_memory {
	uint64_t pool_pages;
	uint64_t pool_pfn;
	uint64_t ring_pages;
	uint64_t ring_pfn;
};

struct module_memory find_module_memory(void);

/* Adds the index of a page frame in a module's memory, if it lies there. */
void report_module_page(uint64_t pfn, const struct module_memory *memory);

/*
 * slurp.c: reads a whole file. slurp() returns NULL with errno on failure;
 * must_slurp() is for files that every process has.
 */
char *slurp(const char *path);
char *must_slurp(const char *path);

/* calls.c: the last mmap offset that an ioctl or opener returned, from which `map` counts */
extern uint64_t mmap_offset;

/* proc.c: the hook log's lines of this process are the script's */
void remember_pid(pid_t pid);

/* The steps. The table in main.c names the file of each. */
typedef void step_function(struct step *step);

/* second.c: sets how the second task does a step */
void second_task_does(step_function *run);

step_function open_step, memfd_step, secretmem_step, seal_step, stm_step,
	publish_step, close_step, pread_step, pwrite_step, ftruncate_step;
step_function ioctl_step, read_file_step, write_file_step, await_step,
	pause_step;
step_function opener_step;
step_function plan_step, lower_step, replacement_step, counts_step, reset_step,
	vma_step, ptes_step;
step_function map_step, munmap_step, mprotect_step, mremap_step, madvise_step,
	mlock_step, munlock_step, msync_step, remap_file_pages_step;
step_function read_step, write_step, peek_step, poke_step;
step_function old_step, stat_step, rename_step;
step_function maps_step, query_step, pagemap_step;
step_function shmget_step, shmat_step, shmdt_step, shmstat_step, shmrm_step;
step_function io_setup_step, io_destroy_step;
step_function uffd_step, uffd_register_step;
step_function rlimit_step, mdwe_step, mseal_step, mlockall_step, ksm_step,
	unprivileged_step, vma_name_step,
	read_implies_exec_step;
step_function perf_step, perflog_step;
step_function sweep_step, endsweep_step, fail_nth_step, kcov_step, memcg_step;
step_function env_step, status_step, meminfo_step, hooklog_step,
	clearlog_step, rmmod_step, show_step;
step_function fork_step, endfork_step;
step_function gate_step, second_step, join_step;

#endif /* PROBE_H */
