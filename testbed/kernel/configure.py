# SPDX-License-Identifier: GPL-2.0
"""Make the final .config from fragments with the kernel's own tools, and check the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from testbed.errors import ConfigError, SetupError
from testbed.kernel.depends import explain, read_definitions
from testbed.kernel.kconfig import (
    Asked,
    fragment_text,
    lost,
    merge_fragments,
    parse_config,
    parse_fragment,
)
from testbed.kernel.make import Make
from testbed.kernel.recipeconfig import SUFFIX, recipe_fragment
from testbed.settings import CHECKOUT


def read_fragments(*ranks: Iterable[Path]) -> dict[str, Asked]:
    """Merge fragments by rank. Those of a later rank override those of an earlier one.

    Raises:
        SetupError: a fragment cannot be read.
        ConfigError: a line is malformed, or two fragments of one rank contradict each other.
    """
    return {name: asked for rank in ranks for name, asked in _merge(rank).items()}


def _merge(files: Iterable[Path]) -> dict[str, Asked]:
    return merge_fragments(
        parse_fragment(read_fragment(file), _name(file), optional=file.suffix == SUFFIX)
        for file in files
    )


def read_fragment(file: Path) -> str:
    """Return the text of a fragment, or the one in a recipe of a driver.

    Raises SetupError if it cannot be read.
    """
    if file.suffix == SUFFIX:
        return recipe_fragment(file)
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise SetupError(f"cannot read the configuration fragment {file}: {exc}") from exc


def _name(file: Path) -> str:
    return str(file.relative_to(CHECKOUT) if file.is_relative_to(CHECKOUT) else file)


def configure(make: Make, asked: Mapping[str, Asked], directory: Path, *, log: Path) -> None:
    """Write directory/.config: the fragments on top of allnoconfig.

    The architecture's defaults would set half as many symbols again, and every build would
    compile and boot them.

    Raises:
        ConfigError: a symbol did not survive. It names the symbol, its fragment and the reason.
    """
    fragment = directory / "asked.config"
    fragment.write_text(fragment_text(asked))
    config = directory / ".config"
    make.run(
        f"KCONFIG_ALLCONFIG={fragment}", f"KCONFIG_CONFIG={config}", "allnoconfig", "olddefconfig",
        what="the configuration", log=log,
    )  # fmt: skip
    (directory / ".config.old").unlink(missing_ok=True)
    _check(make, asked, parse_config(config.read_text()))


def _check(make: Make, asked: Mapping[str, Asked], final: Mapping[str, str]) -> None:
    missing = lost((ask for ask in asked.values() if not ask.optional), final)
    if not missing:
        return
    definitions = read_definitions(make.src, make.compiler.arch.srcarch)
    lines = [
        f"{ask} did not survive, it is {final.get(ask.name, 'n')}: "
        f"{explain(ask, final, definitions)}"
        for ask in missing
    ]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    raise ConfigError(
        lines[0] + more,
        evidence="\n".join(lines) if more else "",
        hint="add the missing symbols to the fragment, or drop this symbol from it",
    )
