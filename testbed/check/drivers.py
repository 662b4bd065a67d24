# SPDX-License-Identifier: GPL-2.0
"""Checks of the kernel's own drivers: each on the machine that it needs, on one kernel or two."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

from testbed.arch import ARCHES, Arch, find_arch
from testbed.check.checker import Checker
from testbed.check.drivernode import Unsteady
from testbed.check.intreeloading import InTreeLoader, require_modules, require_symbols
from testbed.check.recipeplan import recipe_plan
from testbed.check.result import Checked, Conversion, TrialResult
from testbed.check.script import BaseMapping
from testbed.check.subjects import Renamed
from testbed.check.teams import open_teams, share_out
from testbed.context import Context
from testbed.errors import BootError, CommandError, InfraError, SetupError
from testbed.image.disks import build_disk
from testbed.intree.recipe import Recipe
from testbed.kernel.driver import Driver
from testbed.kernel.request import Kernel
from testbed.kernel.source import Source, unpack
from testbed.lab.lab import Lab
from testbed.mmap.path import HookPath
from testbed.process import find_tool
from testbed.settings import Isolation
from testbed.vm.devicetree import build_devicetree, find_compiler
from testbed.vm.qemu import qemu_devices, qemu_version

# The trial of a kernel that does not boot.
_BOOT = "boot"


@dataclass(frozen=True)
class Machine:
    """What a recipe asks of a guest. Recipes that ask for the same share guests."""

    qemu: tuple[str, ...]
    cmdline: str
    clones: bool
    devicetree: str = ""

    @classmethod
    def of(cls, recipe: Recipe) -> Machine:
        return cls(recipe.qemu, recipe.cmdline, recipe.clones, recipe.devicetree)

    def lab(self, kernel: Lab, arches: tuple[str, ...]) -> Lab:
        """Return a lab of the same kernel, whose guests are such machines."""
        settings = kernel.ctx.settings
        changed = dataclasses.replace(
            settings,
            arch=arches,
            qemu=(*self.qemu, *self._devicetree(kernel, arches), *settings.qemu),
            cmdline=" ".join(filter(None, (self.cmdline, settings.cmdline))),
            isolation=settings.isolation if self.clones else Isolation.BOOT,
        )
        ctx = dataclasses.replace(kernel.ctx, settings=changed)
        made = Lab(ctx, kernel.series, build_dir_name=kernel.build_dir_name, watch=kernel.watch)
        made.run_dir = kernel.run_dir
        return made

    def _devicetree(self, kernel: Lab, arches: tuple[str, ...]) -> tuple[str, ...]:
        """Return the words for QEMU that name the device tree, if the machine has its own."""
        if not self.devicetree:
            return ()
        (arch,) = arches
        made = kernel.prepared(arch)
        machine = made.arch, made.accel.accel, made.memory_mib
        try:
            file = build_devicetree(self.devicetree, *machine, kernel.ctx)
        except CommandError as error:
            message = f"the machine's device tree cannot be made: {error.message}"
            raise SetupError(message, hint="correct the recipe's `devicetree`") from error
        return ("-dtb", str(file))


@dataclass
class DriverChecks:
    """Checks drivers on one kernel, or compares two kernels."""

    kernels: Sequence[Lab]  # the older one first; the results are in the folder of the last
    lenient: bool = False  # leave out a driver that cannot be checked, with a note
    only_lower: bool = False  # leave out the direct path
    renamed: Mapping[str, Renamed] = field(default_factory=dict)  # by recipe
    converted: Collection[str] = ()  # recipes whose hooks are of another kind on the newer kernel
    results: dict[tuple[str, str], Checked | Conversion] = field(default_factory=dict)
    trials: tuple[str, ...] = ()  # patterns of the trials to perform; empty: all
    finished: Callable[[Checked | Conversion], None] = lambda _: None  # called for each result
    _lock: Lock = field(default_factory=Lock)
    left_out: dict[str, str] = field(default_factory=dict)  # drivers, and why

    @property
    def conversions(self) -> dict[tuple[str, str], Conversion]:
        """What was compared, by recipe and architecture."""
        return {key: each for key, each in self.results.items() if isinstance(each, Conversion)}

    def run(self, recipes: Sequence[Recipe]) -> list[Checked | Conversion]:
        """Return the results of each recipe on each architecture.

        Raises:
            SetupError: a driver cannot be checked here, and it is not to be left out.
        """
        able = [(recipe, arches) for recipe in recipes if (arches := self._arches(recipe))]
        for machine in dict.fromkeys(Machine.of(recipe) for recipe, _ in able):
            group = [each for each in able if Machine.of(each[0]) == machine]
            try:
                self._run_on(machine, group)
            except (BootError, InfraError) as error:
                if not self.lenient or machine == Machine((), "", clones=True):
                    raise
                self.left_out |= {recipe.name: error.message for recipe, _ in group}
        keys = ((recipe.name, arch) for recipe in recipes for arch in ARCHES)
        self.results = {key: self.results[key] for key in keys if key in self.results}
        return [*self.results.values()]

    def _arches(self, recipe: Recipe) -> tuple[str, ...]:
        """Return the architectures on which a driver can be checked. Nothing boots for this."""
        arches = self.kernels[-1].ctx.settings.arch
        return tuple(arch for arch in arches if self._can(recipe, arch))

    def _run_on(self, machine: Machine, group: Sequence[tuple[Recipe, tuple[str, ...]]]) -> None:
        wanted = dict.fromkeys(arch for _, arches in group for arch in arches)
        with ExitStack() as stack:
            labs = [
                stack.enter_context(closing(machine.lab(kernel, tuple(wanted))))
                for kernel in self.kernels
            ]
            for lab in labs:
                for arch in wanted:
                    lab.prepared(arch)
            jobs = [(recipe, arch) for arch in wanted for recipe, arches in group if arch in arches]
            teams = open_teams(labs, len(jobs), stack)
            broken = {arch: _boot_error(labs, arch) for arch in wanted}
            share_out(jobs, teams, partial(self._check_one, broken))

    def _check_one(
        self, broken: Mapping[str, str], labs: Sequence[Lab], job: tuple[Recipe, str]
    ) -> None:
        recipe, arch = job
        why = broken[arch]
        result = _unbooted(labs, recipe, arch, why) if why else self._check(labs, recipe, arch)
        with self._lock:
            self.results[recipe.name, arch] = result
            self.finished(result)

    def _can(self, recipe: Recipe, arch: str) -> bool:
        """Whether a driver can be checked on an architecture."""
        try:
            for lab in self.kernels:
                prepared = lab.prepared(arch)
                tree = partial(source_tree, prepared.source, lab.ctx)
                require(recipe, find_arch(arch), prepared.kernel, tree)
                _image(recipe, lab.ctx)
        except SetupError as error:
            if not self.lenient:
                raise
            self.left_out[f"{recipe} on {arch}"] = error.message
            return False
        return True

    def _check(self, labs: Sequence[Lab], recipe: Recipe, arch: str) -> Checked | Conversion:
        """Check a driver on each kernel. The newer ones start from the older one's mappings."""
        plan = recipe_plan(recipe, only_lower=self.only_lower, only=self.trials)
        unsteady = Unsteady()
        base_mappings: tuple[BaseMapping, ...] = ()
        sides: list[Checked] = []
        for lab, names in zip(labs, self.renamed.get(recipe.name, ({}, {})), strict=False):
            kernel = lab.prepared(arch).kernel
            plan = dataclasses.replace(
                plan, chain=tuple(names.get(name, name) for name in recipe.watched)
            )
            checker = Checker(
                lab,
                arch,
                Driver(()),
                f"{recipe} of {kernel.release}" if len(labs) > 1 else recipe.name,
                recipe.shown,
                plan,
                base_mappings,
                unsteady,
                InTreeLoader(recipe, kernel, _image(recipe, lab.ctx)),
            )
            sides.append(checker.run())
            base_mappings, unsteady = checker.base_mappings, checker.unsteady
            plan = checker.plan
        if len(sides) == 1:
            return sides[0]
        before, after = sides
        return Conversion(before, after, changes_kind=recipe.name in self.converted)


