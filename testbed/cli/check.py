# SPDX-License-Identifier: GPL-2.0
"""`testbed check`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import click

from testbed.check.checker import Checker
from testbed.check.checkplan import CheckPlan, load_check_plan
from testbed.check.drivernode import Unsteady
from testbed.check.drivers import DriverChecks
from testbed.check.kernelchange import KernelChange, KernelText, read_change
from testbed.check.report import check_content, check_lines, conversion_lines, summary_line
from testbed.check.result import Checked, Conversion, exit_status
from testbed.check.script import BaseMapping
from testbed.check.serieschange import SeriesChange, new_findings
from testbed.check.seriesreport import change_content, change_lines, finding_lines
from testbed.check.subjects import Subjects
from testbed.check.trialnames import chosen_trials
from testbed.cli.invocation import Invocation, opened
from testbed.cli.options import json_option, kernel_options
from testbed.errors import SetupError
from testbed.flavour import DRIVERS
from testbed.intree.recipe import ALL, Recipe, choose_recipes, load_recipes
from testbed.kernel.driver import Driver, find_driver
from testbed.kernel.source import resolve
from testbed.lab.lab import Lab
from testbed.mmap.path import HookPath
from testbed.pages.checkpage import write_check_site

_JSON_FILE = "check.json"
_MARKDOWN_FILE = "check.md"

_MODULE = click.Path(exists=True, path_type=Path)

_CHOICES = "give --module, or --before and --after, or --driver, or --series alone"


@click.command()
@kernel_options
@json_option
@click.option(
    "--module",
    type=_MODULE,
    metavar="DIR|FILE.ko",
    help="Check one driver: a folder with its Kbuild or Makefile, which is never written to, or a "
    "built module.",
)
@click.option(
    "--driver",
    metavar="NAME[,NAME]",
    help="Check the kernel's own drivers: recipes by name, those with a function in their chain, "
    "or all. `testbed drivers` lists them. Implies --flavour drivers.",
)
@click.option(
    "--before",
    metavar="DIR|FILE.ko|KERNEL",
    help="Compare this older version of a driver with the one that --after names; with --driver, "
    "this older kernel, as --kernel names it, with +SERIES for patches on top.",
)
@click.option(
    "--after",
    metavar="DIR|FILE.ko|KERNEL",
    help="Compare this newer version with the one that --before names.",
)
@click.option(
    "--node",
    metavar="FILE",
    help="Map FILE, an absolute path: the driver's device node, such as /dev/foo, or its file in "
    "debugfs or sysfs.",
)
@click.option(
    "--plan",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the choice of trials from a TOML file. Default: all trials.",
)
@click.option(
    "--trials",
    metavar="TRIAL[,TRIAL]",
    default="",
    help="With --driver, or --series alone, perform only these trials, such as chain, exit-shared "
    "or mlock*. Default: all.",
)
@click.option("--lower", is_flag=True, help="Leave out the direct path: test below stacks only.")
def check(
    module: Path | None,
    driver: str | None,
    before: str | None,
    after: str | None,
    node: str | None,
    plan: Path | None,
    lower: bool,
    trials: str,
    **options: Any,
) -> None:
    """Test a driver's mappings, directly and below stacks.

    It performs every operation that userspace can perform on a mapping, each in a guest with the
    driver freshly loaded. With --before and --after it shows every difference between the versions
    that userspace can see.

    With --series alone, or with two kernels alone, it finds the hooks that change, and the kernel's
    own drivers that reach them, and compares these on both kernels.

    Exit status: 0 everything holds and nothing differs, 1 otherwise; 2, 3 and 130 as for `testbed
    run`. With --series alone, 2 also if no hook is touched, and 3 if one was not reached.

    \b
    Examples:
      testbed check --module ~/foo --node /dev/foo
      testbed check --module foo.ko --node /dev/foo --plan foo.toml --flavour debug
      testbed check --before foo-old --after foo-new --node /dev/foo --arch arm64
      testbed check --driver vivid-cap,vim2m
      testbed check --driver comedi --before debian:7.2 --after debian:7.3
      testbed check --series convert-comedi.mbox
    """
    if (before is None) != (after is None):
        raise click.UsageError(_CHOICES)
    for option, value in (("--before", before), ("--after", after)):
        if value == "":
            raise click.UsageError(f"{option} is empty")
    kernels = tuple(filter(None, (before, after)))
    patterns = chosen_trials(trials)
    if not any((driver, module, node, plan)) and (kernels or options["series"]):
        sys.exit(_check_change(kernels, lower, patterns, options))
    if driver is not None:
        if module is not None or node is not None or plan is not None:
            raise click.UsageError("--driver excludes --module, --node and --plan")
        sys.exit(_check_drivers(driver, kernels, lower, patterns, options))
    if trials:
        raise click.UsageError("--trials needs --driver; a plan's key `skip` leaves out trials")
    modules = [*map(_existing, kernels), *filter(None, [module])]
    if (module is None) != bool(kernels):
        raise click.UsageError(_CHOICES)
    if node is None:
        raise click.UsageError("--module needs --node, the driver's file")
    if not node.startswith("/"):
        raise click.UsageError(f"--node {node} is not an absolute path")
    chosen = _only_lower(load_check_plan(plan)) if lower else load_check_plan(plan)
    with opened(options) as invocation:
        invocation.show_series()
        with closing(Lab(invocation.ctx, invocation.series)) as lab:
            found = _check(lab, modules, node, chosen)
            _report(invocation, lab, found)
    sys.exit(exit_status(found))


def _existing(path: str) -> Path:
    if not Path(path).exists():
        raise click.UsageError(f"--before and --after name modules, and there is no {path}")
    return Path(path)


def _report(invocation: Invocation, lab: Lab, found: Sequence[Checked | Conversion]) -> None:
    """Print the results, and write them into the folder of the run."""
    lines = [line for each in found for line in _lines(each)]
    _write_report(invocation, lab, lines, check_content(found), found)


def _write_report(
    invocation: Invocation,
    lab: Lab,
    lines: Sequence[str],
    content: object,
    found: Sequence[Checked | Conversion],
) -> None:
    """Print a report, and write it into the folder of the run, with a page if anything ran."""
    (lab.run_dir / _JSON_FILE).write_text(json.dumps(content, indent=1) + "\n")
    (lab.run_dir / _MARKDOWN_FILE).write_text("\n".join(lines) + "\n")
    pages = [f"page: {write_check_site(lab.run_dir, found)}"] if found else []
    invocation.report((*lines, f"results: {lab.run_dir}", *pages), content)


def _check_drivers(
    words: str,
    kernels: tuple[str, ...],
    lower: bool,
    trials: tuple[str, ...],
    options: dict[str, Any],
) -> int:
    """Check the kernel's own drivers, on one kernel or on two. Return the exit status."""
    recipes = choose_recipes(words, load_recipes())
    options["flavour"] = options["flavour"] or DRIVERS
    with ExitStack() as stack:
        sides = [
            _shown(stack.enter_context(opened({**options, **_kernel_words(kernel)})))
            for kernel in kernels or ("",)
        ]
        labs = _labs(stack, sides, () if words == ALL else recipes)
        subjects = _change(sides).subjects(recipes) if kernels else Subjects()
        checks = DriverChecks(
            labs,
            lenient=words == ALL,
            only_lower=lower,
            renamed=subjects.renamed,
            converted=subjects.converted,
            trials=trials,
            finished=partial(_finished, sides[-1], labs[-1]),
        )
        found = checks.run(recipes)
        for name, why in checks.left_out.items():
            sides[-1].ctx.progress.note(f"{name} is left out: {why}")
        if not found:
            raise SetupError("no driver was checked", hint="`testbed drivers` says what is missing")
        _report(sides[-1], labs[-1], found)
    return exit_status(found)


