# SPDX-License-Identifier: GPL-2.0
"""`testbed drivers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from testbed.arch import find_arch
from testbed.check.drivers import require, source_tree
from testbed.cli.invocation import Invocation, opened
from testbed.cli.options import json_option, kernel_options
from testbed.errors import SetupError
from testbed.flavour import DRIVERS
from testbed.intree.recipe import ALL, Recipe, choose_recipes, load_recipes
from testbed.kernel.build import open_builder
from testbed.kernel.request import Kernel
from testbed.kernel.source import resolve
from testbed.lab.prepared import request_kernel

_CAN = "yes"
_LIKELY = "yes, once the kernel is built"


@click.command()
@kernel_options
@json_option
@click.argument("names", nargs=-1, metavar="[NAME...]")
def drivers(names: tuple[str, ...], **options: Any) -> None:
    """List the kernel's own drivers that `testbed check --driver` can check.

    NAME is a driver, or a function of the chain that its mmap() runs. For each driver it shows the
    chain, and whether this host and this kernel can check it, or what is missing.

    \b
    Examples:
      testbed drivers
      testbed drivers vb2_vmalloc_mmap --arch arm64
    """
    recipes = choose_recipes(",".join(names) or ALL, load_recipes())
    options["flavour"] = options["flavour"] or DRIVERS
    with opened(options) as invocation:
        kernels = dict(_kernels(invocation))
        source = resolve(invocation.ctx.settings.kernel, invocation.ctx)
        tree = partial(source_tree, source, invocation.ctx)
        found = [_content(recipe, kernels, tree) for recipe in recipes]
        invocation.report(_lines(found), found)


def _kernels(invocation: Invocation) -> Iterator[tuple[str, Kernel | None]]:
    """Yield the kernel of each architecture, or None if it is not built."""
    for arch in invocation.ctx.settings.arch:
        request = request_kernel(arch, invocation.series, invocation.ctx)
        with open_builder(request, invocation.ctx) as builder:
            yield arch, builder.kernel() if builder.is_built else None


def _content(
    recipe: Recipe, kernels: Mapping[str, Kernel | None], tree: Callable[[], Path]
) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "what": recipe.what,
        "chain": list(recipe.chain),
        "opens": recipe.shown,
        "can": {arch: _can(recipe, arch, kernel, tree) for arch, kernel in kernels.items()},
    }


def _can(recipe: Recipe, arch: str, kernel: Kernel | None, tree: Callable[[], Path]) -> str:
    try:
        require(recipe, find_arch(arch), kernel, tree)
    except SetupError as error:
        return error.message
    return _CAN if kernel is not None else _LIKELY


def _lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for each in found:
        yield f"{each['name']}: {each['what']}"
        yield f"  {' > '.join(each['chain'])}"
        answers = each["can"]
        if len({*answers.values()}) == 1:
            answers = {", ".join(answers): next(iter(answers.values()))}
        yield from (f"  {arch}: {answer}" for arch, answer in answers.items())
