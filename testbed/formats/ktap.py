# SPDX-License-Identifier: GPL-2.0
"""KTAP version 1 (Documentation/dev-tools/ktap.rst): lane, architecture, file, test.

The kernel's kunit_parser.py knows no directive but SKIP. It needs a plan at each level, numbers
from 1, and the nested block before the line with its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from testbed.formats.section import Section
from testbed.results.model import Case, Status

# A known defect does not fail the run: `not ok ... # XFAIL` would be a failure to the parser.
_NOT_OK = frozenset({Status.FAIL, Status.ERROR, Status.MISS})
_PLAIN = frozenset({Status.PASS, Status.FAIL})


@dataclass(frozen=True)
class _Node:
    """A line of results, and those below it."""

    name: str
    good: bool
    note: str = ""  # directive and reason
    diagnostics: tuple[str, ...] = ()
    inner: tuple[_Node, ...] = ()


def ktap_text(sections: Sequence[Section]) -> str:
    """Return a document with a test for each section, architecture, file and case."""
    tops = [_group(each.name, _arches(each.run.cases)) for each in sections]
    return "\n".join(_lines(tops)) + "\n"


def _arches(cases: Sequence[Case]) -> Iterator[_Node]:
    for arch in dict.fromkeys(case.arch for case in cases):
        own = [case for case in cases if case.arch == arch]
        yield _group(arch or "any architecture", _files(own))


def _files(cases: Sequence[Case]) -> Iterator[_Node]:
    by_file: dict[str, list[Case]] = {}
    for case in cases:
        by_file.setdefault(case.test.partition("::")[0], []).append(case)
    for file, own in by_file.items():
        yield _group(file, map(_leaf, own))


def _group(name: str, inner: Iterable[_Node]) -> _Node:
    nodes = tuple(inner)
    return _Node(_plain(name), all(node.good for node in nodes), inner=nodes)


def _leaf(case: Case) -> _Node:
    good = case.status not in _NOT_OK
    name = _plain(case.test.partition("::")[2] or case.test)
    note = "" if case.status in _PLAIN else f"{case.status} {_plain(case.reason)}".strip()
    lines = () if good else tuple((case.evidence or case.reason).splitlines())
    return _Node(name, good, note, lines)


def _lines(nodes: Sequence[_Node]) -> Iterator[str]:
    yield "KTAP version 1"
    yield f"1..{len(nodes)}"
    for number, node in enumerate(nodes, 1):
        if node.inner:
            yield from (f"  {line}" for line in _block(node))
        # Further in than `# Subtest:`, which would begin a block.
        yield from (f"#   {line}".rstrip() for line in node.diagnostics)
        note = f" # {node.note}" if node.note else ""
        yield f"{'ok' if node.good else 'not ok'} {number} {node.name}{note}"


def _block(node: _Node) -> Iterator[str]:
    version, *rest = _lines(node.inner)
    yield version
    yield f"# Subtest: {node.name}"
    yield from rest


def _plain(text: str) -> str:
    """Return text for a line of results: in it, `#` would begin a directive."""
    return " ".join(text.replace("#", ":").split())
