# SPDX-License-Identifier: GPL-2.0
"""The memory around a mapping as boxes, which a template draws as SVG.

A row shows the address space at one moment: before the mmap call, and after it on each path.
Addresses are pages relative to the start of the mapping, so that all rows have one scale.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.mmap.observation import Fact, Observation
from testbed.mmap.path import TOP

# Memory that is farther away than this does not belong to the picture. In pages.
_NEAR = 64

# A page of a picture is at most and at least so wide, and a picture about so wide. In pixels.
_WIDE, _NARROW, _WIDTH = 96, 7, 640


@dataclass(frozen=True)
class PageBox:
    """One page of a VMA that was read: its content, or the signal."""

    at: float
    content: str
    odd: bool = False  # the same page has another content on the first path

    @property
    def faulted(self) -> bool:
        return self.content.startswith("SIG")


@dataclass(frozen=True)
class VmaBox:
    """One VMA, in pages from the start of the mapping."""

    start: float
    end: float
    text: str
    title: str = ""


@dataclass(frozen=True)
class Row:
    """The memory at one moment."""

    name: str
    vmas: tuple[VmaBox, ...]
    pages: tuple[PageBox, ...] = ()
    note: str = ""  # why there is nothing


@dataclass(frozen=True)
class Layout:
    """A picture: rows on one scale."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> float:
        return min((box.start for row in self.rows for box in row.vmas), default=0)

    @property
    def pages(self) -> float:
        return max((box.end for row in self.rows for box in row.vmas), default=1) - self.first

    @property
    def scale(self) -> float:
        """Pixels of a page."""
        return max(_NARROW, min(_WIDE, _WIDTH / max(self.pages, 1)))

    def x(self, page: float) -> float:
        return round((page - self.first) * self.scale, 1)


def layout_of(observations: Sequence[tuple[str, Observation]]) -> Layout | None:
    """Return the picture of the main mapping; None if no observation has one.

    Args:
        observations: of the paths by name, the path in question last.
    """
    shown = [(name, seen, made) for name, seen in observations if (made := _made(seen))]
    if not shown:
        return None
    _, last, made = shown[-1]
    first, *others = (_after(name, seen, fact) for name, seen, fact in shown)
    marked = (_with_odd_pages(each, first) for each in others)
    return Layout((_before(last, made), first, *marked))


def _with_odd_pages(row: Row, first: Row) -> Row:
    contents = {box.at: box.content for box in first.pages}
    pages = (
        dataclasses.replace(box, odd=contents.get(box.at, box.content) != box.content)
        for box in row.pages
    )
    return dataclasses.replace(row, pages=tuple(pages))


def _made(seen: Observation) -> Fact | None:
    """Return the mmap call that maps the file on top; scenarios call the mapping `m`."""
    facts = (fact for _, fact in sorted(seen.facts.items()) if fact.op == "map")
    calls = [fact for fact in facts if _words(seen, fact)[2:3] == [TOP]]
    named = [fact for fact in calls if fact.values.get("name") == "m"]
    return next(iter([*named, *calls]), None)


def _page_size(seen: Observation) -> int:
    sizes = (fact.values["page_size"] for fact in seen.facts.values() if fact.op == "env")
    return int(next(sizes, 4096))


def _before(seen: Observation, made: Fact) -> Row:
    boxes = []
    if "addr" in made.values:
        size = _page_size(seen)
        for fact in _mapped_before(seen, made):
            start = (fact.address - made.address) / size
            box = VmaBox(start, start + int(fact.values["len"]) / size, str(fact.values["name"]))
            if box.start >= -_NEAR and box.end <= made.values["len"] / size + _NEAR:
                boxes.append(box)
    note = "" if boxes else "nothing is mapped here"
    return Row("before", tuple(sorted(boxes, key=lambda box: box.start)), note=note)


def _mapped_before(seen: Observation, made: Fact) -> Iterator[Fact]:
    for (step, _, _), fact in sorted(seen.facts.items()):
        if step < made.step and fact.op in ("map", "mremap", "shmat") and "addr" in fact.values:
            yield fact


def _after(name: str, seen: Observation, made: Fact) -> Row:
    if "addr" not in made.values:
        return Row(name, (), note=f"mmap failed: {made.error or made.errno}")
    size = _page_size(seen)
    later = [fact for key, fact in sorted(seen.facts.items()) if key[0] > made.step]
    about = [fact for fact in later if _words(seen, fact)[1:2] == [made.values["name"]]]
    maps = next((fact for fact in about if fact.op == "maps"), None)
    boxes = list(_vmas(maps, made, size)) if maps is not None else []
    if not boxes:
        boxes = [VmaBox(0, int(made.values["len"]) / size, str(made.values["name"]))]
    read = next((fact for fact in about if fact.op == "read"), None)
    return Row(name, tuple(boxes), tuple(_contents(read)) if read is not None else ())


def _words(seen: Observation, fact: Fact) -> list[str]:
    """Return the words of the script's line that reported a fact."""
    return seen.script.splitlines()[fact.step - 1].split()


def _vmas(maps: Fact, made: Fact, size: int) -> Iterator[VmaBox]:
    for vma in maps.vmas:
        start = (vma.start - made.address) / size
        text = f"{vma.perms} pgoff {vma.offset // size:#x}"
        title = f"{vma.start:#x}-{vma.end:#x} {vma.path} {' '.join(sorted(vma.vmflags))}"
        yield VmaBox(start, start + vma.size / size, text, title)


def _contents(read: Fact) -> Iterator[PageBox]:
    for page in read.values["pages"]:
        content = str(page.get("content", page.get("result", "")))
        yield PageBox(float(page["page"]), content)
