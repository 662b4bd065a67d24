# SPDX-License-Identifier: GPL-2.0
"""The forms of a kernel source, and the answers to invalid ones."""

from __future__ import annotations

import pytest

from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.source import resolve


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("debain", "unknown kind of kernel source 'debain'\nhint: did you mean debian?"),
        ("tarbal:x.tar.xz", "unknown kind of kernel source 'tarbal'\nhint: did you mean tarball?"),
        ("7.3", "did you mean debian:7.3?"),
        ("/home/me/linux", "did you mean tree:/home/me/linux?"),
        ("", "give debian, debian:7.3, tree:PATH or tarball:PATH"),
        ("tree", "'tree' names no tree"),
        ("tree:", "'tree:' names no tree"),
        ("tarball:", "'tarball:' names no tarball"),
        ("debian:trixie", "debian:trixie is not a version"),
    ],
)
def test_an_invalid_source_is_answered_with_valid_forms(
    ctx: Context, spec: str, message: str
) -> None:
    with pytest.raises(SetupError) as caught:
        resolve(spec, ctx)
    assert message in str(caught.value)


def test_an_old_debian_kernel_is_refused_without_access_to_the_archive(ctx: Context) -> None:
    with pytest.raises(SetupError, match=r"debian:6\.12 is Linux 6\.12\.0: 7\.2 and later"):
        resolve("debian:6.12", ctx)
    assert not (ctx.cache.root / "work").exists()
