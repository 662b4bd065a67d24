# SPDX-License-Identifier: GPL-2.0
"""Trials with calls that a hook may refuse: at the edges of the memory, and of each kind."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.check.checkplan import CheckPlan
from testbed.check.invariants import Rules, Steps, as_requested, nothing_at, ok, same
from testbed.check.script import DriverScript
from testbed.mmap.observation import Observation

# Beyond any memory. With pages of 64 KiB, the last pages whose offset fits in an off_t.
_FAR = (1 << 47) - 16  # pages

# Sizes by powers of two find the end of the memory.
_MOST = 1 << 12  # pages


def edges(plan: CheckPlan) -> Steps:
    """Calls at each edge of what may be mapped: what is mapped is whole, and then it is gone."""

    def steps(script: DriverScript) -> Rules:
        base, unit = script.base, plan.unit
        places = [(base.offset, size) for size in _doubled(base.pages)]
        places += [(base.offset + size - unit, unit) for size in _doubled(base.pages)]
        places += [(base.offset + base.pages - unit, 2 * unit), (base.offset + base.pages, unit)]
        places += [(_FAR, unit), (_FAR, base.pages)]
        kept = []
        for offset, size in places:
            made = script.map(pages=size, offset=offset)
            shown = script.maps()
            script.read("m", str(size - 1))
            kept.append((made, shown, script.unmap()))
            script.reopen()

        def rules(seen: Observation) -> Iterator[str]:
            for made, shown, gone in kept:
                yield from as_requested(seen, made, shown, base.perms)
                if ok(seen, made):
                    yield from nothing_at(seen, gone, "after munmap")

        return rules

    return steps


def _doubled(pages: int) -> list[int]:
    """Return sizes up to the largest that is tried."""
    sizes = []
    while pages <= _MOST:
        sizes.append(pages)
        pages *= 2
    return sizes


def refused(script: DriverScript) -> Rules:
    """A call that fails leaves nothing behind, and the next right call works as before.

    Each wrong call is made twice: while nothing is mapped, and beside the right mapping. What may
    be wrong is the size, the offset, the protection or the sharing; that it is the second mapping
    of the file; or that a child makes it.
    """
    before = script.map()
    first = script.read()
    script.step("munmap", "m")
    repeated, _ = _call(script)
    script.reopen()
    alone = list(_wrong_calls(script))
    made = script.map()
    read = script.read()
    beside = [*_wrong_calls(script), _call(script)]
    with script.probe_script.fork():
        _call(script)
    again = script.read()
    gone = script.unmap()

    def rules(seen: Observation) -> Iterator[str]:
        for call, shown in (*alone, *beside):
            if not ok(seen, call):
                yield from nothing_at(seen, shown, "after a call that failed")
        if not ok(seen, before):
            return
        if not ok(seen, repeated) and any(ok(seen, call) for call, _ in alone):
            return  # one mapping for each open(2)
        if not ok(seen, made):
            yield f"after calls that failed, the right one fails with {seen[made].error}"
            return
        yield from same(seen, script, first, read, "after calls that failed", across=True)
        yield from same(seen, script, read, again, "beside calls that failed")
        yield from nothing_at(seen, gone, "after munmap")

    return rules


def _wrong_calls(script: DriverScript) -> Iterator[tuple[int, int]]:
    base, unit = script.base, script.node.unit
    other = "private" if base.sharing == "shared" else "shared"
    wrong: tuple[dict[str, int | str], ...] = (
        {"pages": base.pages + 2 * _MOST},
        {"offset": base.offset + 2 * _MOST},
        {"offset": _FAR},
        {"pages": base.pages + unit, "prot": "rwx"},
        {"prot": "x"},
        {"sharing": other},
    )
    for keys in wrong:
        yield _call(script, **keys)


def _call(script: DriverScript, **keys: int | str) -> tuple[int, int]:
    """Map and unmap. Return the numbers of the call, and of the step that shows the result."""
    call = script.map("wrong", **keys)  # type: ignore[arg-type]
    shown = script.maps("wrong")
    script.step("munmap", "wrong")
    return call, shown
