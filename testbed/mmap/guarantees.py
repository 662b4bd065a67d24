# SPDX-License-Identifier: GPL-2.0
"""The kernel's promises about mmap_prepare and its compatibility layer, numbered.

Tests name these numbers with the marker `guarantee`. A run's report lists the paths and
architectures that showed each promise. The sources name functions of Linux 7.3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed.mmap.path import PREPARE_STACKS, HookPath

_PREPARE_ONLY = "a .mmap hook has no descriptor"
_NO_COMPAT = "the layer does not run on this path"


@dataclass(frozen=True)
class Guarantee:
    """One observable promise, and the kernel's function that keeps it."""

    number: int
    text: str
    source: str
    why_not: str = ""  # why no test here can show it
    not_on: Mapping[HookPath, str] = field(default_factory=dict)  # why it does not concern a path


def _not_legacy(number: int, text: str, source: str) -> Guarantee:
    return Guarantee(number, text, source, not_on={HookPath.LEGACY: _PREPARE_ONLY})


def _compat(number: int, text: str, source: str) -> Guarantee:
    without = (path for path in HookPath if not path.shape.compat)
    reasons = dict.fromkeys(without, _NO_COMPAT)
    return Guarantee(number, text, source, not_on=reasons)


def _direct(number: int, text: str, source: str) -> Guarantee:
    others = set(HookPath) - {HookPath.DIRECT}
    reasons = dict.fromkeys(others, "only on the direct path")
    return Guarantee(number, text, source, not_on=reasons)


def _nested(number: int, text: str, source: str) -> Guarantee:
    others = set(HookPath) - set(PREPARE_STACKS)
    reasons = dict.fromkeys(others, "only for mmap_prepare above mmap_prepare")
    return Guarantee(number, text, source, not_on=reasons)


