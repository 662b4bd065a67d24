# SPDX-License-Identifier: GPL-2.0
"""A nightly that is killed fifty times: nothing is lost, and nothing runs twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from nightly_kills import Campaign
from tree_parts import GIT_ALONE

KILLS = 50


@pytest.mark.parametrize("seed", [1])
def test_a_nightly_survives_being_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    for name, value in GIT_ALONE.items():
        monkeypatch.setenv(name, value)
    campaign = Campaign.of(tmp_path, seed, ms=1000)
    for _ in range(KILLS):
        campaign.kill_once()
    campaign.require_whole()
    print(f"{KILLS} kills; {campaign.begun} attempts at cells")
