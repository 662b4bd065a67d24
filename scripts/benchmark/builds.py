# SPDX-License-Identifier: GPL-2.0
"""Kernel builds beside the kernel's own make, with the same text, .config and compiler."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.cycles import Action, seconds
from benchmark.figures import Samples
from benchmark.quantities import (
    MAKE_ALL,
    MAKE_STEP,
    OUR_ALL,
    OUR_STEP,
    Quantity,
)
from testbed.arch import find_arch
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.kernel.build import KernelRequest, build_kernel
from testbed.kernel.make import Make
from testbed.kernel.series import Series
from testbed.kernel.source import resolve, unpack
from testbed.kernel.toolchain import find_compiler
from testbed.lab.prepared import prepare_kernel
from testbed.process import run

_PATIENCE = 7200.0  # seconds for one build

# The C file that a step changes, and the function that it adds: a different one in each step.
_CHANGED = "mm/util.c"
_CHANGE = (
    "\nint bench_step_{number}(void);\nint bench_step_{number}(void)\n{{\n\treturn {number};\n}}\n"
)


@dataclass
class Builds:
    """Builds of one text for one architecture, in a folder with a separate cache.

    The testbed's build with that cache empty takes turns with `make -jN`. Neither finds object
    files, and ccache is empty. A step continues from there, and ends when a VM could boot.
    """

    arch: str
    ctx: Context
    folder: Path
    samples: Samples
    _own: Context = field(init=False)  # with that cache, and the text that steps change
    _wholes: int = 0
    _steps: int = 0

    def __post_init__(self) -> None:
        self._own = self._own_context()

    def copy_text(self) -> None:
        """Copy the kernel text, so that steps can change it."""
        tree = unpack(resolve(self.ctx.settings.kernel, self.ctx), self.ctx)
        shutil.copytree(tree.path, self._text, symlinks=True)

    def build_all(self) -> None:
        """Build from nothing with both. They take turns in being first."""
        self._wholes += 1
        self._own.cache.close()
        shutil.rmtree(self._own.cache.root, ignore_errors=True)
        shutil.rmtree(self._objects, ignore_errors=True)
        self._own = self._own_context()
        # In round 1 the testbed is first, because it makes the .config.
        self._take_turns(self._wholes, (OUR_ALL, self._build), (MAKE_ALL, self._make))

    def warm_up(self) -> None:
        """Build everything except the kernel, once."""
        self._prepare()

    def build_step(self) -> None:
        """Change one file, and build with both. They take turns here too."""
        self._steps += 1
        with (self._text / _CHANGED).open("a") as file:
            file.write(_CHANGE.format(number=self._steps))
        self._take_turns(self._steps, (OUR_STEP, self._prepare), (MAKE_STEP, self._make))

    @property
    def _text(self) -> Path:
        return self.folder / "linux"

    @property
    def _objects(self) -> Path:
        return self.folder / "objects"

    @property
    def _config(self) -> Path:
        """The .config of the testbed's kernel."""
        return self.folder / "config"

    def _own_context(self) -> Context:
        settings = dataclasses.replace(
            self.ctx.settings, kernel=f"tree:{self._text}", cache_dir=self.folder / "cache"
        )
        return Context.of(settings, self.ctx.progress)

    def _take_turns(self, number: int, *turns: tuple[Quantity, Action]) -> None:
        for quantity, action in turns if number % 2 else reversed(turns):
            self.samples.add(self.arch, quantity, seconds(action))

    def _build(self) -> None:
        source = resolve(self._own.settings.kernel, self._own)
        request = KernelRequest(source=source, arch=find_arch(self.arch), series=Series())
        kernel = build_kernel(request, self._own)
        shutil.copyfile(kernel.config, self._config)

    def _prepare(self) -> None:
        prepare_kernel(self.arch, Series(), self._own)

    def _make(self) -> None:
        compiler = find_compiler(self.ctx.settings.toolchain, find_arch(self.arch))
        if not self._objects.exists():
            self._objects.mkdir()
            shutil.copyfile(self._config, self._objects / ".config")
        jobs = self.ctx.settings.jobs
        make = Make(src=self._text, obj=self._objects, compiler=compiler, jobs=jobs, ccache={})
        argv = make.argv(compiler.arch.image, "modules")
        with self.ctx.progress.step(f"make for {self.arch}"):
            run(argv, log=self.folder / "make.log", deadline=Deadline.after(_PATIENCE))
