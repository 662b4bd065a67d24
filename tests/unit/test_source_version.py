# SPDX-License-Identifier: GPL-2.0
"""Versions: of the kernel, of Debian, and the oldest supported one."""

from __future__ import annotations

import itertools

import pytest

from testbed.errors import SetupError
from testbed.kernel.version import (
    DebianVersion,
    require_supported,
    upstream_version,
    version_of_makefile,
)
from testbed.process import run

MAKEFILE = """\
# SPDX-License-Identifier: GPL-2.0
VERSION = 7
PATCHLEVEL = 4
SUBLEVEL = 0
EXTRAVERSION ={}
NAME = Baby Opossum Posse
"""


@pytest.mark.parametrize(("extra", "version"), [("", "7.4.0"), (" -rc2", "7.4.0-rc2")])
def test_the_version_of_a_makefile_equals_make_kernelversion(extra: str, version: str) -> None:
    assert version_of_makefile(MAKEFILE.format(extra)) == version


def test_another_makefile_has_no_version() -> None:
    assert version_of_makefile("all:\n\techo VERSION = 7\n") is None


@pytest.mark.parametrize(
    ("debian", "kernel"),
    [
        ("7.3.4-1~bpo13+1", "7.3.4"),
        ("7.3-1", "7.3.0"),
        ("7.4~rc2-1~exp1", "7.4.0-rc2"),
        ("1:7.3.4-1", "7.3.4"),
        ("7.3.4", "7.3.4"),
    ],
)
def test_a_debian_version_contains_the_kernels_version(debian: str, kernel: str) -> None:
    assert upstream_version(debian) == kernel


@pytest.mark.parametrize("version", ["6.12.94", "6.18.0", "7.0.8", "7.1.12"])
def test_an_old_kernel_is_refused_with_the_release_of_the_layer(version: str) -> None:
    with pytest.raises(SetupError, match=r"6\.16.*7\.2 and later"):
        require_supported(version, "the tree")


@pytest.mark.parametrize("version", ["7.2.0", "7.3.4", "7.10.1", "8.0.0-rc1", "7"])
def test_a_later_kernel_is_supported(version: str) -> None:
    require_supported(version, "the tree")


def test_versions_are_ordered_as_dpkg_orders_them() -> None:
    versions = [
        *("7.3~rc2-1~exp1", "7.3-1", "7.3.4-1~bpo13+1", "7.3.4-1", "7.3.4-1+b1", "7.3.4-2"),
        *("7.3.10-1", "7.3.4", "7.3.4-0", "1:6.0-1", "7.3a-1", "7.3.0-1", "7.3.4-1~~"),
    ]
    pairs = [*itertools.combinations(versions, 2), *zip(versions, versions, strict=True)]
    script = 'while read a b; do dpkg --compare-versions "$a" lt "$b" && echo lt || echo ge; done'
    lines = "".join(f"{one} {other}\n" for one, other in pairs)
    answers = run(["sh", "-c", script], stdin=lines.encode()).stdout.split()
    for (one, other), answer in zip(pairs, answers, strict=True):
        assert (DebianVersion(one) < DebianVersion(other)) == (answer == "lt"), (one, other)
