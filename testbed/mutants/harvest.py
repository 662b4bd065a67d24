# SPDX-License-Identifier: GPL-2.0
"""Mutations that the machine finds: `testbed mutants --generate FILE`."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import zip_longest
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.errors import SetupError
from testbed.files import make_folder
from testbed.kernel.build import KernelBuilder, open_builder
from testbed.kernel.series import Series
from testbed.lab.prepared import request_kernel
from testbed.mutants.mutation import Mutation, load_mutations
from testbed.mutants.objects import ObjectMaker
from testbed.mutants.points import Point, Slip, fields_of, points_of
from testbed.mutants.trial import BUILD_DIR

# Their structures have the fields that functions of mm use.
_HEADERS = ("include/linux/mm_types.h", "include/linux/mm.h", "include/linux/fs.h")

_TITLE = "find mutations"


@dataclass(frozen=True)
class Wish:
    """What to generate: a sample of the mutations of some files, which the seed chooses."""

    files: tuple[str, ...]
    count: int
    seed: str
    functions: tuple[str, ...] = ()  # patterns; empty: all

    def wants(self, point: Point) -> bool:
        """Whether the point is in one of the functions."""
        wanted = self.functions or ("*",)
        return any(fnmatchcase(point.function, pattern) for pattern in wanted)


@dataclass
class Harvest:
    """What became of the mutations that were looked at."""

    points: int = 0  # in the files
    fates: Counter[str] = field(default_factory=Counter)
    mutations: list[Mutation] = field(default_factory=list)

    @property
    def line(self) -> str:
        """One line for the report."""
        looked = sum(self.fates.values())
        counts = ", ".join(f"{number} {fate}" for fate, number in sorted(self.fates.items()))
        return f"generated: {self.points} points, {looked} looked at: {counts}"


def generate(wish: Wish, series: Series, arch: str, folder: Path, ctx: Context) -> Harvest:
    """Write mutations into a folder that the compiler takes and that change the object's code.

    Raises:
        SetupError: a file is not in the tree, or not compiled.
        TreeError: the kernel without a mutation does not build.
    """
    make_folder(folder, "results_dir")
    request = request_kernel(arch, series, ctx, build_dir_name=BUILD_DIR)
    with open_builder(request, ctx) as builder:
        _compile(builder)
        texts = {file: _text(builder, file) for file in wish.files}
        found = {
            file: list(filter(wish.wants, _points(builder, file, text)))
            for file, text in texts.items()
        }
        harvest = Harvest(points=sum(map(len, found.values())))
        makers = {file: ObjectMaker.of(builder.build_dir, file) for file in wish.files}
        good = {file: makers[file].code(texts[file]) for file in wish.files}
        seen: dict[str, set[str | None]] = {file: {good[file]} for file in wish.files}
        with ctx.progress.step(_TITLE, wish.count) as step:
            for file, point in _shuffled(found, wish.seed):
                if harvest.fates["taken"] == wish.count:
                    break
                code = makers[file].code(point.applied(texts[file]))
                fate = _fate(code, seen[file])
                harvest.fates[fate] += 1
                if fate == "taken":
                    seen[file].add(code)
                    _write(folder, file, texts[file], point)
                step.update(harvest.fates["taken"], note=f"{file}: {point.name}")
    harvest.mutations = load_mutations(folder) if harvest.fates["taken"] else []
    return harvest


def _compile(builder: KernelBuilder) -> None:
    """Compile the good kernel, so that kbuild has recorded each file's command."""
    config = builder.final_config()
    key = builder.kernel_key(config)
    build_dir = builder.build_dir
    if not build_dir.holds(key):
        log = build_dir.fresh_log(key)
        build_dir.compile(key, config, title=f"compile {builder.request}", log=log)


def _text(builder: KernelBuilder, file: str) -> bytes:
    path = builder.build_dir.src / file
    if not path.is_file():
        raise SetupError(f"the kernel's tree has no {file}", hint="give names as mm/mmap.c")
    return path.read_bytes()


def _points(builder: KernelBuilder, file: str, text: bytes) -> list[Point]:
    src = builder.build_dir.src
    near = [str(path.relative_to(src)) for path in sorted((src / file).parent.glob("*.h"))]
    headers = [name for name in (*_HEADERS, *near) if (src / name).is_file()]
    return points_of(text, fields_of({name: (src / name).read_bytes() for name in headers}))


def _shuffled(found: dict[str, list[Point]], seed: str) -> Iterator[tuple[str, Point]]:
    """Yield all points in the seed's order, in which the kinds take turns."""
    pairs = [(file, point) for file, points in found.items() for point in points]
    pairs.sort(key=lambda pair: digest(seed, pair[0], pair[1].name, _shown(pair[1])))
    kinds = [iter([pair for pair in pairs if pair[1].slip is slip]) for slip in Slip]
    for turn in zip_longest(*kinds):
        yield from filter(None, turn)


def _fate(code: str | None, seen: set[str | None]) -> str:
    if code is None:
        return "not compiled"
    return "equal" if code in seen else "taken"


def _write(folder: Path, file: str, text: bytes, point: Point) -> None:
    """Write a mutation as a patch with three lines of context."""
    before, after = (
        each.decode(errors="surrogateescape").splitlines(keepends=True)
        for each in (text, point.applied(text))
    )
    lines = difflib.unified_diff(before, after, f"a/{file}", f"b/{file}")
    header = f"What: {point.slip}: {point.function}(), line {point.line}\nUndoes: generated\n---\n"
    name = f"{Path(file).stem}-{point.name}-{digest(_shown(point))[:4]}.patch"
    (folder / name).write_text(header + "".join(lines), errors="surrogateescape")


def _shown(point: Point) -> str:
    return point.text.decode(errors="replace")


def files_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of files, each once, without a leading `./`."""
    return tuple(dict.fromkeys(name.removeprefix("./") for name in names))