GUARANTEES = (
    # Hook selection.
    Guarantee(
        1, "a file with both hooks: ENODEV and one warning", "include/linux/fs.h can_mmap_file()"
    ),
    Guarantee(2, "a file without a hook: ENODEV, no warning", "include/linux/fs.h can_mmap_file()"),
    _compat(
        3,
        "wrappers check the lower file again, vfs_mmap() does not",
        "fs/backing-file.c backing_file_mmap()",
    ),
    Guarantee(
        4,
        "mmap_prepare runs once, .mmap runs only in outer files",
        "mm/vma.c __mmap_new_file_vma()",
    ),
    _direct(5, "a replacement's .mmap runs on the new VMA", "mm/vma.c __mmap_new_file_vma()"),
    Guarantee(
        6,
        "without an MMU every hook runs in the layer",
        "mm/nommu.c do_mmap_shared_file()",
        why_not="both architectures have an MMU",
    ),
    Guarantee(7, "after an earlier error the hook does not run", "mm/mmap.c do_mmap()"),
    # The descriptor on entry.
    _not_legacy(
        8, "mm is the caller's", "mm/vma.c __mmap_region(), mm/util.c compat_set_desc_from_vma()"
    ),
    _not_legacy(
        9,
        "start and end are the final range",
        "mm/vma.c set_desc_from_map(), mm/util.c compat_set_desc_from_vma()",
    ),
    _not_legacy(
        10,
        "file is the file whose hook runs",
        "mm/vma.c __mmap_region(), mm/util.c compat_set_desc_from_vma()",
    ),
    _not_legacy(
        11,
        "vm_file is the file that the VMA carries",
        "mm/vma.c set_desc_from_map(), mm/util.c compat_set_desc_from_vma()",
    ),
    _not_legacy(
        12,
        "pgoff is the offset in pages",
        "mm/vma.c set_desc_from_map(), mm/util.c compat_set_desc_from_vma()",
    ),
    _not_legacy(
        13,
        "vma_flags is the full computed set",
        "mm/vma.c set_desc_from_map(), mm/util.c compat_set_desc_from_vma()",
    ),
    _not_legacy(
        14,
        "page_prot matches the flags",
        "mm/vma.c MMAP_STATE(), mm/util.c compat_set_desc_from_vma()",
    ),
    _not_legacy(
        15,
        "vm_ops is the dummy table: SIGBUS, never zero pages",
        "mm/vma.c __mmap_region(), mm/util.c compat_set_desc_from_vma()",
    ),
    _not_legacy(16, "private_data is NULL", "mm/util.c compat_set_desc_from_vma()"),
    _not_legacy(
        17,
        "no action, no override, not hidden",
        "mm/vma.c __mmap_region(), mm/util.c compat_set_desc_from_vma()",
    ),
    # The effect of each field.
    Guarantee(
        18, "pgoff is applied", "mm/vma.c call_mmap_prepare(), mm/vma.h compat_set_vma_from_desc()"
    ),
    Guarantee(
        19,
        "flags are assigned: the hook can set and clear them",
        "mm/vma.c call_mmap_prepare(), mm/vma.h compat_set_vma_from_desc()",
    ),
    Guarantee(
        20,
        "a hook may permit writing; DEBUG_VM warns if .mmap does",
        "mm/vma.c __mmap_new_file_vma()",
    ),
    _not_legacy(
        21,
        "the VMA keeps its start and end; the action's range is checked",
        "include/linux/mm.h range_in_vma_desc()",
    ),
    Guarantee(22, "page_prot keeps its caching bits", "mm/vma.c __mmap_complete()"),
    Guarantee(
        23,
        "vm_ops serves the VMA; NULL makes it anonymous",
        "mm/vma.c set_vma_user_defined_fields(), mm/vma.h compat_set_vma_from_desc()",
    ),
    Guarantee(
        24,
        "private_data becomes the VMA's",
        "mm/vma.c set_vma_user_defined_fields(), mm/vma.h compat_set_vma_from_desc()",
    ),
    _not_legacy(
        25,
        "vm_file can be replaced",
        "mm/vma.c call_mmap_prepare(), mm/vma.h compat_set_vma_from_desc()",
    ),
    _not_legacy(26, "mm and file cannot be changed", "mm/vma.c call_mmap_prepare()"),
    # References to files.
    Guarantee(27, "a mapping holds one reference until munmap", "mm/vma.c __mmap_new_file_vma()"),
    Guarantee(28, "a failed mmap leaves all counts unchanged", "mm/vma.c __mmap_region()"),
    _direct(29, "a replacement's reference is consumed", "mm/vma.c call_mmap_prepare()"),
    _direct(
        30, "a replacement's reference is put if a later step fails", "mm/vma.c __mmap_region()"
    ),
    _compat(
        31,
        "the layer consumes a replacement's reference too",
        "mm/vma.h compat_set_vma_from_desc() (open: KD1)",
    ),
    Guarantee(
        32, "the writable count of a replacement's mapping is balanced", "mm/vma.c mmap_region()"
    ),
    # Actions.
    _not_legacy(
        33,
        "an action is checked before the VMA is touched",
        "mm/vma.c call_mmap_prepare(), mm/util.c __compat_vma_mmap()",
    ),
    Guarantee(
        34,
        "remap: flags io pf de dd, page frames in order",
        "mm/memory.c remap_pfn_range_prepare()",
    ),
    Guarantee(
        35,
        "a range outside the mapping: EFAULT and a warning",
        "mm/memory.c remap_pfn_range_prepare()",
    ),
    Guarantee(
        36,
        "a copy-on-write remap covers the VMA, its pgoff is the frame",
        "mm/memory.c get_remap_pgoff()",
    ),
    Guarantee(37, "pages outside a partial remap: SIGBUS", "mm/memory.c remap_pfn_range_prepare()"),
    _not_legacy(
        38,
        "the action helper copies page_prot when it is called",
        "include/linux/mm.h mmap_action_remap()",
    ),
    Guarantee(39, "ioremap is a remap of I/O memory", "mm/internal.h io_remap_pfn_range_prepare()"),
    Guarantee(
        40, "simple_ioremap checks like vm_iomap_memory()", "mm/memory.c __simple_ioremap_prep()"
    ),
    Guarantee(
        41, "kernel pages: flag mm, counted at mmap time", "mm/memory.c map_kernel_pages_prepare()"
    ),
    _not_legacy(42, "a refused action has no effect", "mm/memory.c map_kernel_pages_prepare()"),
    _not_legacy(43, "an unknown action: EINVAL and a warning", "mm/util.c mmap_action_prepare()"),
    _not_legacy(
        44,
        "error_override is an errno that replaces late errors",
        "mm/util.c mmap_action_finish(), mm/util.c check_mmap_action()",
    ),
    _not_legacy(
        45,
        "a mapping can be hidden from the rmap until complete",
        "mm/vma.c __mmap_new_vma(), mm/util.c mmap_action_finish()",
    ),
    Guarantee(
        46,
        "PFN tracking lasts as long as the mapping (x86)",
        "mm/memory.c remap_pfn_range_track(), mm/vma_init.c vm_area_free()",
    ),
    Guarantee(47, "caching attributes of memory that is not RAM", "arch/x86/mm/pat/memtype.c"),
    # mapped().
    _not_legacy(
        48,
        "mapped() runs once per new VMA, never on merge, fork, split, move",
        "mm/util.c call_vma_mapped()",
    ),
    _not_legacy(
        49,
        "mapped() gets the final range, pgoff, vm_file and private data",
        "mm/util.c call_vma_mapped()",
    ),
    _not_legacy(
        50, "in mapped() the VMA is in the tree on the direct path only", "mm/vma.c __mmap_region()"
    ),
    _not_legacy(
        51, "an error of mapped() closes and unmaps the VMA", "mm/util.c mmap_action_finish()"
    ),
    Guarantee(
        52,
        "mapped() is never called for the vm_ops of a plain .mmap",
        "include/linux/mm.h vm_operations_struct (KD10)",
    ),
    Guarantee(
        53, "no open() for the first mapping, one close() at the end", "mm/vma.c remove_vma()"
    ),
    # Failures.
    Guarantee(
        54,
        "a hook's error is returned, and nothing is left behind",
        "mm/internal.h mmap_file(), mm/vma.c __mmap_new_file_vma()",
    ),
    Guarantee(
        55,
        "a failed MAP_FIXED leaves a hole, the neighbours stay",
        "mm/vma.c vms_abort_munmap_vmas()",
    ),
    Guarantee(
        56, "after a failed MAP_FIXED only what remains is charged", "mm/vma.c __mmap_setup()"
    ),
    Guarantee(57, "a mapping over another is charged once", "mm/vma.c __mmap_setup()"),
    _not_legacy(
        58, "the accounting is undone after a late error", "mm/util.c mmap_action_finish()"
    ),
    # Merging.
    _direct(59, "mmap_prepare runs each time, equal neighbours merge", "mm/vma.c __mmap_region()"),
    Guarantee(
        60, "below .mmap the merge comes first, and no hook runs", "mm/vma.c __mmap_region()"
    ),
    Guarantee(
        61,
        "mmap does not merge a switched file, later operations do",
        "mm/vma.c vma_merge_new_range()",
    ),
    Guarantee(62, "special mappings are never merged", "mm/vma.c vma_merge_new_range()"),
    Guarantee(
        63, "close() only prevents the removal of the next VMA", "mm/vma.c can_merge_remove_vma()"
    ),
    Guarantee(
        64,
        "private file mappings need adjacent anonymous offsets",
        "mm/vma.c needs_adjacent_anon_pgoff()",
    ),
    # Later operations.
    Guarantee(
        65, "split: may_split(), then open() with the new VMA's pgoff", "mm/vma.c __split_vma()"
    ),
    Guarantee(
        66,
        "move: open(), mremap(), close(); DONTEXPAND and PFN mappings do not grow",
        "mm/mremap.c check_prep_vma()",
    ),
    Guarantee(
        67,
        "fork: open() in the child, no DONTCOPY mappings",
        "mm/mmap.c dup_mmap(), mm/memory.c copy_page_range()",
    ),
    Guarantee(68, "remap_file_pages() maps the lower file", "mm/mmap.c remap_file_pages()"),
    Guarantee(
        69, "MAP_LOCKED is counted, except for special mappings", "mm/vma.c __mmap_complete()"
    ),
    Guarantee(
        70,
        "pages are populated after mmap, a failure is ignored",
        "mm/mmap.c do_mmap(), mm/util.c vm_mmap_pgoff()",
    ),
    Guarantee(71, "the outer file decides on MAP_SYNC", "mm/mmap.c do_mmap()"),
    Guarantee(72, "the outer file decides on get_unmapped_area()", "mm/mmap.c do_mmap()"),
    Guarantee(
        73, "maps shows the user's path of a backing file", "fs/proc/task_mmu.c get_vma_name()"
    ),
    # Uprobes are not tried: they put a breakpoint into executable text in a file's page cache.
    Guarantee(
        74,
        "perf sees the mapping after the hooks (uprobes: needs text)",
        "mm/vma.c __mmap_complete()",
    ),
    Guarantee(75, "flags above bit 31 survive", "mm/vma.h compat_set_vma_from_desc()"),
    # mmap_prepare above mmap_prepare.
    _nested(
        76, "of two hooks' actions the last one counts", "include/linux/mm.h mmap_action_remap()"
    ),
    _nested(
        77,
        "of two hooks' vm_ops and private data the last ones count",
        "mm/vma.c call_mmap_prepare()",
    ),
    _nested(
        78,
        "an outer hook's error comes before action, VMA and mapped()",
        "mm/vma.c call_mmap_prepare()",
    ),
)
