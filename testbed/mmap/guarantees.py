# SPDX-License-Identifier: GPL-2.0
"""What the kernel promises of mmap_prepare and its compatibility layer, numbered.

Tests name these numbers by the marker `guarantee`; a run's report tells for each which
paths and architectures have shown it. Line numbers are those of Linux 7.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed.mmap.path import HookPath

_PREPARE_ONLY = "a .mmap hook has no descriptor"
_NO_COMPAT = "the layer does not run there"


@dataclass(frozen=True)
class Guarantee:
    """One observable promise, and where the kernel keeps it."""

    number: int
    text: str
    source: str
    why_not: str = ""  # why no test can show it here
    not_on: Mapping[HookPath, str] = field(default_factory=dict)  # paths that it is not about


def _not_legacy(number: int, text: str, source: str) -> Guarantee:
    return Guarantee(number, text, source, not_on={HookPath.LEGACY: _PREPARE_ONLY})


def _compat(number: int, text: str, source: str) -> Guarantee:
    reasons = {HookPath.DIRECT: _NO_COMPAT, HookPath.LEGACY: _NO_COMPAT}
    return Guarantee(number, text, source, not_on=reasons)


def _direct(number: int, text: str, source: str) -> Guarantee:
    others = set(HookPath) - {HookPath.DIRECT}
    reasons = dict.fromkeys(others, "of the direct path")
    return Guarantee(number, text, source, not_on=reasons)


GUARANTEES = (
    # Hook selection.
    Guarantee(1, "both hooks: ENODEV and one warning", "fs.h can_mmap_file()"),
    Guarantee(2, "no hook: ENODEV without a warning", "fs.h can_mmap_file()"),
    _compat(3, "wrappers check the lower file again, vfs_mmap() does not", "backing-file.c:376"),
    Guarantee(4, "a prepare hook runs once, .mmap only in outer files", "vma.c:2623"),
    _direct(5, "a replacement's .mmap runs on the new VMA", "vma.c:2623"),
    Guarantee(
        6, "without an MMU every hook runs in the layer", "nommu.c:897", why_not="both have an MMU"
    ),
    Guarantee(7, "errors found before the hook do not run it", "mmap.c:381"),
    # The descriptor on entry.
    _not_legacy(8, "mm is the caller's", "vma.c:2880, util.c:1186"),
    _not_legacy(9, "start and end are the final range", "vma.c:2525, util.c:1188"),
    _not_legacy(10, "file is the one whose hook runs", "vma.c:2881, util.c:1187"),
    _not_legacy(11, "vm_file is the one that the VMA carries", "vma.c:2529, util.c:1192"),
    _not_legacy(12, "pgoff is the offset in pages", "vma.c:2528, util.c:1191"),
    _not_legacy(13, "vma_flags are the full computed set", "vma.c:2530, util.c:1193"),
    _not_legacy(14, "page_prot belongs to the flags", "vma.c:61, util.c:1194"),
    _not_legacy(15, "vm_ops are the dummy: SIGBUS, never zero pages", "vma.c:2885, util.c:1195"),
    _not_legacy(16, "private_data is NULL", "util.c:1184"),
    _not_legacy(17, "no action, no override, not hidden", "vma.c:2883, util.c:1198"),
    # What becomes of each field.
    Guarantee(18, "pgoff is applied", "vma.c:2816, vma.h:399"),
    Guarantee(19, "flags are assigned: set and cleared", "vma.c:2821, vma.h:402"),
    Guarantee(20, "a hook may permit writing; DEBUG_VM warns of .mmap", "vma.c:2645"),
    _not_legacy(21, "start and end of the VMA stay, the action's range is checked", "mm.h:4716"),
    Guarantee(22, "page_prot keeps its caching bits", "vma.c:2775"),
    Guarantee(23, "vm_ops serve the VMA; NULL is anonymous", "vma.c:2833, vma.h:406"),
    Guarantee(24, "private_data is the VMA's", "vma.c:2837, vma.h:407"),
    _not_legacy(25, "vm_file can be replaced", "vma.c:2817, vma.h:400"),
    _not_legacy(26, "mm and file cannot be changed", "vma.c:2816"),
    # References of files.
    Guarantee(27, "a mapping holds one reference until munmap", "vma.c:2619"),
    Guarantee(28, "a failed mmap leaves all counts as they were", "vma.c:2933"),
    _direct(29, "a replacement's reference is consumed", "vma.c:2817"),
    _direct(30, "and put when a later step fails", "vma.c:2942"),
    _compat(31, "the layer consumes it as well", "vma.h:400 (open: KD1)"),
    Guarantee(32, "the replaced mapping's write count is balanced", "vma.c:3000"),
    # Actions.
    _not_legacy(33, "an action is checked before the VMA is touched", "vma.c:2811, util.c:1230"),
    Guarantee(34, "remap: io pf de dd, the frames in their order", "memory.c:3301"),
    Guarantee(35, "a range outside the mapping is EFAULT, with a warning", "memory.c:3293"),
    Guarantee(36, "a copy-on-write remap is whole, its pgoff the frame", "memory.c:3146"),
    Guarantee(37, "pages outside a partial remap are SIGBUS", "memory.c:3288"),
    _not_legacy(38, "page_prot is taken when the helper is called", "mm.h:4548"),
    Guarantee(39, "ioremap is a remap of I/O memory", "internal.h:1525"),
    Guarantee(40, "simple_ioremap checks like vm_iomap_memory()", "memory.c:3358"),
    Guarantee(41, "kernel pages: mm, counted at mmap time", "memory.c:2650"),
    _not_legacy(42, "nothing of a refused action is applied", "memory.c:2655"),
    _not_legacy(43, "an unknown action: EINVAL and a warning", "util.c:1462"),
    _not_legacy(44, "error_override is an errno, for late errors", "util.c:1418, 1423"),
    _not_legacy(45, "hidden from the rmap until complete", "vma.c:2720, util.c:1402"),
    Guarantee(46, "PFN tracking goes with the mapping (x86)", "memory.c:3252, vma_init.c:149"),
    Guarantee(47, "caching attributes of memory that is no RAM", "memtype.c"),
    # mapped().
    _not_legacy(48, "once for each new VMA, never on merge, fork, split, move", "util.c:1373"),
    _not_legacy(49, "with the final range, pgoff, vm_file and private data", "util.c:1380"),
    _not_legacy(50, "on the direct path in the tree, else not yet", "vma.c:2924"),
    _not_legacy(51, "its error unmaps, after close() where it stood", "util.c:1407"),
    Guarantee(52, "never called for the vm_ops of a plain .mmap", "mm.h:825 (KD10)"),
    Guarantee(53, "no open() for the first mapping, one close() at the end", "vma.c remove_vma()"),
    # Failures.
    Guarantee(54, "a hook's error comes back, and nothing stays", "internal.h:248, vma.c:2635"),
    Guarantee(55, "a failed MAP_FIXED leaves a hole, the neighbours stay", "vma.c:2511"),
    Guarantee(56, "its commit charge is that of what remains", "vma.c:2589"),
    Guarantee(57, "a mapping over another is charged once", "vma.c:2589"),
    _not_legacy(58, "a late error's accounting is undone", "util.c:1416"),
    # Merging.
    _direct(59, "prepare runs each time, alike neighbours become one", "vma.c:2907"),
    Guarantee(60, "below .mmap a merge comes first: no hook runs", "vma.c:2907"),
    Guarantee(61, "a switched file is not merged by mmap, but later", "vma.c:1100"),
    Guarantee(62, "special mappings are never merged", "vma.c:1156"),
    Guarantee(63, "close() only keeps the next VMA from being removed", "vma.c:855"),
    Guarantee(64, "private file mappings need adjacent anonymous offsets", "vma.c:221"),
    # Later operations.
    Guarantee(65, "split: may_split, then open() with its pgoff", "vma.c __split_vma()"),
    Guarantee(66, "move: open, mremap, close; who may grow", "mremap.c:1840"),
    Guarantee(67, "fork: open() in the child, DONTCOPY absent", "memory.c copy_page_range()"),
    Guarantee(68, "remap_file_pages() maps the lower file", "mmap.c"),
    Guarantee(69, "MAP_LOCKED counts, but not for special mappings", "vma.c:2755"),
    Guarantee(70, "populated after mmap, a failure ignored", "mmap.c"),
    Guarantee(71, "MAP_SYNC is the outer file's", "mmap.c:440"),
    Guarantee(72, "get_unmapped_area is the outer file's", "mmap.c:415"),
    Guarantee(73, "maps shows the user's path of a backing file", "task_mmu.c:438"),
    # Uprobes are not tried: a breakpoint is put into executable text in a file's page cache.
    Guarantee(74, "perf is told after the hooks (uprobes: needs text)", "vma.c __mmap_complete()"),
    Guarantee(75, "flags above bit 31 survive", "vma.h:402"),
)
