# SPDX-License-Identifier: GPL-2.0
"""The inventory of a kernel's mmap hooks, taken from its text and kept in the cache."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.errors import SetupError
from testbed.files import write_whole
from testbed.inventory.finder import Found, find
from testbed.inventory.hook import Caller, Hook, hook_from
from testbed.inventory.kbuild import Kbuild
from testbed.inventory.kconfigtree import Kconfig
from testbed.inventory.treefiles import TreeFiles, opened_files, patched
from testbed.kernel.series import Series
from testbed.kernel.source import Source

_KIND = "inventory"
_FILE = "inventory.json"


@dataclass(frozen=True, kw_only=True)
class MacroUse:
    """A macro that hides hooks."""

    name: str
    file: str
    line: int
    functions: tuple[str, ...]
    uses: int


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All hooks of one kernel."""

    source: str  # for people
    version: str
    series: tuple[str, ...]
    hooks: tuple[Hook, ...]
    callers: tuple[Caller, ...]
    macros: tuple[MacroUse, ...]
    unread: tuple[str, ...]  # what could not be understood: places like a hook, and symbols
    members: tuple[str, ...]  # `struct.member` of all members that hold hooks
    files: int = 0  # read as C

    @property
    def real(self) -> tuple[Hook, ...]:
        """The hooks without those that are NULL."""
        return tuple(hook for hook in self.hooks if not hook.null)

    def callers_of(self, owner: str) -> list[Caller]:
        """Return the calls of hooks of a member, as `struct.member`."""
        return [caller for caller in self.callers if caller.owner == owner]


def inventory_of(source: Source, series: Series, ctx: Context) -> Inventory:
    """Return the inventory of a kernel: the cache's, or one that is taken now in seconds.

    Raises:
        SetupError: the text is not a kernel's.
        PatchError: a patch of the series does not apply.
    """

    def make(scratch: Path) -> None:
        with (
            ctx.progress.step(f"look for the hooks of {source.version}"),
            opened_files(source, ctx) as base,
            patched(base, series) as files,
        ):
            taken = take_inventory(files, source.description, source.version, series.names)
            write_whole(scratch / _FILE, json.dumps(dataclasses.asdict(taken)))

    key = digest(source.identity, series.identity, inventory_code())
    path = ctx.cache.get(_KIND, key, make) / _FILE
    loaded = inventory_from(path.read_text())
    # Equal texts of two places have one entry, with the words of the first.
    return dataclasses.replace(loaded, source=source.description, series=series.names)


def take_inventory(
    files: TreeFiles, source: str = "", version: str = "", series: tuple[str, ...] = ()
) -> Inventory:
    """Take the inventory of a tree.

    Raises:
        SetupError: the tree has no member that could hold a hook: it is not a kernel's.
    """
    found = find(files)
    if not found.members:
        raise SetupError(
            f"{source or 'this tree'} is not a kernel's: no struct has a member for an mmap hook",
            hint="name the top of a kernel tree",
        )
    names = frozenset(files.names)
    kconfig = Kconfig(names, files.read)
    kconfig.load()
    hooks = tuple(_described(found, Kbuild(names, files.read), kconfig))
    return Inventory(
        source=source,
        version=version,
        series=series,
        hooks=hooks,
        callers=tuple(_described_callers(found)),
        macros=tuple(_macro_uses(found)),
        unread=(*found.unread, *_vanished(hooks, kconfig)),
        members=tuple(sorted(f"{struct}.{member}" for struct, member in found.members)),
        files=found.files,
    )


def inventory_from(text: str) -> Inventory:
    """Read an inventory that `json.dumps(dataclasses.asdict())` wrote.

    Raises:
        SetupError: it is not one.
    """
    try:
        values = json.loads(text)
        lists = {name: tuple(values[name]) for name in ("series", "unread", "members")}
        macros = ({**each, "functions": tuple(each["functions"])} for each in values["macros"])
        made = {
            "hooks": tuple(map(hook_from, values["hooks"])),
            "callers": tuple(Caller(**each) for each in values["callers"]),
            "macros": tuple(MacroUse(**each) for each in macros),
        }
        return Inventory(**{**values, **lists, **made})
    except (ValueError, KeyError, TypeError) as exc:
        raise SetupError(f"this is not an inventory of hooks: {exc}") from exc


def _described(found: Found, kbuild: Kbuild, kconfig: Kconfig) -> Iterator[Hook]:
    """Yield the hooks with their symbols, their architectures, and what they do."""
    for hook in found.hooks:
        symbols = kbuild.symbols(hook.file) or ()
        folder = hook.file.split("/")[1] if hook.file.startswith("arch/") else ""
        done = found.functions.does(hook.function, hook.file)
        yield dataclasses.replace(
            hook,
            symbols=symbols,
            arches=kconfig.arches(symbols, folder),
            deeds=() if hook.null else done.deeds,
            chain=() if hook.null else done.chain,
            nested=done.nested,
        )


def _vanished(hooks: Iterable[Hook], kconfig: Kconfig) -> Iterator[str]:
    """Yield the symbols that a Makefile asks for and no Kconfig file defines."""
    asked = dict.fromkeys((hook.file, symbol) for hook in hooks for symbol in hook.symbols)
    for file, symbol in asked:
        if not kconfig.known(symbol):
            yield f"{file}: its Makefile asks for {symbol}, which no Kconfig file defines"


def _described_callers(found: Found) -> Iterator[Caller]:
    for caller in found.callers:
        function = found.functions.find(caller.function, caller.file)
        if function is not None:
            yield dataclasses.replace(
                caller,
                converted=function.converted,
                layered=found.functions.does(function.name, function.file).layered,
                knows_both=function.knows_both,
            )
        else:
            yield caller


def _macro_uses(found: Found) -> Iterator[MacroUse]:
    for name, hiding in sorted(found.macros.items()):
        yield MacroUse(
            name=name,
            file=hiding.macro.file,
            line=hiding.macro.line,
            functions=tuple(dict.fromkeys(hook.value for hook in hiding.hooks)),
            uses=sum(hook.macro == name for hook in found.hooks),
        )


@cache
def inventory_code() -> str:
    """Return a digest of the code that takes inventories: other code finds other hooks."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return digest(*(file.read_text() for file in files))
