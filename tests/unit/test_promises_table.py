# SPDX-License-Identifier: GPL-2.0
"""The promises of in-tree hooks: each file has one."""

from __future__ import annotations

from testbed.intree.intreefile import INTREE_FILES
from testbed.intree.promises import PROMISES, flags_of_call, promise_of


def test_each_file_has_a_promise() -> None:
    assert set(PROMISES) == {file.name for file in INTREE_FILES}


def test_what_is_special_neither_grows_nor_merges_nor_is_locked() -> None:
    frames = [promise_of(file) for file in INTREE_FILES if "pf" in promise_of(file).flags]
    assert frames
    assert not any(each.grows or each.locks or each.merges for each in frames)


def test_flags_follow_from_the_call() -> None:
    assert flags_of_call("rw", "shared") == {"rd", "wr", "mr", "mw", "me", "ms", "sh"}
    assert flags_of_call("r", "shared", "ro") == {"rd", "mr", "me", "ms"}
    assert flags_of_call("rw", "private", "ro") == {"rd", "wr", "mr", "mw", "me", "ac"}
    assert flags_of_call("none", "private", noexec=True) == {"mr", "mw"}
