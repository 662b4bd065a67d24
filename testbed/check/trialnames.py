# SPDX-License-Identifier: GPL-2.0
"""The names of all trials, and the choice of some: the option `--trials`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from testbed.check.chain import TRIAL as CHAIN_TRIAL
from testbed.check.checkplan import CheckPlan
from testbed.check.faultinject import sweeps_on
from testbed.check.script import BaseMapping
from testbed.check.trials import trials_on
from testbed.errors import SetupError
from testbed.suggest import suggest
from testbed.tomlvalues import SHARING

# A plan or a recipe may name any of these.
_PROTS = ("r", "w", "x", "rw", "rx", "wx", "rwx", "none")


def chosen_trials(words: str) -> tuple[str, ...]:
    """Return the patterns of a list with commas.

    Raises:
        SetupError: no trial has such a name: nothing would be performed.
    """
    patterns = tuple(filter(None, words.split(",")))
    names = list(_names()) if patterns else []
    for pattern in patterns:
        plan = CheckPlan(only=(pattern,))
        if not any(map(plan.wants, names)):
            short = dict.fromkeys(name.rpartition("-")[0] or name for name in names)
            raise SetupError(f"no trial is called {pattern!r}", hint=suggest(pattern, short))
    return patterns


def _names() -> Iterator[str]:
    """Yield the names of all trials that a plan can have."""
    plan = dataclasses.replace(CheckPlan(), prots=_PROTS)
    yield CHAIN_TRIAL
    for sharing in SHARING:
        base = BaseMapping(sharing, 1, 0, "rw")
        yield from (trial.name for trial in trials_on(base, plan))
        yield from (name for name, _ in sweeps_on(base))
