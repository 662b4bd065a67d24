# SPDX-License-Identifier: GPL-2.0
"""What an inventory shows to be wrong, or to go wrong once a hook is converted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from testbed.inventory.conditions import exclude
from testbed.inventory.hook import Caller, Hook
from testbed.inventory.inventory import Inventory

# So many hooks are named in a line.
_NAMED = 3

# These hold the hooks of whatever file it is.
_ANY_FILE = frozenset({"file.f_op", "inode.i_fop"})


class Grade(StrEnum):
    ERROR = "error"  # a call of NULL, or a warning of the kernel
    WARNING = "warning"  # an error as soon as a certain hook is converted
    NOTE = "note"  # works through the compatibility layer


class Rule(StrEnum):
    """What is looked for."""

    NULL_CALL = "null-call"  # a converted hook is still called by its old member
    BOTH_MEMBERS = "both-members"  # a hook has both members
    CALLER_BEHIND = "caller-behind"  # a nested hook is converted, and its caller is not


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding, at a place of the tree."""

    rule: Rule
    grade: Grade
    place: str
    text: str

    @property
    def line(self) -> str:
        return f"{self.place}: {self.grade}: {self.text} ({self.rule})"


def findings(inventory: Inventory) -> list[Finding]:
    """Return the findings, the worst first."""
    found = [*_null_calls(inventory), *_both_members(inventory), *_callers_behind(inventory)]
    grades = list(Grade)
    return sorted(found, key=lambda each: (grades.index(each.grade), each.place))


def _null_calls(inventory: Inventory) -> Iterator[Finding]:
    """Find calls of the old member that reach an object which has only the new one."""
    for caller in inventory.callers:
        if caller.knows_both or caller.converted or _is_new(caller, inventory):
            continue
        reached = [hook for hook in inventory.real if _reaches(caller, hook)]
        converted = [hook for hook in reached if hook.converted]
        waiting = [hook for hook in reached if not hook.converted]
        call = f"{caller.function}() calls {caller.text}() by hand"
        if converted:
            text = f"{call}, which is NULL for {_names(converted)}"
            yield _finding(Rule.NULL_CALL, Grade.ERROR, caller.place, text)
        elif waiting and _can_be_converted(caller, inventory):
            text = f"{call}, which will be NULL once one of these is converted: {_names(waiting)}"
            yield _finding(Rule.NULL_CALL, Grade.WARNING, caller.place, text)


def _both_members(inventory: Inventory) -> Iterator[Finding]:
    objects: dict[str, list[Hook]] = {}
    for hook in inventory.real:
        if hook.name and not hook.within:
            objects.setdefault(hook.key, []).append(hook)
    for hooks in objects.values():
        for new in (hook for hook in hooks if hook.converted):
            for old in (hook for hook in hooks if not hook.converted):
                if not exclude(old.guard, new.guard):
                    text = f"{new.name} has both {old.member} and {new.member} (line {new.line})"
                    yield _finding(Rule.BOTH_MEMBERS, Grade.ERROR, old.place, text)


def _callers_behind(inventory: Inventory) -> Iterator[Finding]:
    for caller in inventory.callers:
        if caller.converted or not _is_new(caller, inventory) or caller.knows_both:
            continue
        behind = f"{caller.function}() is not converted, and calls the converted {caller.owner}"
        if caller.layered:
            text = f"{behind} through the compatibility layer"
            yield _finding(Rule.CALLER_BEHIND, Grade.NOTE, caller.place, text)
        else:
            text = f"{behind} without the compatibility layer"
            yield _finding(Rule.CALLER_BEHIND, Grade.ERROR, caller.place, text)


def _finding(rule: Rule, grade: Grade, place: str, text: str) -> Finding:
    return Finding(rule=rule, grade=grade, place=place, text=text)


def _reaches(caller: Caller, hook: Hook) -> bool:
    """Whether a call can reach a hook: by the struct, and by what holds the object."""
    if hook.struct != caller.struct:
        return False
    return not caller.holder or caller.holder in hook.held or caller.holder in _ANY_FILE


def _is_new(caller: Caller, inventory: Inventory) -> bool:
    """Whether the member that is called holds converted hooks."""
    known = {hook.owner: hook.converted for hook in inventory.hooks}
    return known.get(caller.owner, "prepare" in caller.member)


def _can_be_converted(caller: Caller, inventory: Inventory) -> bool:
    """Whether the struct has a member for converted hooks."""
    return f"{caller.struct}.mmap_prepare" in inventory.members


def _names(hooks: list[Hook]) -> str:
    names = [f"{hook.name} ({hook.place})" for hook in hooks[:_NAMED]]
    rest = len(hooks) - len(names)
    return ", ".join(names) + (f" and {rest} more" if rest else "")
