"""The contract's absolute statements, as rules that hold for every trial.

A rule takes what was seen, asks the model what must be, and yields what is wrong. It names
the guarantees that it stands for (testbed/mmap/guarantees.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from testbed.mmap import model
from testbed.mmap.observation import Event, named, names
from testbed.mmap.path import HookPath
from testbed.mmap.plan import VM_ACCOUNT, VM_LOCKED, VM_SOFTDIRTY, Action, VmOps
from testbed.mmap.trial import Trial

_OPS_NAMES = {VmOps.LEAVE: "dummy", VmOps.NULL: "NULL"}


@dataclass(frozen=True)
class Violation:
    """One thing that is not as a guarantee says."""

    guarantees: tuple[int, ...]
    what: str
    expected: object
    seen: object

    @property
    def headline(self) -> str:
        """In one line, as the symptom of a defect is told."""
        return f"{self.what} is {self.seen}, not {self.expected}"

    def __str__(self) -> str:
        items = ", ".join(map(str, self.guarantees))
        return f"{self.what}: expected {self.expected}, seen {self.seen} (guarantee {items})"


Rule = Callable[[Trial], Iterator[Violation]]


def violations(trial: Trial) -> list[Violation]:
    """All that the rules find wrong with a trial."""
    return [found for rule in RULES for found in rule(trial)]


def errno_is_the_plans(trial: Trial) -> Iterator[Violation]:
    expected = model.failure(trial.scenario, trial.path, trial.page_size)
    if trial.made.error != expected:
        yield Violation((28, 33, 44, 51, 54), "errno of mmap", expected or "0", trial.made.error)


def hook_is_entered_with_the_computed_descriptor(trial: Trial) -> Iterator[Violation]:
    for event in named(trial.log(trial.steps.log), "prepare"):
        expected = _entry(trial)
        seen = {key: event.values.get(key) for key in expected}
        for key, (items, value) in expected.items():
            if seen[key] != value:
                yield Violation(items, f"desc.{key} on entry", value, seen[key])
        yield from _same(
            (9,), "desc size on entry", trial.scenario.call.pages, _pages(event, trial)
        )
        yield from _files_on_entry(trial, event)


def hook_runs_once(trial: Trial) -> Iterator[Violation]:
    """P1 never calls .mmap, and a nested hook runs once inside each outer one (4, 48)."""
    if trial.scenario.outer.hook_error:
        return
    order = names(trial.log(trial.steps.log))
    nodes = len(trial.path.shape.nodes)
    outer = nodes - 1 if nodes > 1 or trial.path is HookPath.DIRECT else 1
    yield from _same((4,), "calls of .mmap", outer, order.count("mmap"))
    wanted = int(trial.path.shape.prepares)
    yield from _same((4, 48), "calls of .mmap_prepare", wanted, order.count("prepare"))


def mapped_is_called_once_with_what_was_mapped(trial: Trial) -> Iterator[Violation]:
    found = list(named(trial.events, "mapped"))
    plan = trial.scenario.plan
    wanted = _reaches_mapped(trial) and model.vm_ops(trial.scenario) in model.HAVE_MAPPED
    yield from _same((48,), "calls of mapped()", int(wanted), len(found))
    for event in found[:1]:
        pgoff = model.final_pgoff(trial.scenario, trial.page_size, trial.pool_pfn)
        yield from _same((49,), "pgoff of mapped()", pgoff, event.number("pgoff"))
        pages = trial.scenario.call.pages
        yield from _same((49,), "pages of mapped()", pages, _pages(event, trial))
        private = _cookie(_kept(plan.private, trial))
        yield from _same((24, 49), "private data of mapped()", private, event.values["private"])
        visible = "0" if trial.path.shape.compat else "1"
        yield from _same((50,), "VMA is in the tree in mapped()", visible, event.values["visible"])
        hidden = str(int(bool(plan.hide) and trial.path is HookPath.DIRECT))
        locked = event.values["rmap_locked"]
        yield from _same((45,), "rmap is locked in mapped()", hidden, locked)
        if plan.replace is None:
            wanted_file = trial.path.shape.entry_vm_file
            yield from _same((49,), "file of mapped()", wanted_file, event.node("file"))


def hook_leaves_the_action_that_it_asked_for(trial: Trial) -> Iterator[Violation]:
    """The helpers of include/linux/mm.h write it down; from there on it is the core's."""
    plan = trial.scenario.plan
    for event in named(trial.log(trial.steps.log), "prepare_done"):
        if event.number("err") or plan.action is Action.UNKNOWN:
            continue
        action = str(plan.action or Action.NONE)
        yield from _same((33,), "action that the hook left", action, event.values["action"])
        if plan.action is Action.KERNEL_PAGES:
            pgoff = model.hook_pgoff(trial.scenario)
            yield from _same((41,), "pgoff of the pages", pgoff, event.number("a_pgoff"))


