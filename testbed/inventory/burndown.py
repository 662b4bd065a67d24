# SPDX-License-Identifier: GPL-2.0
"""The burn-down between two kernels: which hooks were converted, came, and went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from testbed.inventory.hook import Hook
from testbed.inventory.inventory import Inventory


class Change(StrEnum):
    """What became of a hook."""

    CONVERTED = "converted"
    UNCONVERTED = "unconverted"  # it went back
    NEW = "new"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A hook that changed. `before` and `after` are functions, empty where there is no hook."""

    change: Change
    struct: str
    name: str
    place: str  # in the later tree; of a hook that is gone, in the earlier one
    before: str = ""
    after: str = ""
    converted: bool = False  # of a hook that is new or gone

    @property
    def line(self) -> str:
        how = " -> ".join(filter(None, (self.before, self.after)))
        kind = " (converted)" if self.converted and self.change in (Change.NEW, Change.GONE) else ""
        return f"{self.change:11}  {self.struct} {self.name}: {how}{kind}  {self.place}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The converted hooks and all hooks of one struct."""

    struct: str
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class BurnDown:
    """What changed from one kernel to another."""

    before: str
    after: str
    changed: tuple[Changed, ...]
    progress: tuple[Progress, ...]  # of structs with converted hooks, or with a change

    def count(self, change: Change) -> int:
        return sum(each.change is change for each in self.changed)


def burn_down(before: Inventory, after: Inventory) -> BurnDown:
    """Compare two kernels. A hook is the same if struct, object and file are the same.

    An object that alone has its name in both trees may have moved to another file.
    """
    changed = [
        each for old, new in paired(before, after) if (each := _compared(old, new)) is not None
    ]
    kinds = list(Change)
    changed.sort(key=lambda each: (kinds.index(each.change), each.struct, each.place))
    names = (before.source, after.source)
    return BurnDown(
        before=_title(before) if names[0] != names[1] else names[0],
        after=_title(after),
        changed=tuple(changed),
        progress=tuple(_progress(before, after, {each.struct for each in changed})),
    )


def paired(before: Inventory, after: Inventory) -> Iterator[tuple[list[Hook], list[Hook]]]:
    """Yield the hooks of each object in both kernels. One list is empty if a kernel has none."""
    old, new = _by_key(before.real), _by_key(after.real)
    pairs = {key: key for key in old.keys() & new.keys()}
    pairs |= _moved(old, new)
    yield from ((old[mine], new[other]) for mine, other in pairs.items())
    yield from (([], new[key]) for key in new.keys() - set(pairs.values()))
    yield from ((old[key], []) for key in old.keys() - pairs.keys())


def _title(inventory: Inventory) -> str:
    series = f" with {len(inventory.series)} patches" if inventory.series else ""
    return f"{inventory.source}{series}"


def _by_key(hooks: Iterable[Hook]) -> dict[str, list[Hook]]:
    found: dict[str, list[Hook]] = {}
    for hook in hooks:
        found.setdefault(hook.key, []).append(hook)
    return found


def _moved(old: Mapping[str, list[Hook]], new: Mapping[str, list[Hook]]) -> dict[str, str]:
    """Return the keys of hooks that moved to another file, by their keys before."""
    gone, come = _by_name(old, new), _by_name(new, old)
    return {
        gone[name][0]: come[name][0]
        for name in gone.keys() & come.keys()
        if len(gone[name]) == len(come[name]) == 1
    }


def _by_name(
    mine: Mapping[str, list[Hook]], other: Mapping[str, list[Hook]]
) -> dict[tuple[str, str], list[str]]:
    """Return the keys that only `mine` has, by struct and name of the object."""
    found: dict[tuple[str, str], list[str]] = {}
    for key in mine.keys() - other.keys():
        hook = mine[key][0]
        if hook.name and not hook.within:
            found.setdefault((hook.struct, hook.name), []).append(key)
    return found


def _compared(old: list[Hook], new: list[Hook]) -> Changed | None:
    if not old:
        return _alone(Change.NEW, new)
    if not new:
        return _alone(Change.GONE, old)
    was, now = is_converted(old), is_converted(new)
    if was == now:
        return None
    first = next(hook for hook in new if hook.converted is now)
    return Changed(
        change=Change.CONVERTED if now else Change.UNCONVERTED,
        struct=first.struct,
        name=first.name,
        place=first.place,
        before=next(hook.function for hook in old if hook.converted is was),
        after=first.function,
    )


def _alone(change: Change, hooks: list[Hook]) -> Changed:
    hook = hooks[0]
    where = "after" if change is Change.NEW else "before"
    return Changed(
        change=change,
        struct=hook.struct,
        name=hook.name,
        place=hook.place,
        converted=is_converted(hooks),
        **{where: hook.function},
    )


def is_converted(hooks: Iterable[Hook]) -> bool:
    """Whether one of an object's hooks is converted."""
    return any(hook.converted for hook in hooks)


def _progress(before: Inventory, after: Inventory, structs: set[str]) -> Iterator[Progress]:
    was, now = _totals(before), _totals(after)
    for struct in sorted(was.keys() | now.keys()):
        first, last = was.get(struct, (0, 0)), now.get(struct, (0, 0))
        if struct in structs or first[0] or last[0]:
            yield Progress(struct=struct, before=first, after=last)


def _totals(inventory: Inventory) -> dict[str, tuple[int, int]]:
    whole = Counter(hook.struct for hook in inventory.real)
    converted = Counter(hook.struct for hook in inventory.real if hook.converted)
    return {struct: (converted[struct], whole[struct]) for struct in whole}
