# SPDX-License-Identifier: GPL-2.0
"""A script for the guest program: one step per line (docs/probe.md, "The language")."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from testbed.mmap.plan import Plan


@dataclass
class Script:
    """Steps in order. Each method returns the step's number, which is the key of its fact."""

    lines: list[str] = field(default_factory=list)
    volatile: set[int] = field(default_factory=set)  # reads of memory that changes by itself

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    def step(self, *words: str, **keys: str | int | None) -> int:
        """Add any step of the language. A key whose value is None is omitted."""
        pairs = [f"{key}={value}" for key, value in keys.items() if value is not None]
        self.lines.append(" ".join([*words, *pairs]))
        return len(self.lines)

    def open(self, name: str, path: str, *words: str) -> int:
        return self.step("open", name, path, *words)

    def plan(self, name: str, plan: Plan) -> int:
        return self.step("plan", name, *plan.words())

    def map(
        self,
        name: str,
        file: str,
        *,
        pages: int = 4,
        offset: int = 0,
        prot: str = "rw",
        flags: str = "shared",
        addr: str | None = None,
    ) -> int:
        """Add mmap(2) of `pages` pages from page `offset` of the file."""
        return self.step(
            "map", name, file, len=f"{pages}p", off=f"{offset}p", prot=prot, flags=flags, addr=addr
        )

    def read(self, name: str, pages: str = "all", *, volatile: bool = False) -> int:
        """Add a read of whole pages. Volatile contents say nothing about the kernel."""
        step = self.step("read", name, pages)
        self.volatile |= {step} if volatile else set()
        return step

    def write(self, name: str, value: int, pages: str = "all") -> int:
        return self.step("write", name, pages, f"{value:#x}")

    def maps(self, name: str) -> int:
        return self.step("maps", name)

    def hooklog(self, device: str = "stack") -> int:
        return self.step("hooklog", device)

    @contextmanager
    def sweep(self, rounds: int) -> Iterator[None]:
        """Run the block's steps in rounds, at most `rounds`, until `fail_nth` fails nothing."""
        self.step("sweep", str(rounds))
        yield
        self.step("endsweep")

    @contextmanager
    def fork(self) -> Iterator[int]:
        """Run the steps of the block in a child. Yield the number of the fork's own fact."""
        yield self.step("fork")
        self.step("endfork")