def _check_change(
    kernels: tuple[str, ...], lower: bool, trials: tuple[str, ...], options: dict[str, Any]
) -> int:
    """Check what a series changes, or one kernel against another. Return the exit status."""
    options["flavour"] = options["flavour"] or DRIVERS
    with ExitStack() as stack:
        sides = _change_sides(stack, kernels, options)
        change = _change(sides)
        subjects = change.subjects(load_recipes().values())
        if not subjects.found:
            raise SetupError(
                f"{change.title}: no mmap hook is touched, nor a function in a recipe's chain",
                hint="`testbed hooks --series` shows what a series changes",
            )
        found = new_findings(change.before, change.after)
        sides[-1].show(finding_lines(found))
        labs = _labs(stack, sides, subjects.recipes)
        checks = DriverChecks(
            labs,
            lenient=True,
            only_lower=lower,
            renamed=subjects.renamed,
            converted=subjects.converted,
            trials=trials,
        )
        conversions = checks.run(subjects.recipes)
        result = SeriesChange(
            title=change.title,
            arches=sides[-1].ctx.settings.arch,
            subjects=subjects.found,
            findings=found,
            conversions=checks.conversions,
            left_out=checks.left_out,
        )
        lines = [*change_lines(result)]
        _write_report(sides[-1], labs[-1], lines, change_content(result), conversions)
    return result.exit_status


