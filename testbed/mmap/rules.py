# SPDX-License-Identifier: GPL-2.0
"""The contract's rules, which hold for every execution.

A rule compares an execution with the prediction of the model, and yields the violations. Each
violation names the guarantees that it breaks (testbed/mmap/guarantees.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from testbed.mmap import prediction
from testbed.mmap.execution import Execution
from testbed.mmap.observation import HookEvent, named, names
from testbed.mmap.plan import VM_ACCOUNT, VM_LOCKED, VM_SOFTDIRTY, Action, VmOps

_OPS_NAMES = {VmOps.LEAVE: "dummy", VmOps.NULL: "NULL"}


@dataclass(frozen=True)
class Violation:
    """One deviation from a guarantee."""

    guarantees: tuple[int, ...]
    what: str
    expected: object
    seen: object

    @property
    def headline(self) -> str:
        """One line, in which the symptom of a defect is searched."""
        return f"{self.what} is {self.seen}, not {self.expected}"

    def __str__(self) -> str:
        items = ", ".join(map(str, self.guarantees))
        return f"{self.what}: expected {self.expected}, seen {self.seen} (guarantee {items})"


Rule = Callable[[Execution], Iterator[Violation]]


def violations(execution: Execution) -> list[Violation]:
    """Return all violations by an execution."""
    return [found for rule in RULES for found in rule(execution)]


def errno_matches_the_prediction(execution: Execution) -> Iterator[Violation]:
    expected = prediction.failure(execution.scenario, execution.path, execution.page_size)
    if execution.made.error != expected:
        yield Violation(
            (28, 33, 44, 51, 54), "errno of mmap", expected or "0", execution.made.error or "0"
        )


def descriptor_is_complete_on_entry(execution: Execution) -> Iterator[Violation]:
    for event in named(execution.log(execution.steps.log), "prepare"):
        expected = _entry(execution)
        seen = {key: event.values.get(key) for key in expected}
        for key, (items, value) in expected.items():
            if seen[key] != value:
                yield Violation(items, f"desc.{key} on entry", value, seen[key])
        yield from _same(
            (9,),
            "desc size in pages on entry",
            execution.scenario.call.pages,
            _pages(event, execution),
        )
        yield from _files_on_entry(execution, event)


def hook_runs_once(execution: Execution) -> Iterator[Violation]:
    """The core never calls .mmap of these. A nested hook runs once in each outer hook (4, 48)."""
    if execution.scenario.outer.hook_error:
        return
    order = names(execution.log(execution.steps.log))
    shape = execution.path.shape
    above = len(shape.nodes) - 1
    outer = 0 if shape.by_core else max(above, 1)
    yield from _same((4,), "calls of .mmap", outer, order.count("mmap"))
    outer = above if shape.outer_prepares else 0
    yield from _same((4,), "calls of the outer .mmap_prepare", outer, order.count("outer"))
    wanted = int(shape.prepares)
    yield from _same((4, 48), "calls of .mmap_prepare", wanted, order.count("prepare"))


def mapped_runs_once_with_the_final_mapping(execution: Execution) -> Iterator[Violation]:
    found = list(named(execution.events, "mapped"))
    plan = execution.scenario.plan
    wanted = (
        _reaches_mapped(execution)
        and prediction.vm_ops(execution.scenario) in prediction.HAVE_MAPPED
    )
    yield from _same((48,), "calls of mapped()", int(wanted), len(found))
    for event in found[:1]:
        pgoff = prediction.final_pgoff(execution.scenario, execution.page_size, execution.pool_pfn)
        yield from _same((49,), "pgoff of mapped()", pgoff, event.number("pgoff"))
        pages = execution.scenario.call.pages
        yield from _same(
            (49,), "size of the mapped() range in pages", pages, _pages(event, execution)
        )
        private = _cookie(prediction.private(execution.scenario))
        yield from _same((24, 49), "private data of mapped()", private, event.values["private"])
        visible = "0" if execution.path.shape.compat else "1"
        yield from _same(
            (50,), "visibility of the VMA in mapped()", visible, event.values["visible"]
        )
        hidden = str(int(bool(plan.hide) and execution.path.shape.by_core))
        locked = event.values["rmap_locked"]
        yield from _same((45,), "state of the rmap lock in mapped()", hidden, locked)
        if plan.replace is None:
            wanted_file = execution.path.shape.entry_vm_file
            yield from _same((49,), "file of mapped()", wanted_file, event.node("file"))


def hook_leaves_the_planned_action(execution: Execution) -> Iterator[Violation]:
    """The helpers of include/linux/mm.h store the action; from then on the core owns it."""
    plan = execution.scenario.plan
    for event in named(execution.log(execution.steps.log), "prepare_done"):
        if event.number("err") or plan.action is Action.UNKNOWN:
            continue
        action = str(prediction.left_action(execution.scenario))
        yield from _same((33,), "action left by the hook", action, event.values["action"])
        if plan.action is Action.KERNEL_PAGES and not execution.scenario.outer.late:
            pgoff = prediction.hook_pgoff(execution.scenario)
            yield from _same((41,), "pgoff of the kernel pages", pgoff, event.number("a_pgoff"))


def vma_matches_the_descriptor(execution: Execution) -> Iterator[Violation]:
    if execution.made.error:
        return
    scenario, vma = execution.scenario, execution.seen[execution.steps.vma].values
    pages = (int(vma["end"], 16) - int(vma["start"], 16)) // execution.page_size
    yield from _same((21,), "size of the VMA in pages", scenario.call.pages, pages)
    yield from _same((9,), "start of the VMA", execution.made.address, int(vma["start"], 16))
    pgoff = prediction.final_pgoff(scenario, execution.page_size, execution.pool_pfn)
    yield from _same((18, 36), "vm_pgoff", pgoff, int(vma["pgoff"], 16))
    flags = int(vma["flags"], 16) & ~VM_SOFTDIRTY
    wanted = prediction.final_flags(scenario) & ~VM_SOFTDIRTY
    yield from _same((19, 34, 41, 69), "vm_flags", f"{wanted:#x}", f"{flags:#x}")
    yield from _same((15, 23), "vm_ops", _ops(execution), vma["vm_ops"])
    yield from _same((24,), "vm_private_data", _final_private(execution), vma["private"])
    if scenario.plan.replace is None:
        node = str(vma["file"]).partition("#")[0]
        yield from _same((11, 27), "vm_file", execution.path.shape.final_vm_file, node)


def pages_show_the_predicted_contents(execution: Execution) -> Iterator[Violation]:
    if execution.made.error or not execution.scenario.touch:
        return
    expected = prediction.contents(execution.scenario, execution.page_size)
    seen = execution.seen[execution.steps.read].contents
    yield from _same((15, 34, 37, 40, 41), "contents", expected, seen)


def accounts_match_the_mapping(execution: Execution) -> Iterator[Violation]:
    """Before the pages are touched: address space, locked memory, commit charge, resident pages."""
    scenario = execution.scenario
    if execution.made.error or scenario.before or scenario.plan.replace:
        return
    pages, flags = scenario.call.pages, prediction.final_flags(scenario)
    expected = {
        ("status", "VmSize"): pages,
        ("status", "VmLck"): pages if flags & VM_LOCKED else 0,
        ("meminfo", "Committed_AS"): pages if flags & VM_ACCOUNT else 0,
    }
    if not set(scenario.call.flags.split(",")) & {"locked", "populate"}:
        expected["status", "RssFile"] = _inserted(execution)
    for (kind, key), wanted in expected.items():
        had, has = (
            execution.seen[steps[kind]].values["fields"][key]
            for steps in (execution.steps.before, execution.steps.early)
        )
        grown = (has - had) * 1024 / execution.page_size
        yield from _same((41, 57, 69), f"growth of {key} in pages", wanted, grown)


def failure_leaves_nothing(execution: Execution) -> Iterator[Violation]:
    """After a failure only close() runs, and only for a VMA that reached mapped() (51, 54)."""
    if not execution.made.error:
        return
    late = prediction.fails_late(execution.scenario, execution.path, execution.page_size)
    has_close = prediction.vm_ops(execution.scenario) in prediction.HAVE_CLOSE
    stood = late and execution.path.shape.prepares and has_close
    order = names(execution.log(execution.steps.log))
    yield from _same((51, 54), "calls of close()", int(stood), order.count("close"))
    for event in named(execution.log(execution.steps.log), "close"):
        private = _cookie(prediction.private(execution.scenario))
        yield from _same((49, 51), "private data of close()", private, event.values["private"])
    for name in ("open", "fault", "may_split", "mremap"):
        yield from _same((54,), f"calls of {name}() by a failed mmap", 0, order.count(name))


def closes_balance(execution: Execution) -> Iterator[Violation]:
    """mmap does not call open(). close() runs once for each VMA (53)."""
    if execution.made.error:
        return
    order = names(execution.events)
    has_close = _ops(execution) in prediction.HAVE_CLOSE
    wanted = order.count("open") + 1 if has_close else 0
    yield from _same((53, 65), "calls of close()", wanted, order.count("close"))
    first = names(execution.log(execution.steps.log))
    yield from _same((53,), "calls of open() by mmap", 0, first.count("open"))


def ledger_is_balanced(execution: Execution) -> Iterator[Violation]:
    """File and page references, locked and resident memory, commit charge (27, 28, 56)."""
    for kind, keys in _LEDGER.items():
        before = execution.seen[execution.steps.before[kind]].values
        after = execution.seen[execution.steps.end[kind]].values
        for key in keys:
            had, has = (values.get("fields", values)[key] for values in (before, after))
            yield from _same((27, 28, 56, 57, 58), f"{key} of {kind} after munmap", had, has)


RULES: tuple[Rule, ...] = (
    errno_matches_the_prediction,
    descriptor_is_complete_on_entry,
    hook_runs_once,
    hook_leaves_the_planned_action,
    mapped_runs_once_with_the_final_mapping,
    vma_matches_the_descriptor,
    pages_show_the_predicted_contents,
    accounts_match_the_mapping,
    failure_leaves_nothing,
    closes_balance,
    ledger_is_balanced,
)

_REFERENCES = ("file", "lower", "replacement", "page_count", "page_mapcount")
_LEDGER = {
    "top": _REFERENCES,
    "hook": _REFERENCES,
    "status": ("VmSize", "VmLck", "VmData", "RssFile", "RssShmem"),
    "meminfo": ("Committed_AS", "Shmem"),
}


def _entry(execution: Execution) -> dict[str, tuple[tuple[int, ...], str]]:
    """The descriptor's fields on entry: the guarantees and the expected value of each."""
    call, outer = execution.scenario.call, prediction.early(execution.scenario.outer)
    # The layer begins with empty private data, an outer mmap_prepare passes on its own.
    private = outer.private if execution.path.shape.outer_prepares else None
    pgoff = call.offset if outer.pgoff is None else outer.pgoff
    return {
        "mm": ((8,), "current"),
        "pgoff": ((12,), f"{pgoff:#x}"),
        "flags": ((13,), f"{prediction.entry_flags(call, outer):#x}"),
        "vm_ops": ((15,), _OPS_NAMES.get(outer.vm_ops or VmOps.LEAVE, str(outer.vm_ops))),
        "private": ((16,), _cookie(private or 0)),
        "action": ((17, 76), str(outer.action or Action.NONE)),
        "override": ((17,), "0"),
        "hide": ((17,), "0"),
    }


