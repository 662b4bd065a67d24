# SPDX-License-Identifier: GPL-2.0
"""What a campaign reached of the layer's code, and what it never reached."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from testbed.fuzz.places import Place


@dataclass(frozen=True)
class Cover:
    """The places of the layer's files: those reached, and all."""

    places: Mapping[str, Place]
    reached: Collection[str]

    @property
    def by_file(self) -> Iterator[tuple[str, list[tuple[Place, bool]]]]:
        """Yield the places of each file in the order of lines, and whether each was reached."""
        found = sorted((place, key in self.reached) for key, place in self.places.items())
        for file, group in groupby(found, lambda each: each[0].file):
            yield file, list(group)

    def lines(self) -> Iterator[str]:
        """Yield a line for each file."""
        for file, found in self.by_file:
            ran = sum(reached for _, reached in found)
            never = [name for name, lines, some in _functions(found) if lines and not some]
            yield f"{file}: {ran} of {len(found)} places, {len(never)} functions never reached"

    def never_lines(self) -> Iterator[str]:
        """Yield what was never reached: functions, and lines of functions that were reached."""
        for file, found in self.by_file:
            yield file
            for name, lines, some in _functions(found):
                if lines:
                    what = "lines" if some else "never:"
                    yield f"  {name}: {what} {', '.join(map(str, lines))}"
            yield ""

    def content(self) -> dict[str, Any]:
        """Return the numbers as values for JSON."""
        return {
            file: {
                "places": len(found),
                "reached": sum(reached for _, reached in found),
                "lines": len({place.line for place, _ in found}),
                "lines_reached": len({place.line for place, reached in found if reached}),
            }
            for file, found in self.by_file
        }


def _functions(found: list[tuple[Place, bool]]) -> Iterator[tuple[str, list[int], bool]]:
    """Yield each function, its lines that were never reached, and whether others were."""
    by_name: dict[str, list[tuple[int, bool]]] = {}
    for place, reached in found:
        by_name.setdefault(place.function, []).append((place.line, reached))
    for name, lines in by_name.items():
        ran = {line for line, reached in lines if reached}
        yield name, sorted({line for line, _ in lines} - ran), bool(ran)
