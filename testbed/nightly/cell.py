# SPDX-License-Identifier: GPL-2.0
"""A cell of the matrix, its result, and their files.

A cell holds everything that its result depends on, so any host can run it. Its folder:

    cell.json           the cell
    run/                a run, as `testbed run` leaves it (testbed/results/store.py)
    cell-result.json    written last: as long as it is absent, the cell has no result
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.cache import digest
from testbed.errors import SetupError
from testbed.files import DAMAGED, write_whole
from testbed.kernel.patch import Patch, make_patch
from testbed.kernel.series import Series
from testbed.results.model import Run, Status
from testbed.results.store import read_run
from testbed.settings import AccelChoice, Isolation, Settings, Toolchain

CELL_FILE = "cell.json"
CELL_RESULT_FILE = "cell-result.json"
RUN_FOLDER = "run"

# To be incremented when a field of a cell or of its result changes its meaning.
_FORMAT = 1

# The digits of a content key that name the folder of a cell.
_ID_DIGITS = 16


@dataclass(frozen=True)
class TextFile:
    """A file that a cell carries: a patch, or a fragment of a configuration."""

    name: str
    text: str

    @classmethod
    def of(cls, name: str, content: bytes) -> TextFile:
        """Keep the content, whatever its encoding."""
        return cls(name, content.decode(errors="surrogateescape"))

    def write(self, folder: Path) -> Path:
        """Write the file below `folder`, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / Path(self.name).name
        path.write_bytes(self.content)
        return path

    @property
    def content(self) -> bytes:
        return self.text.encode(errors="surrogateescape")


@dataclass(frozen=True)
class PatchFile(TextFile):
    """A patch that a cell carries."""

    strip: int = 1  # leading directories in front of its names

    @classmethod
    def of_patch(cls, patch: Patch) -> PatchFile:
        file = TextFile.of(patch.name, patch.text)
        return cls(file.name, file.text, strip=patch.strip)


