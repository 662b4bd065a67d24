# SPDX-License-Identifier: GPL-2.0
"""The series in a maildir."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from mailbox_parts import Mail, thread

from testbed.errors import SetupError
from testbed.kernel.series import Series, load_each

DIFF = """\
---
diff --git a/mm/{name}.c b/mm/{name}.c
--- a/mm/{name}.c
+++ b/mm/{name}.c
@@ -1 +1 @@
-one
+two
"""


def maildir(folder: Path, mails: Sequence[Mail]) -> Path:
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    for number, mail in enumerate(mails):
        (folder / "cur" / f"{number:03}.host:2,S").write_bytes(mail.text(separator=""))
    return folder


def series(name: str, *, tag: str = "PATCH", root: str = "") -> list[Mail]:
    """A series of two patches whose mails all answer its first one."""
    mails = thread(DIFF.format(name=name), DIFF.format(name=f"{name}2"), tag=tag)
    mails = [
        dataclasses.replace(
            mail,
            subject=f"{mail.subject} of {name}",
            message_id=f"{name}-{number}@example.org",
            answers=root if number == 0 else f"{name}-0@example.org",
        )
        for number, mail in enumerate(mails)
    ]
    last = mails[-1]
    base = f"\nbase-commit: {name[0] * 40}\n" if name[0] in "abcdef" else ""
    return [*mails[:-1], dataclasses.replace(last, body=last.body + base)]


def test_each_thread_is_a_series_on_its_own_base(tmp_path: Path) -> None:
    one, two = series("a"), series("b")
    mixed = [mail for pair in zip(two, one, strict=True) for mail in pair]
    found = dict(load_each(maildir(tmp_path, mixed)))
    assert len(found) == 2
    loaded = [each for each in found.values() if isinstance(each, Series)]
    assert sorted((each.base[0], len(each.patches)) for each in loaded) == [("a", 2), ("b", 2)]


def test_versions_in_one_thread_are_series_of_their_own(tmp_path: Path) -> None:
    mails = [*series("a"), *series("b", tag="PATCH v2", root="a-1@example.org")]
    names = [name for name, found in load_each(maildir(tmp_path, mails))]
    assert [name.rpartition(" ")[2] for name in names] == ["a", "v2"]


def test_replies_and_other_mails_belong_to_no_series(tmp_path: Path) -> None:
    mails = series("a")
    reply = Mail("Re: [PATCH 1/2] x", "fine\n", "r@example.org", "a-0@example.org")
    other = Mail("lunch", "at noon\n", "l@example.org")
    [(_, found)] = load_each(maildir(tmp_path, [other, *mails, reply]))
    assert isinstance(found, Series)
    assert len(found.patches) == 2


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (lambda mails: mails[:1], "1 of 2 patches are there"),
        (lambda mails: mails[1:], "1 of 2 patches are there"),
        (lambda mails: [dataclasses.replace(mails[0], body="soon\n")], "0 of 2 patches are there"),
    ],
)
def test_a_series_whose_mails_are_not_all_there_is_refused_and_the_others_are_not(
    tmp_path: Path, rest: Callable[[list[Mail]], list[Mail]], reason: str
) -> None:
    found = load_each(maildir(tmp_path, [*rest(series("a")), *series("b")]))
    refused = [each.message for _, each in found if isinstance(each, SetupError)]
    assert (len(found), refused) == (2, [reason])


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="not a maildir"):
        load_each(tmp_path)
