# SPDX-License-Identifier: GPL-2.0
"""A table of the lines that open a splat. Each entry cites its source in the text of 7.3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum, auto


class SplatKind(StrEnum):
    WARNING = "warning"
    BUG = "bug"
    OOPS = "oops"
    PANIC = "panic"
    KASAN = "kasan"
    KFENCE = "kfence"
    KCSAN = "kcsan"
    UBSAN = "ubsan"
    LOCKDEP = "lockdep"
    ATOMIC = "atomic"
    HUNG_TASK = "hung task"
    SOFT_LOCKUP = "soft lockup"
    HARD_LOCKUP = "hard lockup"
    RCU_STALL = "rcu stall"
    REFCOUNT = "refcount"
    LIST = "list corruption"
    BAD_RSS = "bad rss-counter"
    BAD_PAGE = "bad page"
    SLAB = "slab"
    MAPLE_TREE = "maple tree"
    KMEMLEAK = "kmemleak"
    TAINT = "taint"
    UNKNOWN = "unknown"  # the log ends before the splat is named


class End(Enum):
    """The end of a splat."""

    LINE = auto()  # the opening line itself
    MARK = auto()  # ---[ end trace
    BAR = auto()  # a line of =
    TRACE = auto()  # the end of its call trace
    ANY_TRACE = auto()  # the end of its call trace if it has one, else the opening line
    PANIC = auto()  # the machine


class Site(Enum):
    """The place of the function that a splat is named after."""

    NONE = auto()
    LINE = auto()  # in the opening line
    COUNTER = auto()  # RIP or pc
    TRACE = auto()  # the first frame that does more than report


@dataclass(frozen=True)
class SplatPattern:
    """A line that opens a splat. `phrase` begins the title; it may name groups of `pattern`.

    `announces`: a second opening may follow that belongs to the same splat. `follows`: this
    can be such a second opening.
    """

    kind: SplatKind
    pattern: re.Pattern[str]
    phrase: str
    end: End
    site: Site
    announces: bool = False
    follows: bool = False


@dataclass(frozen=True)
class Message:
    """A line between "cut here" and a WARNING or BUG that says more than these do."""

    kind: SplatKind
    pattern: re.Pattern[str]
    phrase: str


def _pattern(
    kind: SplatKind,
    pattern: str,
    phrase: str,
    end: End,
    site: Site,
    *,
    announces: bool = False,
    follows: bool = False,
) -> SplatPattern:
    return SplatPattern(kind, re.compile(pattern), phrase, end, site, announces, follows)


CUT_HERE = re.compile(r"------------\[ cut here \]------------")

# lib/refcount.c, lib/list_debug.c
MESSAGES = (
    Message(SplatKind.REFCOUNT, re.compile(r"refcount_t: (?P<what>.*)"), "refcount_t: {what}"),
    Message(
        SplatKind.LIST,
        re.compile(r"(?P<what>(?:h?list|slist)_\w+ (?:corruption|double add))"),
        "{what}",
    ),
)

_AT = r"(?P<location>[\w./-]+:\d+)"
_FUNCTION = r"(?P<function>[\w.$]+)"

# The first match counts.
SPLAT_PATTERNS = (
    # kernel/panic.c: __warn(); before about 6.18 the CPU came first
    _pattern(SplatKind.WARNING, rf"WARNING: {_AT} at {_FUNCTION}",
             "WARNING", End.MARK, Site.LINE),
    _pattern(SplatKind.WARNING, rf"WARNING: CPU: \d+ PID: \d+ at {_AT} {_FUNCTION}",
             "WARNING", End.MARK, Site.LINE),
    # lib/bug.c
    _pattern(SplatKind.BUG, r"kernel BUG at (?P<location>\S+:\d+)!",
             "kernel BUG", End.MARK, Site.COUNTER, announces=True),
    # arch/x86/mm/fault.c: show_fault_oops()
    _pattern(SplatKind.OOPS, r"BUG: kernel NULL pointer dereference",
             "NULL pointer dereference", End.MARK, Site.COUNTER, announces=True),
    _pattern(SplatKind.OOPS, r"BUG: unable to handle page fault for address",
             "page fault", End.MARK, Site.COUNTER, announces=True),
    # arch/arm64/mm/fault.c: die_kernel_fault()
    _pattern(SplatKind.OOPS, r"Unable to handle kernel NULL pointer dereference",
             "NULL pointer dereference", End.MARK, Site.COUNTER, announces=True),
    _pattern(SplatKind.OOPS, r"Unable to handle kernel paging request",
             "page fault", End.MARK, Site.COUNTER, announces=True),
    _pattern(SplatKind.OOPS, r"Unable to handle kernel (?P<what>.*?) at virtual address",
             "{what}", End.MARK, Site.COUNTER, announces=True),
    # arch/x86/kernel/dumpstack.c and arch/arm64/kernel/traps.c: __die()
    _pattern(SplatKind.OOPS, r"Oops: general protection fault",
             "general protection fault", End.MARK, Site.COUNTER, follows=True),
    _pattern(SplatKind.OOPS, r"general protection fault",
             "general protection fault", End.MARK, Site.COUNTER),
    _pattern(SplatKind.OOPS, r"Oops: (?:Oops: )?(?P<what>[\w ,-]*?):? *[0-9a-f]{4} \[#\d+\]",
             "Oops {what}", End.MARK, Site.COUNTER, follows=True),
    _pattern(SplatKind.OOPS, r"Internal error: (?P<what>[\w -]*)",
             "{what}", End.MARK, Site.COUNTER, follows=True),
    # kernel/panic.c: vpanic()
    _pattern(SplatKind.PANIC, r"Kernel panic - not syncing: (?P<what>.*)",
             "panic: {what}", End.PANIC, Site.NONE),
    # mm/kasan/report.c, mm/kfence/report.c, kernel/kcsan/report.c, lib/ubsan.c
    _pattern(SplatKind.KASAN, rf"BUG: KASAN: (?P<what>[\w-]+) in {_FUNCTION}",
             "KASAN: {what}", End.BAR, Site.LINE),
    _pattern(SplatKind.KASAN, r"BUG: KASAN: (?P<what>.*)",
             "KASAN: {what}", End.BAR, Site.TRACE),
    _pattern(SplatKind.KFENCE, rf"BUG: KFENCE: (?P<what>[\w -]+) in {_FUNCTION}",
             "KFENCE: {what}", End.BAR, Site.LINE),
    _pattern(SplatKind.KCSAN, rf"BUG: KCSAN: (?P<what>[\w -]+) in {_FUNCTION}",
             "KCSAN: {what}", End.BAR, Site.LINE),
    _pattern(SplatKind.UBSAN, r"UBSAN: (?P<what>[\w-]+) in (?P<location>[\w./-]+:\d+)",
             "UBSAN: {what}", End.BAR, Site.TRACE),
    # kernel/locking/lockdep.c
    _pattern(SplatKind.LOCKDEP,
             r"WARNING: (?P<what>possible (?:circular locking dependency|recursive locking"
             r"|irq lock inversion dependency) detected|inconsistent lock state|bad unlock balance"
             r" detected|held lock freed|lock held when returning to user space"
             r"|[\w-]+-safe -> [\w-]+-unsafe lock order detected|Nested lock was not taken"
             r"|suspicious RCU usage)",
             "{what}", End.TRACE, Site.TRACE),
    _pattern(SplatKind.LOCKDEP, r"\[ BUG: (?P<what>[\w ]*(?:lock|context)[\w ]*)",
             "{what}", End.TRACE, Site.TRACE),
    # kernel/sched/core.c
    _pattern(SplatKind.ATOMIC, r"BUG: scheduling while atomic",
             "scheduling while atomic", End.TRACE, Site.TRACE),
    _pattern(SplatKind.ATOMIC, rf"BUG: sleeping function called from invalid context at {_AT}",
             "sleeping function called from invalid context", End.TRACE, Site.TRACE),
    # kernel/hung_task.c, kernel/watchdog.c, kernel/rcu/tree_stall.h
    _pattern(SplatKind.HUNG_TASK, r"INFO: task \S+ blocked.* for more than",
             "hung task", End.TRACE, Site.TRACE),
    _pattern(SplatKind.SOFT_LOCKUP, r"(?:watchdog: )?BUG: soft lockup",
             "soft lockup", End.TRACE, Site.COUNTER),
    _pattern(SplatKind.HARD_LOCKUP, r"(?:watchdog: )?(?:CPU\d+: )?Watchdog detected hard LOCKUP",
             "hard lockup", End.TRACE, Site.COUNTER),
    _pattern(SplatKind.RCU_STALL, r"(?:rcu: )?INFO: rcu\w* (?:self-)?detected.* stalls? on",
             "rcu stall", End.TRACE, Site.COUNTER),
    # kernel/fork.c: check_mm()
    _pattern(SplatKind.BAD_RSS, r"BUG: Bad rss-counter state .*type:(?P<what>\w+)",
             "Bad rss-counter {what}", End.LINE, Site.NONE),
    _pattern(SplatKind.BAD_RSS, r"BUG: non-zero pgtables_bytes on freeing mm",
             "non-zero pgtables_bytes on freeing mm", End.LINE, Site.NONE),
    # mm/page_alloc.c: bad_page(), mm/memory.c: print_bad_page_map()
    _pattern(SplatKind.BAD_PAGE, r"BUG: (?P<what>Bad page (?:state|map|cache))",
             "{what}", End.TRACE, Site.TRACE),
    # mm/slub.c: slab_bug()
    _pattern(SplatKind.SLAB, r"BUG (?P<what>\S+) \([^)]*\): (?P<how>.*)",
             "slab {what}: {how}", End.TRACE, Site.TRACE),
    # include/linux/maple_tree.h: MT_BUG_ON() and similar macros; lib/maple_tree.c: mt_dump()
    _pattern(SplatKind.MAPLE_TREE, rf"BUG at {_FUNCTION}:\d+ \(\d+\)",
             "maple tree", End.TRACE, Site.LINE, announces=True),
    _pattern(SplatKind.MAPLE_TREE, r"maple_tree\([^)]*\) flags",
             "maple tree dump", End.TRACE, Site.TRACE, follows=True),
    # mm/kmemleak.c
    _pattern(SplatKind.KMEMLEAK, r"kmemleak: \d+ new suspected memory leaks",
             "kmemleak: new suspected memory leaks", End.LINE, Site.NONE),
    # kernel/module/main.c. The taints O (out of tree), E (unsigned) and N (test) are not splats:
    # the modules of this project cause them.
    _pattern(SplatKind.TAINT, r"\w+: module license '(?P<what>[^']*)' taints kernel",
             "taint P: module license '{what}'", End.LINE, Site.NONE),
    _pattern(SplatKind.TAINT, r"\w+: module is from the staging directory",
             "taint C: staging module", End.LINE, Site.NONE),
    _pattern(SplatKind.TAINT, r"\w+: tainting kernel with TAINT_LIVEPATCH",
             "taint K: livepatch", End.LINE, Site.NONE),
    # anything else that calls itself a bug
    _pattern(SplatKind.BUG, r"BUG: (?P<what>[^:]+)",
             "BUG: {what}", End.ANY_TRACE, Site.TRACE),
)  # fmt: skip
