# SPDX-License-Identifier: GPL-2.0
"""The cells of a night, made from the matrix and the kernels of tonight."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from testbed.arch import find_arch
from testbed.cache import digest
from testbed.context import Context
from testbed.flavour import FLAVOURS
from testbed.kernel.configure import read_fragments
from testbed.kernel.kconfig import fragment_text
from testbed.kernel.request import KernelRequest
from testbed.kernel.toolchain import find_compiler
from testbed.lab.prepared import flavour_fragments
from testbed.nightly.cell import Cell, PatchFile, TextFile
from testbed.nightly.kinds import KINDS
from testbed.nightly.matrix import Matrix, Row
from testbed.nightly.streams import StreamKernel, kernels_of
from testbed.settings import Settings

# Part of every content key: a change of its inputs makes all results new.
_LAYOUT = "1"


@dataclass(frozen=True)
class Planner:
    """Makes cells for one matrix on this host."""

    matrix: Matrix
    ctx: Context
    seed: int  # of rows without one

    def cells(self) -> list[Cell]:
        """Return the cells of tonight, each experiment once.

        Raises:
            SetupError: a kernel does not exist, or the host lacks something.
            InfraError: the archive is not available.
        """
        used = dict.fromkeys(
            name for row in self.matrix.rows for name in (*row.streams, *_named(row).values())
        )
        kernels = {name: list(kernels_of(self.matrix.streams[name], self.ctx)) for name in used}
        found = [
            cell
            for row in self.matrix.rows
            for name in row.streams
            for kernel in kernels[name]
            for cell in self._cells_of(_with_kernels(row, kernels), kernel)
        ]
        unique: dict[str, Cell] = {}
        for cell in found:
            unique.setdefault(cell.content, cell)
        return list(unique.values())

    def _cells_of(self, row: Row, kernel: StreamKernel) -> Iterator[Cell]:
        if KINDS[row.kind].reads_text:
            yield self._cell(row, kernel, row.arch[0], row.flavour[0], row.isolation[0])
            return
        for arch in row.arch:
            for flavour in row.flavour:
                if arch in FLAVOURS[flavour].arches:
                    for isolation in row.isolation:
                        yield self._cell(row, kernel, arch, flavour, isolation)

    def _cell(
        self, row: Row, kernel: StreamKernel, arch: str, flavour: str, isolation: str
    ) -> Cell:
        settings = self.ctx.settings
        cell = Cell(
            kind=row.kind,
            matrix=self.matrix.name,
            stream=kernel.stream.name,
            kernel=kernel.spec,
            source=kernel.source.description,
            identity=kernel.source.identity,
            commit=kernel.source.commit,
            series=kernel.series_name,
            patches=tuple(PatchFile.of_patch(patch) for patch in kernel.series.patches),
            arch=arch,
            flavour=flavour,
            isolation=isolation,
            accel=settings.accel,
            toolchain=settings.toolchain,
            config=tuple(TextFile.of(file.name, file.read_bytes()) for file in settings.config),
            cmdline=settings.cmdline,
            qemu=settings.qemu,
            memory_mib=settings.memory_mib,
            expression=row.tests,
            part=row.part,
            seed=self.seed if row.seed is None else row.seed,
            params=row.params,
            workers=1 if KINDS[row.kind].reads_text else row.workers,
        )
        request = kernel_request(kernel, cell, settings)
        return dataclasses.replace(cell, content=content_key(cell, request, self.ctx))


def _named(row: Row) -> dict[str, str]:
    """Return the streams that parameters of a row name, by parameter."""
    keys = KINDS[row.kind].stream_keys
    return {key: row.params[key] for key in keys if key in row.params}


def _with_kernels(row: Row, kernels: Mapping[str, Sequence[StreamKernel]]) -> Row:
    """Return a row whose parameters name tonight's kernels instead of streams."""
    pinned = {key: kernels[name][0].spec for key, name in _named(row).items()}
    return dataclasses.replace(row, params={**row.params, **pinned})


def kernel_request(kernel: StreamKernel, cell: Cell, settings: Settings) -> KernelRequest:
    """Return the request of a cell's kernel."""
    arch = find_arch(cell.arch)
    return KernelRequest(
        source=kernel.source,
        arch=arch,
        series=kernel.series,
        fragments=flavour_fragments(FLAVOURS[cell.flavour], arch, settings.recipes),
        user_fragments=settings.config,
        toolchain=settings.toolchain,
    )


def content_key(cell: Cell, request: KernelRequest, ctx: Context) -> str:
    """Return a digest of all that the result of a cell depends on.

    It has the inputs of the kernel and of its image, so that nothing is built for it. Workers and
    names do not count.
    """
    chosen = (cell.expression, *cell.only, f"{cell.part:g}")
    chosen += (str(cell.seed),) if cell.part < 1 else ()
    return digest(
        *(_LAYOUT, cell.kind, cell.identity, request.series.identity, cell.arch),
        find_compiler(request.toolchain, request.arch).identity,
        fragment_text(read_fragments(*request.ranks)),
        *(cell.isolation, cell.accel, str(cell.memory_mib), cell.cmdline, *cell.qemu),
        *chosen,
        *(f"{key}={value}" for key, value in sorted(cell.params.items())),
        *KINDS[cell.kind].identity(cell, ctx),
    )


def derived(cell: Cell, **changes: object) -> Cell:
    """Return a cell that repeats a part of another one, with a content key of its own."""
    changed = dataclasses.replace(cell, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(
        changed,
        content=digest(
            cell.content,
            *(changed.kind, changed.isolation, changed.confirms, *changed.only),
            *(f"{key}={value}" for key, value in sorted(changed.params.items())),
        ),
    )