def vma_is_as_the_hook_left_it(trial: Trial) -> Iterator[Violation]:
    if trial.made.error:
        return
    scenario, vma = trial.scenario, trial.seen[trial.steps.vma].values
    pages = (int(vma["end"], 16) - int(vma["start"], 16)) // trial.page_size
    yield from _same((21,), "pages of the VMA", scenario.call.pages, pages)
    yield from _same((9,), "start of the VMA", trial.made.address, int(vma["start"], 16))
    pgoff = model.final_pgoff(scenario, trial.page_size, trial.pool_pfn)
    yield from _same((18, 36), "vm_pgoff", pgoff, int(vma["pgoff"], 16))
    flags = int(vma["flags"], 16) & ~VM_SOFTDIRTY
    wanted = model.final_flags(scenario) & ~VM_SOFTDIRTY
    yield from _same((19, 34, 41, 69), "vm_flags", f"{wanted:#x}", f"{flags:#x}")
    yield from _same((15, 23), "vm_ops", _ops(trial), vma["vm_ops"])
    yield from _same((24,), "vm_private_data", _final_private(trial), vma["private"])
    if scenario.plan.replace is None:
        node = str(vma["file"]).partition("#")[0]
        yield from _same((11, 27), "vm_file", trial.path.shape.final_vm_file, node)


def pages_show_what_was_mapped(trial: Trial) -> Iterator[Violation]:
    if trial.made.error or not trial.scenario.touch:
        return
    expected = model.contents(trial.scenario, trial.page_size)
    seen = trial.seen[trial.steps.read].contents
    yield from _same((15, 34, 37, 40, 41), "contents", expected, seen)


def accounts_say_what_is_mapped(trial: Trial) -> Iterator[Violation]:
    """Before anything is touched: address space, locked memory, charge, resident pages."""
    scenario = trial.scenario
    if trial.made.error or scenario.before or scenario.plan.replace:
        return
    pages, flags = scenario.call.pages, model.final_flags(scenario)
    expected = {
        ("status", "VmSize"): pages,
        ("status", "VmLck"): pages if flags & VM_LOCKED else 0,
        ("meminfo", "Committed_AS"): pages if flags & VM_ACCOUNT else 0,
    }
    if not set(scenario.call.flags.split(",")) & {"locked", "populate"}:
        expected["status", "RssFile"] = _inserted(trial)
    for (kind, key), wanted in expected.items():
        had, has = (
            trial.seen[steps[kind]].values["fields"][key]
            for steps in (trial.steps.before, trial.steps.early)
        )
        grown = (has - had) * 1024 / trial.page_size
        yield from _same((41, 57, 69), f"pages by which {key} has grown", wanted, grown)


def failure_leaves_nothing(trial: Trial) -> Iterator[Violation]:
    """No call of a VMA's operations but close() of one that mapped() was told of (51, 54)."""
    if not trial.made.error:
        return
    late = model.fails_late(trial.scenario, trial.path, trial.page_size)
    has_close = model.vm_ops(trial.scenario) in model.HAVE_CLOSE
    stood = late and trial.path.shape.prepares and has_close
    order = names(trial.log(trial.steps.log))
    yield from _same((51, 54), "calls of close()", int(stood), order.count("close"))
    for event in named(trial.log(trial.steps.log), "close"):
        private = _cookie(_kept(trial.scenario.plan.private, trial))
        yield from _same((49, 51), "private data of close()", private, event.values["private"])
    for name in ("open", "fault", "may_split", "mremap"):
        yield from _same((54,), f"calls of {name}() by a failed mmap", 0, order.count(name))


def closes_balance(trial: Trial) -> Iterator[Violation]:
    """open() is not called for the first mapping, close() once for each VMA (53)."""
    if trial.made.error:
        return
    order = names(trial.events)
    has_close = _ops(trial) in model.HAVE_CLOSE
    wanted = order.count("open") + 1 if has_close else 0
    yield from _same((53, 65), "calls of close()", wanted, order.count("close"))
    first = names(trial.log(trial.steps.log))
    yield from _same((53,), "calls of open() by mmap", 0, first.count("open"))


