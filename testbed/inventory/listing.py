# SPDX-License-Identifier: GPL-2.0
"""An inventory as people and programs read it: tables, CSV, and the data of a page."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.inventory.burndown import BurnDown, Change
from testbed.inventory.findings import Finding, findings
from testbed.inventory.hook import Hook
from testbed.inventory.inventory import Inventory

# The architectures that the testbed runs.
_OURS = ("x86_64", "arm64")

# How a kernel's hooks were reached: words for people, by `FILE:OBJECT`.
Reached = Mapping[str, Sequence[str]]

# How they can be reached, or why not.
Reachable = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class OwnerRow:
    """The hooks of one struct."""

    struct: str
    hooks: int  # NULL ones excluded
    converted: int
    null: int
    functions: int
    arches: tuple[int, ...]  # hooks that x86_64 and arm64 can have
    deeds: tuple[tuple[str, int], ...]  # the most frequent first
    callers: tuple[str, ...]  # functions that call a hook of the struct


def owner_rows(inventory: Inventory) -> list[OwnerRow]:
    """Return a row for each struct, the one with most hooks first."""
    structs = Counter(hook.struct for hook in inventory.hooks)
    rows = [_owner_row(struct, inventory) for struct in structs]
    return sorted(rows, key=lambda row: (-row.converted, -row.hooks, row.struct))


def _owner_row(struct: str, inventory: Inventory) -> OwnerRow:
    every = [hook for hook in inventory.hooks if hook.struct == struct]
    hooks = [hook for hook in every if not hook.null]
    deeds = Counter(str(deed) for hook in hooks for deed in hook.deeds)
    callers = (caller.function for caller in inventory.callers if caller.struct == struct)
    return OwnerRow(
        struct=struct,
        hooks=len(hooks),
        converted=sum(hook.converted for hook in hooks),
        null=len(every) - len(hooks),
        functions=len({(hook.function, _scope(hook)) for hook in hooks}),
        arches=tuple(sum(arch in hook.arches for hook in hooks) for arch in _OURS),
        deeds=tuple(deeds.most_common()),
        callers=tuple(dict.fromkeys(callers)),
    )


def _scope(hook: Hook) -> str:
    """Return the file that a function's name means, if it is likely to be static there."""
    return "" if hook.function.startswith(("generic_", "drm_gem_", "vb2_", "sock_")) else hook.file


def totals_line(inventory: Inventory) -> str:
    """Return the number of hooks and of files, one line."""
    real = inventory.real
    nulls = len(inventory.hooks) - len(real)
    converted = sum(hook.converted for hook in real)
    return (
        f"{len(real)} hooks of {len({hook.struct for hook in real})} structs, "
        f"{converted} converted; {nulls} NULL; {inventory.files} files read as C"
    )


def hook_line(hook: Hook, ways: Sequence[str] = (), reachable: str = "") -> str:
    """Return one hook, one line, with the ways by which it was and can be reached."""
    kind = f" by {hook.macro}" if hook.macro else f" in {hook.within}()" if hook.within else ""
    deeds = ",".join(hook.deeds) or "-"
    arches = ",".join(hook.arches) or "-"
    symbol = hook.symbols[0] if hook.symbols else "-"
    reached = f"; {reachable}" if reachable else ""
    reached += f"; reached by {', '.join(ways)}" if ways else ""
    return (
        f"{hook.place}: {hook.owner} {hook.name} = {hook.function}{kind} "
        f"[{deeds}] {symbol} {arches}{reached}"
    )


def burn_down_lines(burned: BurnDown) -> Iterator[str]:
    """Yield the burn-down for people."""
    yield f"from {burned.before}"
    yield f"to   {burned.after}"
    yield ", ".join(f"{burned.count(change)} {change}" for change in Change)
    for each in burned.progress:
        yield f"{each.struct}: {_of(each.before)} -> {_of(each.after)} converted"
    yield from (each.line for each in burned.changed)


def _of(pair: tuple[int, int]) -> str:
    return f"{pair[0]} of {pair[1]}"


def content(
    inventory: Inventory,
    burned: BurnDown | None = None,
    reached: Reached | None = None,
    reachable: Reachable | None = None,
) -> dict[str, Any]:
    """Return all that is known, as values that json.dumps() accepts.

    `source`, `version`, `series`, `totals`; `owners`, a row for each struct; `hooks`, with
    `reached` if results were given, and `reachable`: how, or why not; `callers`, `macros`,
    `findings`, `unread`, `burn_down`.
    A page of the report needs nothing else.
    """
    by_key, how = reached or {}, reachable or {}
    hooks = [
        {
            **dataclasses.asdict(hook),
            "null": hook.null,
            "reached": list(by_key.get(hook.tree_name, ())),
            "reachable": how.get(hook.tree_name, ""),
        }
        for hook in inventory.hooks
    ]
    values = dataclasses.asdict(inventory)
    return {
        **values,
        "totals": totals_line(inventory),
        "owners": [dataclasses.asdict(row) for row in owner_rows(inventory)],
        "hooks": hooks,
        "findings": [dataclasses.asdict(each) for each in findings(inventory)],
        "burn_down": dataclasses.asdict(burned) if burned is not None else None,
    }


_COLUMNS = (
    *("file", "line", "struct", "member", "name", "function", "shape", "macro", "within", "guard"),
    *("converted", "null", "symbols", "arches", "deeds", "chain", "nested", "held"),
    *("reached", "reachable"),
)


def csv_text(
    inventory: Inventory, reached: Reached | None = None, reachable: Reachable | None = None
) -> str:
    """Return the hooks as CSV, a row for each. Lists are separated by blanks."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for hook in content(inventory, reached=reached, reachable=reachable)["hooks"]:
        writer.writerow({key: _cell(value) for key, value in hook.items()})
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def finding_lines(found: Iterable[Finding]) -> Iterator[str]:
    """Yield the findings for people."""
    yield from (each.line for each in found)
