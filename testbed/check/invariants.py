# SPDX-License-Identifier: GPL-2.0
"""The invariants of a mapping. Each one that an observation violates yields a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from testbed.check.script import DriverScript, whole
from testbed.mmap.observation import Observation

# Yields a sentence for each violation in an observation.
Rules = Callable[[Observation], Iterator[str]]

# Adds a trial's steps to a script, and returns the rules for their facts.
Steps = Callable[[DriverScript], Rules]

GONE = "SIGSEGV"


def once_mapped(*made: int, gone: int | None = None) -> Callable[[Rules], Rules]:
    """Apply rules only if all steps `made` succeeded. Step `gone` must then show no VMA."""

    def bind(rules: Rules) -> Rules:
        def bound(seen: Observation) -> Iterator[str]:
            if not ok(seen, *made):
                return
            yield from rules(seen)
            if gone is not None:
                yield from nothing_at(seen, gone, "after munmap")

        return bound

    return bind


def ok(seen: Observation, *steps: int) -> bool:
    return not any(seen[step].error for step in steps)


def result_of(seen: Observation, step: int) -> str:
    """Return the name of a step's error, or "success"."""
    return seen[step].error or "success"


def as_requested(
    seen: Observation, made: int, shown: int, access: str, pages: int | None = None
) -> Iterator[str]:
    """The VMAs have exactly the requested size together, and each has the requested access."""
    if not ok(seen, made):
        return
    vmas, size = seen[shown].vmas, seen[made].values["len"]
    if pages is not None:
        size = pages * _page_size(seen)
    if whole(vmas) != size:
        yield f"{whole(vmas)} bytes are mapped, not {size}"
    for vma in vmas:
        if vma.perms != access:
            yield f"the access of a VMA is {vma.perms}, not {access}"


def _page_size(seen: Observation) -> int:
    return int(seen[1].values["page_size"])


def nothing_at(seen: Observation, shown: int, when: str) -> Iterator[str]:
    if vmas := seen[shown].vmas:
        yield f"{whole(vmas)} bytes are still mapped {when}"


def same(
    seen: Observation,
    script: DriverScript,
    read: int,
    again: int,
    when: str,
    *,
    or_lost: bool = False,
) -> Iterator[str]:
    """Every page of the second reading has the content that it had in the first one.

    With `or_lost`, an access may instead raise SIGBUS.
    """
    if not script.node.memory:
        return
    before = {page["page"]: page for page in seen[read].values["pages"]}
    for page in seen[again].values["pages"]:
        first, now = _content(before.get(page["page"], page)), _content(page)
        if first != now and not (or_lost and now == "SIGBUS"):
            yield f"page {page['page']} is {now} {when}, was {first}"


def _content(page: dict[str, str]) -> str:
    return page.get("content", page["result"])


def ended(seen: Observation, child: int) -> Iterator[str]:
    fact = seen.facts[child, False, 0]
    if fact.error:
        yield f"fork fails with {fact.error}"
    elif fact.values.get("status") != 0:
        yield f"the child ended with {fact.values.get('signal', fact.values.get('status'))}"


def unlocked(seen: Observation, before: int, after: int) -> Iterator[str]:
    was, now = (seen[step].values["fields"].get("VmLck") for step in (before, after))
    if was != now:
        yield f"{now} kB are locked after munmap, {was} kB before mmap"