def ledger_is_back(trial: Trial) -> Iterator[Violation]:
    """File and page references, locked and resident memory, the commit charge (27, 28, 56)."""
    for kind, keys in _LEDGER.items():
        before = trial.seen[trial.steps.before[kind]].values
        after = trial.seen[trial.steps.end[kind]].values
        for key in keys:
            had, has = (values.get("fields", values)[key] for values in (before, after))
            yield from _same((27, 28, 56, 57, 58), f"{key} of {kind} after munmap", had, has)


RULES: tuple[Rule, ...] = (
    errno_is_the_plans,
    hook_is_entered_with_the_computed_descriptor,
    hook_runs_once,
    hook_leaves_the_action_that_it_asked_for,
    mapped_is_called_once_with_what_was_mapped,
    vma_is_as_the_hook_left_it,
    pages_show_what_was_mapped,
    accounts_say_what_is_mapped,
    failure_leaves_nothing,
    closes_balance,
    ledger_is_back,
)

_REFERENCES = ("file", "lower", "replacement", "page_count", "page_mapcount")
_LEDGER = {
    "top": _REFERENCES,
    "hook": _REFERENCES,
    "status": ("VmSize", "VmLck", "VmData", "RssFile", "RssShmem"),
    "meminfo": ("Committed_AS", "Shmem"),
}


def _entry(trial: Trial) -> dict[str, tuple[tuple[int, ...], str]]:
    """The descriptor's fields on entry, with the guarantee of each."""
    call, outer = trial.scenario.call, trial.scenario.outer
    pgoff = call.offset if outer.pgoff is None else outer.pgoff
    return {
        "mm": ((8,), "current"),
        "pgoff": ((12,), f"{pgoff:#x}"),
        "flags": ((13,), f"{model.entry_flags(call, outer):#x}"),
        "vm_ops": ((15,), _OPS_NAMES.get(outer.vm_ops or VmOps.LEAVE, str(outer.vm_ops))),
        "private": ((16,), "NULL"),
        "action": ((17,), "none"),
        "override": ((17,), "0"),
        "hide": ((17,), "0"),
    }


def _files_on_entry(trial: Trial, event: Event) -> Iterator[Violation]:
    shape = trial.path.shape
    yield from _same((10,), "desc.file on entry", shape.nodes[-1], event.node("file"))
    yield from _same((11,), "desc.vm_file on entry", shape.entry_vm_file, event.node("vm_file"))
    same = event.values["file"] == event.values["vm_file"]
    yield from _same((11,), "desc.file is vm_file", shape.entry_vm_file == shape.nodes[-1], same)


def _inserted(trial: Trial) -> int:
    """How many pages an action has inserted; page frames do not count."""
    extent = model.action_extent(trial.scenario, trial.page_size)
    if extent is None or trial.scenario.plan.action is not Action.KERNEL_PAGES:
        return 0
    return -(-extent.size // trial.page_size)


def _reaches_mapped(trial: Trial) -> bool:
    """Whether nothing fails before mapped() is called."""
    scenario, path = trial.scenario, trial.path
    if not path.shape.prepares or scenario.plan.bad_page is not None:
        return False
    error = model.failure(scenario, path, trial.page_size)
    late = model.fails_late(scenario, path, trial.page_size)
    return not error or late or bool(scenario.outer.outer_error)


def _ops(trial: Trial) -> str:
    """The vm_ops of the VMA, by their tag."""
    ops = model.vm_ops(trial.scenario)
    return _OPS_NAMES.get(ops, str(ops))


def _final_private(trial: Trial) -> str:
    plan = trial.scenario.plan
    calls = trial.path.shape.prepares and model.vm_ops(trial.scenario) in model.HAVE_MAPPED
    stored = plan.mapped_private if calls and plan.mapped_private is not None else plan.private
    return f"{_kept(stored, trial):#x}"


def _kept(private: int | None, trial: Trial) -> int:
    """What a hook leaves alone stays what an outer hook has stored."""
    return private if private is not None else trial.scenario.outer.private or 0


def _cookie(value: int) -> str:
    return f"{value:#x}" if value else "NULL"


def _pages(event: Event, trial: Trial) -> int:
    return (event.number("end") - event.number("start")) // trial.page_size


def _same(
    guarantees: tuple[int, ...], what: str, expected: object, seen: object
) -> Iterator[Violation]:
    if expected != seen:
        yield Violation(guarantees, what, expected, seen)
