# SPDX-License-Identifier: GPL-2.0
"""Call traces of x86 and arm64: their ends, and the functions that they blame. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADER = re.compile(r"Call [Tt]race:")
_FRAME = re.compile(r" *(?P<unsure>\? )?(?P<name>[\w.$]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: |$)")
_KNOWN = re.compile(
    r" *(?:\[<0>\] )?(?P<unsure>\? )?(?P<name>[\w.$]+)"
    r"\+0x[0-9a-f]+/0x[0-9a-f]+(?P<module> \[\w+\])?$"
)
_COUNTER = re.compile(r"(?:RIP: \w+:|pc : )(?P<name>[A-Za-z_][\w.$]*)\+0x")

# The number of other lines that may interrupt a trace.
_NOISE = 3

_OPEN, _CLOSED = "<TASK>", "</TASK>"

# The outermost frames of arm64. They end a trace: arm64 prints no closing tag.
_ROOTS = re.compile(
    r"el[01][ht]?_\w+|ret_from_fork|__primary_switched|__secondary_switched|secondary_startup"
)

# Suffixes that compilers append to the name of a function that they split or copied.
_CLONE = re.compile(r"(?:\.(?:isra|constprop|part|cold|llvm)(?:\.\d+)*)+$")

# gcc and clang keep different wrappers of a system call.
_SYSCALL = re.compile(r"__(?:do|se|x64|arm64|ia32)_(?=(?:compat_)?sys_)")

# Functions that report, sleep or check. Their caller is to blame.
_REPORTERS = re.compile(
    r"dump_stack|show_stack|print_|report_|v?panic$|add_taint$|__warn|warn_slowpath|handle_bug"
    r"|(?:asm_)?exc_|kasan_|kfence_|__kasan|ubsan_|__ubsan|refcount_|__refcount|__list_|list_"
    r"|check_noncircular|check_prev|validate_chain|mark_lock|mark_usage|__lock_acquire|lock_acquire"
    r"|lockdep_|__switch_to|__schedule|schedule|io_schedule|preempt_|__mutex_|mutex_|down_|rwsem_"
    r"|__down|wait_for_|do_wait_for|__wait_for|bit_wait|out_of_line_wait|folio_wait|__might_|might_"
    r"|_raw_|rt_mutex|bad_page$|__bad_page|watchdog|rcu_sched_clock|rcu_dump"
    r"|check_bytes|check_object|check_slab|object_err|slab_|__slab_|kfree|kvfree"
    r"|(?:__)?k[mz]alloc|__kvmalloc|krealloc|kmem_cache_|__kmem_cache_"
)


def find_header(lines: Sequence[str], begin: int, stop: int) -> int | None:
    """Return the index of the line that announces a call trace."""
    return next((at for at in range(begin, stop) if _HEADER.match(lines[at])), None)


def find_end(lines: Sequence[str], begin: int, stop: int) -> tuple[int, bool]:
    """Return the end of the first call trace (exclusive), and whether that end is in the log."""
    header = find_header(lines, begin, stop)
    if header is None:
        return stop, False
    if any(_OPEN in line for line in lines[header : min(header + 1 + _NOISE, stop)]):
        closed = next((at for at in range(header, stop) if _CLOSED in lines[at]), None)
        return (stop, False) if closed is None else (closed + 1, True)
    return _end_of_frames(lines, header + 1, stop)


def _end_of_frames(lines: Sequence[str], begin: int, stop: int) -> tuple[int, bool]:
    last = begin - 1
    root = False
    for at in range(begin, stop):
        frame = _FRAME.match(lines[at])
        if frame is not None:
            last, root = at, bool(_ROOTS.match(frame["name"]))
        elif root or at - last > _NOISE:
            break
    # A trace without its root has also ended if something else follows it.
    followed = any(line.strip() for line in lines[last + 1 : last + 2])
    return last + 1, root or followed


def program_counter(lines: Sequence[str]) -> str:
    """Return the function that was running, or "". The first one counts: it is the kernel's."""
    match = next(filter(None, map(_COUNTER.match, lines)), None)
    return "" if match is None else plain_name(match["name"])


def first_frame(lines: Sequence[str]) -> str:
    """Return the first function of the trace that is not in _REPORTERS, or ""."""
    # Before its own trace, lockdep prints the places where the locks were taken.
    header = find_header(lines, 0, len(lines)) or 0
    for line in lines[header:]:
        frame = _FRAME.match(line)
        if frame is None or frame["unsure"]:
            continue
        name = plain_name(frame["name"])
        if not _REPORTERS.match(name):
            return name
    return ""


def callers(text: str, most: int = 5) -> str:
    """Return the functions of the first trace in a text, innermost first, in one line; or "".

    It takes the kernel's own traces, those of /proc/PID/stack, and vm/backtrace.py's.
    """
    names: list[str] = []
    for line in text.splitlines():
        if frame := _KNOWN.match(line):
            names.append(
                f"{frame['unsure'] or ''}{plain_name(frame['name'])}{frame['module'] or ''}"
            )
        elif names:
            break
    return " < ".join(names[:most])


def plain_name(name: str) -> str:
    """Return a function's name without offset, module and compiler suffixes."""
    name = name.split("+0x")[0].split(" ")[0]
    return _SYSCALL.sub("", _CLONE.sub("", name))