def _labs(stack: ExitStack, sides: Sequence[Invocation], recipes: Sequence[Recipe]) -> list[Lab]:
    """Open a lab for each kernel.

    Kernels with the drivers of `recipes` alone are built in a fraction of the time. They have the
    drivers of all recipes if the first kernel is built so already.
    """
    whole = [stack.enter_context(closing(Lab(side.ctx, side.series))) for side in sides]
    if not recipes or all(map(whole[0].is_built, whole[0].ctx.settings.arch)):
        return whole
    names = tuple(recipe.name for recipe in recipes)
    return [stack.enter_context(closing(lab.narrowed(names))) for lab in whole]


def _change(sides: Sequence[Invocation]) -> KernelChange:
    older, newer = (
        KernelText(resolve(side.ctx.settings.kernel, side.ctx), side.series) for side in sides
    )
    return read_change(older, newer, sides[-1].ctx)


def _change_sides(
    stack: ExitStack, kernels: tuple[str, ...], options: dict[str, Any]
) -> list[Invocation]:
    """Open two kernels: those that are named, or the one of the options without its series."""
    if kernels:
        return [
            _shown(stack.enter_context(opened({**options, **_kernel_words(kernel)})))
            for kernel in kernels
        ]
    after = stack.enter_context(opened({**options}))
    words = {"kernel": after.ctx.settings.kernel, "series": ""}
    before = stack.enter_context(opened({**options, **words}))
    return [before, _shown(after)]


def _shown(side: Invocation) -> Invocation:
    side.show_series()
    return side


def _finished(invocation: Invocation, lab: Lab, found: Checked | Conversion) -> None:
    """Add a driver's result to the report at once: what follows may be interrupted."""
    with (lab.run_dir / _MARKDOWN_FILE).open("a") as file:
        file.writelines(f"{line}\n" for line in _lines(found))
    invocation.ctx.progress.note(summary_line(found))


def _kernel_words(kernel: str) -> dict[str, str]:
    """Return the options of KERNEL or KERNEL+SERIES."""
    name, _, series = kernel.partition("+")
    return {key: value for key, value in (("kernel", name), ("series", series)) if value}


def _only_lower(plan: CheckPlan) -> CheckPlan:
    paths = tuple(path for path in plan.paths if path is not HookPath.DIRECT)
    if not paths:
        raise SetupError("--lower leaves no path: the plan has only direct")
    return dataclasses.replace(plan, paths=paths)


def _check(
    lab: Lab, modules: Sequence[Path], node: str, plan: CheckPlan
) -> list[Checked | Conversion]:
    """Return one result per architecture.

    Both versions start from the older one's mappings, and leave out the pages that it changes.
    """
    drivers = {arch: _drivers(lab, arch, modules) for arch in lab.ctx.settings.arch}

    def check_on(arch: str) -> Checked | Conversion:
        sides: list[Checked] = []
        base_mappings: tuple[BaseMapping, ...] = ()
        chosen, unsteady = plan, Unsteady()
        for name, driver in drivers[arch]:
            checker = Checker(lab, arch, driver, name, node, chosen, base_mappings, unsteady)
            sides.append(checker.run())
            base_mappings, unsteady = checker.base_mappings, checker.unsteady
            chosen = checker.plan
        return Conversion(sides[0], sides[1]) if len(sides) == 2 else sides[0]

    return lab.for_each_arch(check_on)


def _drivers(lab: Lab, arch: str, modules: Sequence[Path]) -> list[tuple[str, Driver]]:
    """Build the versions of a driver. Return each with the name that the user gave it."""
    prepared = lab.prepared(arch)
    return [
        (str(path), find_driver(path, prepared.kernel, prepared.request, lab.ctx))
        for path in modules
    ]


def _lines(found: Checked | Conversion) -> Iterator[str]:
    yield from conversion_lines(found) if isinstance(found, Conversion) else check_lines(found)
    yield ""