@dataclass(frozen=True)
class Found:
    """What a kind of cell returns of its work."""

    run: Run
    answer: Mapping[str, str] = field(default_factory=dict)  # what a run cannot hold


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One experiment: some tests on one kernel of one architecture."""

    kind: str  # an entry of kinds.KINDS
    matrix: str
    stream: str
    kernel: str  # one text for ever, such as debian:7.3.4-1 or tree:PATH@COMMIT
    source: str = ""  # the same in words for people
    identity: str = ""  # of the text (testbed/kernel/source.py)
    commit: str = ""  # of a git stream
    series: str = ""  # its name, for people
    patches: tuple[PatchFile, ...] = ()  # of the series
    arch: str
    flavour: str
    isolation: str
    accel: str = AccelChoice.AUTO  # the request; the result has the one that ran
    toolchain: str = Toolchain.GCC
    config: tuple[TextFile, ...] = ()  # the user's fragments
    cmdline: str = ""
    qemu: tuple[str, ...] = ()
    memory_mib: int = 512
    expression: str = ""  # the tests to run, as pytest -k; empty: all
    only: tuple[str, ...] = ()  # node ids of the tests to run; empty: all
    part: float = 1.0  # the share of the tests to run
    seed: int = 0  # chooses this share, and the order
    params: Mapping[str, str] = field(default_factory=dict)  # of its kind
    workers: int = 1  # processes that run tests, each with its VMs
    confirms: str = ""  # the content key of the cell whose failures it repeats
    content: str = ""  # equal for equal experiments (planner.py)

    @property
    def id(self) -> str:
        """The name of the cell's folder."""
        return self.content[:_ID_DIGITS]

    @property
    def partial(self) -> bool:
        """Whether the cell leaves out tests: their absence means nothing."""
        return bool(self.expression or self.only or self.part < 1)

    @property
    def title(self) -> str:
        """The cell in a few words for people."""
        words = [self.stream, self.series, self.arch, self.flavour, self.isolation]
        words += [self.kind] if self.kind != "tests" else []
        words += [f"{self.part:.0%}"] if self.part < 1 else []
        words += [f"-k {self.expression!r}"] if self.expression else []
        words += [f"again {len(self.only)} tests"] if self.confirms else []
        return " ".join(filter(None, words))

    @property
    def kernel_group(self) -> str:
        """Equal for cells that build the same kernel."""
        texts = [each.text for each in (*self.patches, *self.config)]
        return digest(self.identity, *texts, self.arch, self.flavour, self.toolchain)

    def load_series(self, folder: Path) -> Series:
        """Write the patches into `folder`, for people, and return the series.

        Raises:
            SetupError: a patch is refused.
        """
        return Series(
            tuple(
                make_patch(
                    each.name,
                    each.content,
                    origin=str(each.write(folder)),
                    strip=each.strip,
                )
                for each in self.patches
            )
        )

    def settings(self, own: Settings, folder: Path) -> Settings:
        """Return the host's own settings with the choices of the cell.

        `folder` gets the fragments of the cell.

        Raises:
            SetupError: the host lacks the architecture or the flavour.
        """
        return dataclasses.replace(
            own,
            kernel=self.kernel,
            series="",
            arch=(self.arch,),
            flavour=self.flavour,
            isolation=Isolation(self.isolation),
            accel=AccelChoice(self.accel),
            toolchain=Toolchain(self.toolchain),
            config=tuple(each.write(folder) for each in self.config),
            cmdline=self.cmdline,
            qemu=self.qemu,
            memory_mib=self.memory_mib,
            workers=self.workers,
            results_dir=folder,
        )


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What is known of a cell after it ran."""

    cell: Cell
    host: str
    started: str  # ISO 8601, UTC
    seconds: float
    answer: Mapping[str, str] = field(default_factory=dict)  # of its kind, beside the run
    run: Run

    def count(self, status: Status) -> int:
        return self.run.count(status)


def cell_text(cell: Cell) -> str:
    """Return the file of a cell."""
    return json.dumps({"version": _FORMAT, **dataclasses.asdict(cell)}, indent=1) + "\n"


def parse_cell(text: str, origin: str) -> Cell:
    """Return the cell of a file.

    Raises:
        SetupError: the text is not a cell, or one of another format.
    """
    try:
        values = json.loads(text)
        version = values.pop("version")
        if version != _FORMAT:
            raise SetupError(f"{origin} has format {version}, not {_FORMAT}")
        return _cell(values)
    except DAMAGED as exc:
        raise SetupError(f"{origin} is not a cell: {exc}") from exc


def read_cell(file: Path) -> Cell:
    """Return the cell in a file. Raises SetupError."""
    try:
        return parse_cell(file.read_text(), str(file))
    except (OSError, UnicodeDecodeError) as exc:
        raise SetupError(f"cannot read the cell {file}: {exc}") from exc


def write_cell(folder: Path, cell: Cell) -> Path:
    """Write the file of a cell into its folder, and return its path."""
    write_whole(folder / CELL_FILE, cell_text(cell))
    return folder / CELL_FILE


def write_cell_result(folder: Path, result: CellResult) -> None:
    """Write the result of a cell atomically. Its run is written already."""
    values = {each.name: getattr(result, each.name) for each in dataclasses.fields(result)}
    values |= {"cell": dataclasses.asdict(result.cell), "run": RUN_FOLDER}
    write_whole(folder / CELL_RESULT_FILE, json.dumps({"version": _FORMAT, **values}, indent=1))


def has_result(folder: Path) -> bool:
    return (folder / CELL_RESULT_FILE).exists()


def read_cell_result(folder: Path) -> CellResult | None:
    """Return the result that a folder holds, or None.

    Raises:
        SetupError: a file of the result is damaged.
    """
    file = folder / CELL_RESULT_FILE
    if not file.exists():
        return None
    try:
        values = json.loads(file.read_text())
        version = values.pop("version")
        if version != _FORMAT:
            raise SetupError(f"{file} has format {version}, not {_FORMAT}")
        values |= {"cell": _cell(values["cell"]), "run": read_run(folder / values["run"])}
        return CellResult(**values)
    except DAMAGED as exc:
        raise SetupError(f"{file} cannot be read: {exc}") from exc


def _cell(values: dict[str, Any]) -> Cell:
    """Undo dataclasses.asdict. Raises KeyError, TypeError, ValueError."""
    files = {
        "patches": tuple(PatchFile(**each) for each in values.get("patches", ())),
        "config": tuple(TextFile(**each) for each in values.get("config", ())),
    }
    lists = {name: _texts(values.get(name, ())) for name in ("qemu", "only")}
    cell = Cell(**{**values, **files, **lists})
    if not 0 < cell.part <= 1 or math.isnan(cell.part):
        raise ValueError(f"part is {cell.part}, not above 0 and at most 1")
    if cell.workers < 1:
        raise ValueError(f"workers is {cell.workers}, not 1 or more")
    return cell


def _texts(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
