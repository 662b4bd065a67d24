# SPDX-License-Identifier: GPL-2.0
"""The campaigns of one call of `testbed fuzz`, one for each architecture, and their report."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.files import make_folder, write_whole
from testbed.fuzz.alone import Alone, Finding
from testbed.fuzz.campaign import PROFILES, Campaign, Profile, Tally
from testbed.fuzz.corpus import Corpus
from testbed.fuzz.cover import Cover
from testbed.fuzz.exchange import is_covered
from testbed.fuzz.faults import faults_of
from testbed.fuzz.folder import try_selftest, write_finding
from testbed.fuzz.known import KnownDefect, known_without
from testbed.fuzz.places import layer_places
from testbed.lab.lab import Lab


@dataclass
class Fuzzing:
    """Campaigns side by side."""

    lab: Lab
    profile: Profile
    seed: int
    corpus: Path
    known: Sequence[KnownDefect]
    only: Sequence[str] = ()
    guests: int = 1  # of each campaign
    campaigns: list[Campaign] = field(default_factory=list)
    covers: dict[str, Cover] = field(default_factory=dict)  # by architecture, if it has KCOV
    shown: dict[str, str] = field(default_factory=dict)  # what a C test showed, by folder

    @classmethod
    def of(
        cls,
        lab: Lab,
        profile: str,
        *,
        seconds: float | None = None,
        programs: int | None = None,
        seed: int,
        corpus: Path | None,
        forget: Sequence[str],
        only: Sequence[str] = (),
        guests: int = 1,
    ) -> Fuzzing:
        """Make the campaigns of a command's options.

        Raises:
            SetupError: a defect to forget is not known.
        """
        chosen = PROFILES[profile]
        if programs:
            chosen = dataclasses.replace(chosen, programs=programs, seconds=math.inf)
        chosen = dataclasses.replace(chosen, seconds=seconds) if seconds else chosen
        root = corpus or lab.ctx.settings.state_dir / "fuzz"
        return cls(lab, chosen, seed, root, known_without(forget), only, guests)

    @property
    def found(self) -> list[Finding]:
        return [found for campaign in self.campaigns for found in campaign.found]

    def run(self) -> None:
        """Run all campaigns to their end, and keep what they never reached."""
        for arch in self.lab.ctx.settings.arch:
            self.lab.prepared(arch)
            self.campaigns.append(self._campaign(arch))
        by_arch = {campaign.arch: campaign for campaign in self.campaigns}
        with ExitStack() as stack:
            for campaign in self.campaigns:
                for lab in campaign.more_labs:
                    stack.callback(lab.close)
            stack.callback(self._keep_covers)  # of a campaign that is interrupted, too
            self.lab.for_each_arch(lambda arch: by_arch[arch].run())

    def _keep_covers(self) -> None:
        self.covers.update(self._covers())
        for arch, cover in self.covers.items():
            file = make_folder(self.lab.run_dir / "fuzz", "results_dir") / f"never-reached-{arch}"
            write_whole(file.with_suffix(".txt"), "\n".join(cover.never_lines()) + "\n")

    def lines(self) -> Iterator[str]:
        """Yield the report for people."""
        for campaign in self.campaigns:
            yield from _tally_lines(campaign)
            if campaign.arch in self.covers:
                yield from (f"  {line}" for line in self.covers[campaign.arch].lines())
        for folder, shown in self.shown.items():
            yield f"kept: {folder} ({shown})"
        yield f"seed: {self.seed}"

    def content(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "seed": self.seed,
            "campaigns": [
                {
                    "arch": campaign.arch,
                    **_shallow(campaign.tally),
                    "per_hour": campaign.tally.per_hour,
                    "found": [_found_content(found) for found in campaign.found],
                    "covered": self.covers[campaign.arch].content()
                    if campaign.arch in self.covers
                    else {},
                }
                for campaign in self.campaigns
            ],
            "kept": self.shown,
        }

    def _campaign(self, arch: str) -> Campaign:
        rng = random.Random(f"{self.seed} {arch}")
        corpus = Corpus(self.corpus / arch, faults_of(self.lab.prepared(arch).kernel))
        _ = self.lab.run_dir  # which all labs share
        labs = [self.lab.sibling() for _ in range(self.guests - 1)]
        return Campaign(
            self.lab, arch, self.profile, self.known, corpus, rng, self._keep, self.only, labs
        )

    def _covers(self) -> Iterator[tuple[str, Cover]]:
        """Yield what each campaign reached, for kernels that can say so."""
        for campaign in self.campaigns:
            kernel = self.lab.prepared(campaign.arch).kernel
            if is_covered(kernel):
                yield campaign.arch, Cover(layer_places(kernel), campaign.reached)

    def _keep(self, found: Finding) -> None:
        folder = write_finding(self.lab.run_dir / "fuzz", found)
        self.shown[str(folder)] = "no C test: a file of the kernel's own"
        if found.has_c_test:
            with closing(Alone(self.lab, found.arch, found.version, self.known)) as alone:
                self.shown[str(folder)] = try_selftest(folder, found, alone)
        self.lab.ctx.progress.note(f"{found.arch}: {found.deviation.title}: {folder}")


def _shallow(tally: Tally) -> dict[str, Any]:
    """The fields as they are: dataclasses.asdict() makes nonsense of a Counter."""
    return {each.name: getattr(tally, each.name) for each in dataclasses.fields(tally)}


def _tally_lines(campaign: Campaign) -> Iterator[str]:
    tally = campaign.tally
    yield (
        f"{campaign.arch}: {tally.programs} programs, {tally.executions} executions in "
        f"{tally.seconds:.0f} s ({tally.per_hour} an hour), {tally.new} reached something new, "
        f"{tally.guests} guests, {tally.damaged} of them damaged"
    )
    if tally.left_out:
        yield f"  left out, because they damage the guest as is known: {tally.left_out} executions"
    if tally.failed or tally.killed:
        yield (
            f"  allocations that failed: {tally.failed}, processes killed at their limit of "
            f"memory: {tally.killed}"
        )
    if tally.on_files:
        files = ", ".join(f"{name} {count}" for name, count in tally.on_files.most_common())
        yield f"  executions on the kernel's own files: {files}"
    for why in tally.unserved:
        yield f"  not served: {why}"
    for why, count in tally.refused.most_common(3):
        yield f"  refused by the testbed's own programs: {count} ({why})"
    for title in tally.unsteady:
        yield f"  did not show again alone: {title}"
    for found in campaign.found:
        again = tally.repeated[found.deviation.title]
        yield (
            f"NEW {found.deviation.title} on {found.deviation.path or 'several paths'}, after "
            f"{found.seconds:.0f} s and {found.executions} executions; seen {again + 1} times"
        )
        yield f"  {found.deviation.headline}"


def _found_content(found: Finding) -> dict[str, Any]:
    return {
        "title": found.deviation.title,
        "path": found.deviation.path,
        "headline": found.deviation.headline,
        "seconds": found.seconds,
        "executions": found.executions,
        "program": dataclasses.asdict(found.smallest),
    }
