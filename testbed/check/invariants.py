# SPDX-License-Identifier: GPL-2.0
"""The invariants of a mapping. Each one that an observation violates yields a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

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
    """The VMAs have exactly the requested size together, and no access that was not requested.

    A driver may take access away: drm_legacy_mmap() did so for read-only maps.
    """
    if not ok(seen, made):
        return
    vmas, size = seen[shown].vmas, seen[made].values["len"]
    if pages is not None:
        size = pages * _page_size(seen)
    if whole(vmas) != size:
        yield f"{whole(vmas)} bytes are mapped, not {size}"
    for perms in dict.fromkeys(vma.perms for vma in vmas):
        if any(has not in ("-", asked) for has, asked in zip(perms, access, strict=True)):
            yield f"the access of a VMA is {perms}, not {access}"


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
    or_refused: bool = False,
    across: bool = False,
    shift: int = 0,
) -> Iterator[str]:
    """Every page of the second reading has the content that it had in the first one.

    Left out are pages that change by themselves, and pages that the first reading was not
    permitted to read, such as those of a mapping with PROT_EXEC alone.

    Args:
        or_lost: an access may instead raise SIGBUS.
        or_refused: an access by another process may instead fail.
        across: the readings are of two mappings.
        shift: pages by which the second reading's mapping begins later.
    """
    if not script.node.memory:
        return
    before = {page["page"]: page for page in seen[read].values["pages"]}
    changed: dict[str, list[tuple[int, str, str]]] = {}
    for page in seen[again].values["pages"]:
        index = page["page"] + shift
        first, now = _content(before.get(index, page)), _content(page)
        if first in (now, GONE) or (or_lost and now == "SIGBUS"):
            continue
        if or_refused and page["result"] != "ok":
            continue
        if not script.unsteady(read, index, across=across):
            kind = now if now.startswith("SIG") else ""
            changed.setdefault(kind, []).append((index, first, now))
    for pages in changed.values():
        yield _changed(pages, when)


def _changed(pages: list[tuple[int, str, str]], when: str) -> str:
    index, first, now = pages[0]
    if len(pages) == 1:
        return f"page {index} is {now} {when}, was {first}"
    listed = ranges(page for page, _, _ in pages)
    return f"pages {listed} changed {when}: page {index} is {now}, was {first}"


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers in ascending order as `0-3, 5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _content(page: dict[str, str]) -> str:
    return page.get("content", page["result"])


def inherited(seen: Observation, shown: int) -> bool:
    """Whether a child gets the mapping, with its pages: neither VM_DONTCOPY nor VM_WIPEONFORK."""
    return not any({"dc", "wf"} & vma.vmflags for vma in seen[shown].vmas)


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
