# SPDX-License-Identifier: GPL-2.0
"""Hypothesis at work: programs are drawn from choices, and shrunk by them.

The choices are what Hypothesis decides on the way to a program. Another program is drawn from
changed choices. Only this file uses Hypothesis's internals, which no public function replaces: its
own loop runs one example at a time, and a campaign many.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import Phase, find, settings
from hypothesis.control import BuildContext
from hypothesis.database import InMemoryExampleDatabase, choices_from_bytes, choices_to_bytes
from hypothesis.errors import NoSuchExample, StopTest, UnsatisfiedAssumption
from hypothesis.internal.conjecture.data import ConjectureData
from hypothesis.internal.conjecture.providers import HypothesisProvider

from testbed.fuzz.program import Fault, Program
from testbed.fuzz.strategies import programs

Choice = int | str | bool | float | bytes
Faults = frozenset[Fault]

# What Hypothesis finds under the first key is shrunk for it. It shrinks what is under the other.
_KEY, _UNSHRUNK = b"program", b"program.secondary"


@dataclass(frozen=True)
class Drawn:
    """A program and the choices that lead to it."""

    program: Program
    choices: tuple[Choice, ...]
    faults: Faults = frozenset()  # that it may have

    @property
    def code(self) -> str:
        """The choices as text."""
        return choices_to_bytes(self.choices).hex()


class _Chance(HypothesisProvider):
    """Makes choices by chance alone.

    Hypothesis also takes constants that it finds in the modules of the process: with them a seed
    would draw other programs in another command.
    """

    def _maybe_draw_constant(self, *words: Any, **options: Any) -> None:
        return None


def draw(
    rng: random.Random, prefix: tuple[Choice, ...] = (), faults: Faults = frozenset()
) -> Drawn | None:
    """Draw a program. It begins with the choices of `prefix`; chance makes the others.

    Return None if the choices lead to nothing.
    """
    data = ConjectureData(random=rng, prefix=prefix, provider=_Chance)
    with BuildContext(data, wrapped_test=draw):
        try:
            program = data.draw(programs(faults))
        except (StopTest, UnsatisfiedAssumption):
            return None
    return Drawn(program, tuple(data.choices), faults)


def redraw(code: str, faults: Faults = frozenset()) -> Drawn | None:
    """Draw the program of known choices.

    Raises:
        ValueError: the code is damaged.
    """
    choices = choices_from_bytes(bytes.fromhex(code))
    if choices is None:
        raise ValueError("no choices of Hypothesis")
    return draw(random.Random(0), choices, faults)


def mutate(rng: random.Random, drawn: Drawn) -> Drawn | None:
    """Draw a program that resembles another one: some choices go, repeat, or are made anew."""
    choices = list(drawn.choices)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(choices) + 1)
        span = rng.choice((1, 1, 2, 3, 6))
        how = rng.randrange(3)
        if how == 0:
            del choices[at : at + span]
        elif how == 1:
            choices[at:at] = choices[at : at + span]
        else:
            return draw(rng, tuple(choices[:at]), drawn.faults)
    return draw(rng, tuple(choices), drawn.faults)


def shrink(drawn: Drawn, shows: Callable[[Program], bool]) -> Program:
    """Return the smallest program that Hypothesis finds for which `shows` holds.

    `shows` holds for the given program. If it does not any more, that program is returned. It is
    called once for each program: Hypothesis runs the smallest one again, and its answer must stay.
    """
    database = InMemoryExampleDatabase()
    database.save(_UNSHRUNK, choices_to_bytes(drawn.choices))
    phases = (Phase.reuse, Phase.shrink)
    how = settings(database=database, phases=phases, max_examples=1000, deadline=None)
    answers: dict[Program, bool] = {}

    def answered(program: Program) -> bool:
        if program not in answers:
            answers[program] = shows(program)
        return answers[program]

    try:
        return find(programs(drawn.faults), answered, settings=how, database_key=_KEY)
    except NoSuchExample:
        return drawn.program
