# SPDX-License-Identifier: GPL-2.0
"""Patches from mailboxes: in order, decoded, and without mails that are not patches."""

from __future__ import annotations

import base64
import os
import quopri
from pathlib import Path

import pytest
from diffs import diff, mail

from testbed.errors import InfraError, SetupError
from testbed.kernel import mail as mail_module
from testbed.kernel.series import Series, load_series

ONE = diff("mm/util.c", "int a;\n", "int b;\n")
TWO = diff("mm/vma.c", "/* \xe4 */\nint v;\n", "/* \xe4 */\nint w;\n")
BASE = "0123456789abcdef0123456789abcdef01234567"
COVER = mail("[PATCH 0/2] mm: two things", f"Hello,\n\nthis is why.\n\nbase-commit: {BASE}\n")
FIRST = mail("[PATCH 1/2] mm/util: b is right", f"Why.\n---\n{ONE}--\n2.39\n\n")
SECOND = mail("[PATCH 2/2] mm/vma: so is w", f"Why.\n---\n{TWO}--\n2.39\n\n")
REPLY = mail("Re: [PATCH 1/2] mm/util: b is right", f"Rather so:\n{ONE.replace('b;', 'c;')}\n")

NAMES = ("0001-mm-util-b-is-right.patch", "0002-mm-vma-so-is-w.patch")


def box(folder: Path, *mails: str) -> str:
    path = folder / "series.mbox"
    path.write_text("".join(f"{each}\n" for each in mails))
    return str(path)


def test_an_mbox_is_sorted_by_the_numbers_in_the_subjects(tmp_path: Path) -> None:
    series = load_series(box(tmp_path, SECOND, REPLY, COVER, FIRST))
    assert series.names == NAMES
    assert series.files == ("mm/util.c", "mm/vma.c")
    assert series.base == BASE
    assert "\xe4".encode() in series.patches[1].text


def test_a_maildir_is_sorted_the_same_way(tmp_path: Path) -> None:
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "cur/1.host:2,S").write_text(SECOND)
    (tmp_path / "new/2.host").write_text(FIRST.partition("\n")[2])
    assert load_series(str(tmp_path)).names == NAMES


def test_patches_in_a_folder_of_git_format_patch_keep_their_names(tmp_path: Path) -> None:
    for name, text in (("0000-cover-letter", COVER), ("0001-x", FIRST), ("0002-y", SECOND)):
        (tmp_path / f"{name}.patch").write_text(text)
    series = load_series(str(tmp_path))
    assert series.names == ("0001-x.patch", "0002-y.patch")
    assert series.base == BASE


def test_a_mail_that_arrived_twice_counts_once(tmp_path: Path) -> None:
    assert load_series(box(tmp_path, FIRST, SECOND, FIRST)).names == NAMES


def test_a_single_mail_of_a_series_is_taken_alone(tmp_path: Path) -> None:
    assert load_series(box(tmp_path, SECOND)).names == NAMES[1:]


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64"])
@pytest.mark.parametrize("separator", [True, False], ids=["mbox", "mail"])
def test_the_transfer_encoding_is_decoded(tmp_path: Path, encoding: str, separator: bool) -> None:
    body = f"Why.\n---\n{TWO}".encode()
    encode = quopri.encodestring if encoding == "quoted-printable" else base64.encodebytes
    text = mail(
        "=?utf-8?q?=5BPATCH=5D?= mm: w",
        encode(body).decode(),
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {encoding}",
    )
    path = tmp_path / "mail.eml"
    path.write_text(text if separator else text.partition("\n")[2])
    [patch] = load_series(str(path)).patches
    assert patch.name == "0001-mm-w.patch"
    assert "+int w;\n" in patch.text.decode()


def test_an_unknown_charset_is_reported(tmp_path: Path) -> None:
    text = FIRST.replace("Date:", "Content-Type: text/plain; charset=utf-99\nDate:")
    with pytest.raises(SetupError, match="git cannot read the mails") as raised:
        load_series(box(tmp_path, text.replace("Why.", "Why\xe4.")))
    assert "utf-99" in raised.value.evidence.lower()


@pytest.mark.parametrize(
    ("mails", "why"),
    [
        ((COVER, SECOND), "patch 1 of 2 is missing"),
        ((COVER, FIRST), "patch 2 of 2 is missing"),
        ((FIRST, FIRST.replace("int b", "int c"), SECOND), "patch 1 of 2 occurs 2 times"),
        ((FIRST, SECOND, FIRST.replace("PATCH", "PATCH v2")), "several versions: v1, v2"),
        ((COVER, REPLY), "there is no patch in"),
        ((FIRST.replace("mm/util.c", "../x"), SECOND), "outside the tree"),
    ],
    ids=["first", "last", "two", "versions", "none", "hostile"],
)
def test_an_incomplete_or_ambiguous_series_is_refused(
    tmp_path: Path, mails: tuple[str, ...], why: str
) -> None:
    with pytest.raises(SetupError, match=why):
        load_series(box(tmp_path, *mails))


def test_several_base_commits_are_noted_and_none_is_used(tmp_path: Path) -> None:
    other = BASE.replace("0123", "aaaa")
    first = FIRST.replace("--\n2.39", f"base-commit: {other}\n--\n2.39")
    series = load_series(box(tmp_path, COVER, first, SECOND))
    assert (series.names, series.base) == (NAMES, "")
    assert series.notes == (
        f"the patches name several base commits, none is used: {BASE}, {other}",
    )


def test_a_mailbox_that_is_too_large_for_a_series_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cur", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").write_text(FIRST)
    monkeypatch.setattr(mail_module, "LIMIT", 2 * len(FIRST) - 1)
    with pytest.raises(SetupError, match="is refused: it is larger than"):
        load_series(str(tmp_path))


# Like b4, it writes a mailbox that is ready to be applied.
FAKE_B4 = """#!/bin/sh
echo "$@" >"$B4_ARGUMENTS"
while [ "$1" != --outdir ]; do shift; done
cp "$B4_BOX" "$2/series.mbx"
"""


@pytest.fixture
def b4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake b4 that copies a mailbox of this folder, and records its arguments."""
    program = tmp_path / "bin/b4"
    program.parent.mkdir()
    program.write_text(FAKE_B4)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("B4_BOX", box(tmp_path, FIRST, SECOND))
    monkeypatch.setenv("B4_ARGUMENTS", str(tmp_path / "arguments"))
    return tmp_path


@pytest.mark.parametrize("wanted", ["<1-a.b@example.org>", "https://lore.kernel.org/r/1@x.org"])
def test_b4_fetches_a_message_id(b4: Path, wanted: str) -> None:
    assert load_series(wanted).names == NAMES
    words = (b4 / "arguments").read_text().split()
    assert (words[1], words[-1]) == ("am", wanted)


def test_a_failure_of_b4_is_reported_with_its_message(b4: Path) -> None:
    (b4 / "bin/b4").write_text("#!/bin/sh\necho 'no such thread' >&2\nexit 1\n")
    with pytest.raises(InfraError, match=r"b4 cannot fetch 1@example\.org") as raised:
        load_series("1@example.org")
    assert "no such thread" in raised.value.evidence


def test_a_missing_b4_is_reported_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SetupError, match="b4 is not installed") as raised:
        load_series("1-a.b@example.org")
    assert "apt install b4" in raised.value.hint


def test_equal_patches_are_equal_series_in_any_order_of_mails(tmp_path: Path) -> None:
    mailed = load_series(box(tmp_path, FIRST, SECOND))
    again = load_series(box(tmp_path, SECOND, FIRST))
    assert mailed.identity == again.identity != Series().identity
