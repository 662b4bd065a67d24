# SPDX-License-Identifier: GPL-2.0
"""The hooks that a change of a kernel touches: by their initialisers, or by their functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from testbed.inventory.burndown import is_converted, paired
from testbed.inventory.definitions import Definition
from testbed.inventory.hook import Hook
from testbed.inventory.inventory import Inventory


class Touch(StrEnum):
    """What a change does to a hook."""

    CONVERTED = "converted"
    UNCONVERTED = "unconverted"  # it goes back
    REPLACED = "another function"
    FUNCTION = "the function's text"
    NEW = "new"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class TouchedHook:
    """A hook that a change touches. A function is empty where there is no hook."""

    touch: Touch
    hook: Hook  # of the later kernel; of a hook that is gone, of the earlier one
    before: str
    after: str

    @property
    def changes_kind(self) -> bool:
        """Whether the hook is converted, or goes back."""
        return self.touch in (Touch.CONVERTED, Touch.UNCONVERTED)

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of its function, of both kernels."""
        return tuple(dict.fromkeys(filter(None, (self.before, self.after))))

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.hook.struct} {self.hook.name}: {' -> '.join(self.functions)}"


def touched_hooks(
    before: Inventory, after: Inventory, changed: Sequence[Definition]
) -> list[TouchedHook]:
    """Return the hooks that a change touches, in the order of their places.

    Args:
        changed: what both kernels define differently.
    """
    found = [
        touched
        for old, new in paired(before, after)
        if (touched := _touched(old, new, changed)) is not None
    ]
    return sorted(found, key=lambda each: (each.hook.file, each.hook.line))


def _touched(old: list[Hook], new: list[Hook], changed: Sequence[Definition]) -> TouchedHook | None:
    touch = _touch(old, new, changed)
    if touch is None:
        return None
    was, now = is_converted(old), is_converted(new)
    first = next((hook for hook in new if hook.converted is now), None)
    last = next((hook for hook in old if hook.converted is was), None)
    hook = first or last
    assert hook is not None
    return TouchedHook(
        touch=touch,
        hook=hook,
        before=last.function if last else "",
        after=first.function if first else "",
    )


def _touch(old: list[Hook], new: list[Hook], changed: Sequence[Definition]) -> Touch | None:
    if not old or not new:
        return Touch.NEW if new else Touch.GONE
    was, now = is_converted(old), is_converted(new)
    if was != now:
        return Touch.CONVERTED if now else Touch.UNCONVERTED
    if {*_given(old)} != {*_given(new)}:
        return Touch.REPLACED
    if any(_is_changed(hook, changed) for hook in new):
        return Touch.FUNCTION
    return None


def _given(hooks: list[Hook]) -> Iterator[tuple[str, str]]:
    return ((hook.member, hook.function) for hook in hooks)


def _is_changed(hook: Hook, changed: Sequence[Definition]) -> bool:
    return any(each.is_function_of(hook.function, hook.file) for each in changed)