def _files_on_entry(execution: Execution, event: HookEvent) -> Iterator[Violation]:
    shape = execution.path.shape
    yield from _same((10,), "desc.file on entry", shape.nodes[-1], event.node("file"))
    yield from _same((11,), "desc.vm_file on entry", shape.entry_vm_file, event.node("vm_file"))
    same = event.values["file"] == event.values["vm_file"]
    yield from _same(
        (11,), "desc.file == desc.vm_file on entry", shape.entry_vm_file == shape.nodes[-1], same
    )


def _inserted(execution: Execution) -> int:
    """The number of pages that the action inserted. Page frames do not count."""
    extent = prediction.action_extent(execution.scenario, execution.page_size)
    if extent is None or prediction.acting(execution.scenario).action is not Action.KERNEL_PAGES:
        return 0
    return -(-extent.size // execution.page_size)


def _reaches_mapped(execution: Execution) -> bool:
    """Whether nothing fails before the call of mapped()."""
    scenario, path = execution.scenario, execution.path
    if not path.shape.prepares or scenario.plan.bad_page is not None:
        return False
    error = prediction.failure(scenario, path, execution.page_size)
    late = prediction.fails_late(scenario, path, execution.page_size)
    return not error or late or bool(scenario.outer.outer_error and path.shape.compat)


def _ops(execution: Execution) -> str:
    """The tag of the VMA's vm_ops."""
    ops = prediction.vm_ops(execution.scenario)
    return _OPS_NAMES.get(ops, str(ops))


def _final_private(execution: Execution) -> str:
    plan = execution.scenario.plan
    vm_ops = prediction.vm_ops(execution.scenario)
    calls = execution.path.shape.prepares and vm_ops in prediction.HAVE_MAPPED
    stored = plan.mapped_private if calls else None
    return f"{prediction.private(execution.scenario) if stored is None else stored:#x}"


def _cookie(value: int) -> str:
    return f"{value:#x}" if value else "NULL"


def _pages(event: HookEvent, execution: Execution) -> int:
    return (event.number("end") - event.number("start")) // execution.page_size


def _same(
    guarantees: tuple[int, ...], what: str, expected: object, seen: object
) -> Iterator[Violation]:
    if expected != seen:
        yield Violation(guarantees, what, expected, seen)
