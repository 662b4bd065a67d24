# SPDX-License-Identifier: GPL-2.0
"""Recipes: how a guest reaches the mmap hook of one of the kernel's own drivers (docs/drivers.md).

Each is a data file, testbed/intree/recipes/NAME.toml.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from testbed.arch import ARCHES
from testbed.errors import SetupError
from testbed.image.disks import FileSystem
from testbed.image.makers import MAKERS
from testbed.intree.openers import check_opener, check_options
from testbed.kernel.kconfig import Asked, parse_fragment
from testbed.kernel.recipeconfig import RECIPES, SUFFIX, recipe_fragment
from testbed.mmap.path import MMAP_STACKS, HookPath
from testbed.suggest import suggest
from testbed.tomlfile import place, read_toml
from testbed.tomlvalues import (
    SHARING,
    WrongValue,
    at_least,
    chosen,
    exactly,
    filled,
    list_of,
    offsets,
    prots,
    sizes,
    texts,
)

# Words for `sizes`: the one that the opener reports, and those of a page and a ring behind it.
EXACT = "exact"
_SIZES = {EXACT: (), "1+2^n": (2, 3, 5, 9, 17)}

# A program makes a disk and may choose its size, or a function does.
_DISK_KEYS = (
    {"command", "package"},
    {"command", "package", "mebibytes"},
    {"maker", "mebibytes"},
)

# Stands for every recipe in a list of drivers.
ALL = "all"

# The architectures whose machine is described by a device tree.
_WITH_DEVICETREE = ("arm64",)

_FUNCTION = re.compile(r"[A-Za-z_]\w*")
_DEVICE = re.compile(r"-device ([^, ]+)")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One driver of the kernel, and all that a guest needs to map its file.

    Sizes and offsets are in units.
    """

    file: Path
    what: str  # one line for people
    chain: tuple[str, ...]  # the functions that an mmap() runs, from the outside in
    inlined: tuple[str, ...] = ()  # those of the chain that a compiler may inline
    hook: str = ""  # FILE:OBJECT, if the chain's functions are those of other hooks, too
    arches: tuple[str, ...] = tuple(ARCHES)
    kconfig: str = ""  # a fragment
    qemu: tuple[str, ...] = ()  # words for QEMU
    cmdline: str = ""  # words for the guest's kernel
    devicetree: str = ""  # an overlay for the machine's device tree, as dtc takes it
    clones: bool = True  # a VM with these devices can be saved and cloned
    disk: FileSystem | None = None  # on /dev/loop0
    # In load order; their parameters. They are the kernel's, or the testbed's own (mmap_*).
    modules: Mapping[str, str] = field(default_factory=dict)
    stays: Mapping[str, str] = field(default_factory=dict)  # modules not to unload, and why
    setup: tuple[str, ...] = ()  # lines of a shell, once the modules are loaded
    teardown: tuple[str, ...] = ()
    node: str = ""  # the file to open, unless there is an opener
    opener: str = ""  # a kind of the probe's step `opener`
    options: Mapping[str, str] = field(default_factory=dict)  # of the opener
    unit: int = 1  # pages
    base: int = 0
    sizes: tuple[int, ...] | None = None  # empty: the one that the opener reports; None: any
    offsets: tuple[int, ...] | None = None
    prots: tuple[str, ...] | None = None
    sharing: tuple[str, ...] = SHARING
    memory: bool = True  # pages keep written values, and nothing else changes them
    lasting: bool = False  # a trial finds what earlier ones wrote
    volatile: tuple[int, ...] = ()  # pages that change by themselves
    places: bool = False  # its own get_unmapped_area() decides on addresses
    state: tuple[str, ...] = ()  # files that must read the same after each trial
    skip: Mapping[str, str] = field(default_factory=dict)  # patterns of trials, and why not
    not_below: Mapping[str, str] = field(default_factory=dict)  # stacks, and why not

    @property
    def name(self) -> str:
        return self.file.stem

    def __str__(self) -> str:
        return self.name

    @property
    def watched(self) -> tuple[str, ...]:
        """The functions of the chain that a guest's kernel has for certain."""
        return tuple(name for name in self.chain if name not in self.inlined)

    @property
    def stacks(self) -> tuple[HookPath, ...]:
        """The stacks that may have the driver's file as their lower file."""
        return tuple(path for path in MMAP_STACKS if path not in self.not_below)

    @cached_property
    def symbols(self) -> tuple[Asked, ...]:
        """What it asks of the kernel's configuration."""
        return tuple(parse_fragment(recipe_fragment(self.file), str(self.file), optional=True))

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that QEMU must have."""
        return tuple(_DEVICE.findall(" ".join(self.qemu)))

    @property
    def awaited(self) -> str:
        """The file that must appear before it can be opened; empty if there is none."""
        return self.node or self.options.get("path", "")

    @property
    def shown(self) -> str:
        """What is opened, for people."""
        words = (f"{key}={value}" for key, value in self.options.items())
        return self.node or " ".join(("opener", self.opener, *words))


def load_recipe(file: Path) -> Recipe:
    """Read a recipe.

    Raises:
        SetupError: the file is not TOML, lacks a key, or has a wrong one. It names the line, and
            the nearest known key.
    """
    values = read_toml(file, "recipe", list(_VALUES))
    found = {key: _value(file, key, value) for key, value in values.items()}
    for key in ("what", "chain"):
        if key not in found:
            raise SetupError(f"{file}: the key {key!r} is missing", hint=_DOCUMENT)
    if ("node" in found) == ("opener" in found):
        message = f"{file}: a recipe has either a node or an opener"
        raise SetupError(message, hint=_DOCUMENT)
    if "options" in found and "opener" not in found:
        raise SetupError(f"{place(file, 'options')}: only an opener has options", hint=_DOCUMENT)
    if "opener" in found:
        _check_options(file, found["opener"], found.get("options", {}))
    if unknown := [name for name in found.get("inlined", ()) if name not in found["chain"]]:
        where = f"{place(file, 'inlined')}: inlined"
        raise SetupError(f"{where}: {unknown[0]!r} is not in the chain", hint=_DOCUMENT)
    if "devicetree" in found and found.get("arches") != _WITH_DEVICETREE:
        where = f"{place(file, 'devicetree')}: devicetree"
        hint = f"add arches = {list(_WITH_DEVICETREE)}"
        raise SetupError(f"{where}: only QEMU's machine for arm64 has a device tree", hint=hint)
    if {*found["chain"]} <= {*found.get("inlined", ())}:
        where = f"{place(file, 'inlined')}: inlined"
        raise SetupError(f"{where}: nothing of the chain is left to look for", hint=_DOCUMENT)
    if found.get("sizes") == () and "opener" not in found:
        raise SetupError(f"{place(file, 'sizes')}: sizes: only an opener reports a size")
    if "disk" in found:
        found["disk"] = replace(found["disk"], name=file.stem)
    return Recipe(file=file, **found)


def _check_options(file: Path, opener: str, options: Mapping[str, str]) -> None:
    try:
        check_options(opener, options)
    except WrongValue as exc:
        where = place(file, "options" if options else "opener")
        raise SetupError(f"{where}: options: {exc}", hint=_DOCUMENT) from exc


def load_recipes(folder: Path = RECIPES) -> dict[str, Recipe]:
    """Return all recipes by name. Raises as load_recipe() does."""
    return {file.stem: load_recipe(file) for file in sorted(folder.glob(f"*{SUFFIX}"))}


def choose_recipes(words: str, known: Mapping[str, Recipe]) -> tuple[Recipe, ...]:
    """Return the recipes that a list with commas names: by name, by a function, or all.

    A function stands for every recipe in whose chain it is.

    Raises:
        SetupError: nothing has a name of the list.
    """
    found: dict[str, Recipe] = {}
    for word in filter(None, words.split(",")):
        found |= {recipe.name: recipe for recipe in _named(word, known)}
    if not found:
        raise SetupError("--driver names no driver", hint=f"give a name, a function or {ALL}")
    return tuple(found.values())


def _named(word: str, known: Mapping[str, Recipe]) -> Sequence[Recipe]:
    if word == ALL:
        return tuple(known.values())
    if word in known:
        return (known[word],)
    through = [recipe for recipe in known.values() if word in recipe.chain]
    if not through:
        functions = (name for recipe in known.values() for name in recipe.chain)
        hint = suggest(word, dict.fromkeys((*known, *functions)))
        raise SetupError(f"no recipe is named {word!r}, or has such a function", hint=hint)
    return through


_DOCUMENT = "docs/drivers.md describes the keys"


def _value(file: Path, key: str, value: Any) -> Any:
    try:
        return _VALUES[key](value)
    except WrongValue as exc:
        raise SetupError(f"{place(file, key)}: {key}: {exc}", hint=_DOCUMENT) from exc


def _line(value: Any) -> str:
    text = str(exactly(str, value))
    if not text or "\n" in text:
        raise WrongValue("it must be one line")
    return text


def _functions(value: Any) -> tuple[str, ...]:
    found = filled(list_of(str, value))
    for name in found:
        if not _FUNCTION.fullmatch(name):
            raise WrongValue(f"{name!r} is not the name of a function")
    return found


def _hook(value: Any) -> str:
    text = _line(value)
    if not re.fullmatch(r"\S+\.c:\w+", text):
        raise WrongValue(f"{text!r} is not FILE:OBJECT, as `testbed hooks --list` names a hook")
    return text


def _path(value: Any) -> str:
    text = str(exactly(str, value))
    if not text.startswith("/"):
        raise WrongValue(f"{text!r} is not an absolute path")
    return text


def _words(value: Any) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(exactly(str, value)))
    except ValueError as exc:
        raise WrongValue(str(exc)) from exc


def _disk(value: Any) -> FileSystem:
    """Return the file system of a disk. It gets its name later."""
    if not isinstance(value, dict) or set(value) not in _DISK_KEYS:
        raise WrongValue(f"it has {' or '.join(map(_listed, _DISK_KEYS))}, not {_listed(value)}")
    words = _words(value.get("command", ""))
    if words and "disk" not in words:
        raise WrongValue("its command lacks the word `disk`, which stands for the image")
    maker = str(exactly(str, value.get("maker", "")))
    if maker and maker not in MAKERS:
        raise WrongValue(f"{maker!r} is not one of {', '.join(MAKERS)}")
    package = str(exactly(str, value.get("package", "")))
    size = at_least(1, value["mebibytes"]) if "mebibytes" in value else 0
    return FileSystem(name="", package=package, words=words, maker=maker, mebibytes=size)


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))


def _sizes(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        if value not in _SIZES:
            raise WrongValue(f"{value!r} is not a list of sizes, or one of {', '.join(_SIZES)}")
        return _SIZES[value]
    return sizes(value)


def _reasons(known: Iterable[str], value: Any) -> dict[str, str]:
    """Return a table of reasons, whose keys are in `known` if that is not empty."""
    found = texts("reasons", value)
    for word in found:
        if (names := tuple(known)) and word not in names:
            raise WrongValue(f"{word!r} is not one of {', '.join(names)}")
    return found


_VALUES: dict[str, Callable[[Any], Any]] = {
    "what": _line,
    "chain": _functions,
    "inlined": _functions,
    "hook": _hook,
    "arches": partial(chosen, tuple(ARCHES)),
    "kconfig": partial(exactly, str),
    "qemu": _words,
    "cmdline": _line,
    "devicetree": partial(exactly, str),
    "clones": partial(exactly, bool),
    "disk": _disk,
    "modules": partial(texts, "modules and their parameters"),
    "stays": partial(texts, "modules and why they stay"),
    "setup": partial(list_of, str),
    "teardown": partial(list_of, str),
    "node": _path,
    "opener": lambda value: check_opener(_line(value)),
    "options": partial(texts, "options of the opener"),
    "unit": partial(at_least, 1),
    "base": partial(at_least, 0),
    "sizes": _sizes,
    "offsets": offsets,
    "prots": prots,
    "sharing": partial(chosen, SHARING),
    "memory": partial(exactly, bool),
    "lasting": partial(exactly, bool),
    "volatile": lambda value: tuple(at_least(0, page) for page in list_of(int, value)),
    "places": partial(exactly, bool),
    "state": partial(list_of, str),
    "skip": partial(_reasons, ()),
    "not_below": partial(_reasons, tuple(MMAP_STACKS)),
}