def _boot_error(labs: Sequence[Lab], arch: str) -> str:
    """Return why the newer of two kernels does not boot where the older one does, or "".

    Raises:
        BootError: the older one does not boot.
    """
    if len(labs) == 1:
        return ""
    before, after = labs
    with before.guest(arch, disks=False):
        pass
    try:
        with after.guest(arch, disks=False):
            return ""
    except BootError as error:
        return error.message


def _unbooted(labs: Sequence[Lab], recipe: Recipe, arch: str, error: str) -> Conversion:
    """Return the result of a driver whose newer kernel does not boot."""

    def side(lab: Lab, *complaints: str) -> Checked:
        kernel = lab.prepared(arch).kernel
        return Checked(
            arch=arch,
            kernel=kernel.release,
            driver=f"{recipe} of {kernel.release}",
            node=recipe.shown,
            base_mappings=(),
            outcomes=(TrialResult(trial=_BOOT, path=HookPath.DIRECT, complaints=complaints),),
        )

    return Conversion(side(labs[0]), side(labs[1], f"the kernel does not boot: {error}"))


def require(recipe: Recipe, arch: Arch, kernel: Kernel | None, tree: Callable[[], Path]) -> None:
    """Check that a driver can be checked on an architecture, with a kernel if it is built.

    Args:
        tree: returns the kernel's source.

    Raises:
        SetupError: the architecture, QEMU or the kernel lacks something. It names what.
    """
    if arch.name not in recipe.arches:
        raise SetupError(f"{recipe} is not for {arch}", hint=f"give --arch {recipe.arches[0]}")
    missing = sorted({*recipe.devices} - qemu_devices(arch)) if recipe.devices else []
    if missing:
        raise SetupError(
            f"{recipe} needs the device {missing[0]}, which QEMU {qemu_version(arch)} lacks",
            hint=f"install a {arch.qemu_package} that has it",
        )
    if recipe.disk is not None and recipe.disk.words:
        find_tool(recipe.disk.words[0], package=recipe.disk.package)
    if recipe.devicetree:
        find_compiler()
    if kernel is not None:
        require_symbols(recipe, kernel, tree)
        require_modules(recipe, kernel)


def _image(recipe: Recipe, ctx: Context) -> Path | None:
    """Return the disk that a recipe asks for.

    Raises:
        SetupError: the recipe's command fails.
    """
    if recipe.disk is None:
        return None
    try:
        return build_disk(recipe.disk, ctx).path
    except CommandError as error:
        message = f"{recipe}: its disk cannot be made: {error.message}"
        raise SetupError(message, hint="correct the command, or mebibytes, of [disk]") from error


def source_tree(source: Source, ctx: Context) -> Path:
    """Return the folder of a kernel's source."""
    return unpack(source, ctx).path
