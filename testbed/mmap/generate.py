# SPDX-License-Identifier: GPL-2.0
"""Random scenarios: made from a seed, the same on each machine and in each run.

They combine only what cannot show an open defect, except for plans that the core refuses: these
show KD12 below a hook that switches the file. Other defects have named scenarios.
"""

from __future__ import annotations

import random

from testbed.guest.splat_patterns import SplatKind
from testbed.mmap.catalogue.defects import with_switch
from testbed.mmap.path import HookPath
from testbed.mmap.plan import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_MAYEXEC,
    VM_MAYWRITE,
    VM_NOHUGEPAGE,
    VM_RAND_READ,
    VM_SEQ_READ,
    Action,
    Plan,
    VmOps,
)
from testbed.mmap.prediction import HAVE_MAPPED, action_extent, failure
from testbed.mmap.scenario import Call, Scenario

# For the prediction of a warning, which is the same for any page size.
_PAGE = 4096

_SETTABLE = (VM_DONTCOPY, VM_DONTDUMP, VM_DONTEXPAND, VM_RAND_READ, VM_SEQ_READ, VM_NOHUGEPAGE)

_STEPS = (
    ("write m 1 0x1234", "read m all"),
    ("munmap m 1", "maps m"),
    ("mprotect m prot=r 0-1", "maps m", "write m 0 0x9"),
    ("mprotect m prot=none", "maps m"),
    ("mremap m len=7p flags=maymove", "maps m", "read m all"),
    ("mremap m len=1p", "maps m"),
    ("fork", "read m all", "munmap m 0", "endfork"),
    ("madvise m dontneed", "pagemap m"),
    ("madvise m dontfork", "fork", "maps m", "endfork"),
    ("mlock m", "maps m", "munlock m"),
    (
        "map room anon len=9p flags=private",
        "mremap m len=2p old=2p flags=maymove,fixed addr=room as=n",
    ),
)


def generate(seed: int) -> Scenario:
    """Make the scenario of a seed."""
    rng = random.Random(seed)
    call = Call(
        pages=rng.randint(2, 6),
        offset=rng.choice((0, 0, 1, 5)),
        prot=rng.choice(("r", "rw", "rw", "rwx", "none")),
        flags=",".join([rng.choice(("shared", "private")), *rng.choice(_EXTRA)]),
    )
    plan = _plan(rng, call)
    steps = [step for group in rng.sample(_STEPS, rng.randint(0, 3)) for step in group]
    scenario = Scenario(
        name=f"seed-{seed}",
        plan=plan,
        call=call,
        after=tuple(steps),
        splat=_warning(Scenario(name="", plan=plan, call=call)),
    )
    return with_switch(scenario)


_EXTRA: tuple[tuple[str, ...], ...] = ((), (), ("noreserve",), ("locked",), ("populate",))


def _plan(rng: random.Random, call: Call) -> Plan:
    action = rng.choice((None, None, *_ACTIONS))
    part = action in _PLACED and rng.random() < 0.5
    late = rng.random() < 0.15
    fails = rng.random()
    ops = rng.choice((VmOps.FULL, VmOps.FULL, VmOps.NO_CLOSE, VmOps.NO_MAPPED, None))
    mapped_fails = fails < 0.1 and ops is VmOps.NO_CLOSE
    return Plan(
        set_flags=_bits(rng, _SETTABLE),
        clear_flags=_bits(rng, (VM_MAYEXEC, VM_MAYWRITE)) if call.prot == "r" else None,
        pgoff=rng.choice((None, None, 0, 3, 40)),
        page_prot=rng.choice((None, None, None, "noncached")) if action is None else None,
        vm_ops=ops,
        private=rng.choice((None, 0x51, 0xFFFFFFFF)),
        action=action,
        action_offset=f"{rng.randint(0, call.pages - 1)}p" if part else None,
        action_size=f"{rng.randint(1, call.pages)}p" if part else None,
        pool_page=rng.choice((None, 1, 30)) if action else None,
        hook_error_after="-EIO" if late and fails > 0.5 and action is None else None,
        mapped_error="-EBUSY" if mapped_fails else None,
        mapped_private=0x77 if ops in HAVE_MAPPED and rng.random() < 0.2 else None,
        shrink_end="1p" if rng.random() < 0.1 and not part else None,
    )


_PLACED = (Action.REMAP, Action.IOREMAP, Action.KERNEL_PAGES)
_ACTIONS = (*_PLACED, Action.SIMPLE_IOREMAP)


def _bits(rng: random.Random, bits: tuple[int, ...]) -> int | None:
    chosen = sum(bit for bit in bits if rng.random() < 0.25)
    return chosen or None


def _warning(scenario: Scenario) -> tuple[SplatKind, str] | None:
    """Predict the warning of a remap helper: a range outside the mapping (include/linux/mm.h)."""
    plan, extent = scenario.plan, action_extent(scenario, _PAGE)
    if plan.action not in (Action.REMAP, Action.IOREMAP) or extent is None:
        return None
    outside = extent.start + extent.size > scenario.call.pages * _PAGE
    reached = failure(scenario, HookPath.DIRECT, _PAGE) != "ENXIO"
    return (SplatKind.WARNING, "") if outside and reached else None
