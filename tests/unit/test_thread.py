# SPDX-License-Identifier: GPL-2.0
"""Series as people send them: the structure of the mails decides what is a patch."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from diffs import diff
from mailbox_parts import Encoding, Mail, thread, write_box

from testbed.errors import SetupError
from testbed.kernel.series import Series, load_series
from testbed.kernel.thread import SubjectLine

TEXT = "".join(f"line {number}\n" for number in range(1, 21))
DIFFS = [
    diff(f"mm/{name}.c", TEXT, TEXT.replace(f"line {at}\n", f"line {at}\nnew {at}\n"))
    for at, name in ((3, "a"), (9, "b"), (15, "c"))
]
MAILS = thread(*DIFFS)
NAMES = tuple(f"000{number}-mm-step-{number}.patch" for number in (1, 2, 3))
REPLY = Mail("", "Looks good.\n\n" + DIFFS[0], message_id="r@example.org")


def load(tmp_path: Path, *mails: Mail) -> Series:
    return load_series(write_box(tmp_path / "series.mbox", mails))


@pytest.mark.parametrize(
    ("text", "tag", "version", "number", "count"),
    [
        ("[PATCH] mm: x", "PATCH", 1, None, 0),
        ("[PATCH 1/3] mm: x", "PATCH 1/3", 1, 1, 3),
        ("[PATCHv2 1/3] mm: x", "PATCHv2 1/3", 2, 1, 3),
        ("[PATCH v12 01/03] mm: x", "PATCH v12 01/03", 12, 1, 3),
        ("[PATCH3/3] mm: x", "PATCH3/3", 1, 3, 3),
        ("[RFC PATCH net-next v4 0/7] x", "RFC PATCH net-next v4 0/7", 4, 0, 7),
        ("[PATCH RESEND v2,2/3] x", "PATCH RESEND v2,2/3", 2, 2, 3),
        ("[PATCH 6.1/6.6 2/3] x", "PATCH 6.1/6.6 2/3", 1, 2, 3),
        ("[PATCH 5.15/6.1/6.6] x", "PATCH 5.15/6.1/6.6", 1, None, 0),
        ("[PATCH 6.12.y 1/3] x", "PATCH 6.12.y 1/3", 1, 1, 3),
        ("[patch 1/2] x", "patch 1/2", 1, 1, 2),
        ("[bug#60788] [PATCH v2 1/3] x", "PATCH v2 1/3", 2, 1, 3),
        ("[list][PATCH 1/3][mm] x", "PATCH 1/3", 1, 1, 3),
        ("[v3,1/3] x", "v3,1/3", 3, 1, 3),
        ("[2/3] x", "2/3", 1, 2, 3),
        ("[net-next,v2] x", "net-next,v2", 2, None, 0),
        ("[RFC] x", "RFC", 1, None, 0),
        ("[PATCH][v2][2/2] x", "PATCH", 2, 2, 2),
        ("[v2] [PATCH 1/2] x", "PATCH", 2, 1, 2),
        ("[PATCH 2 of 2] x", "PATCH", 1, 2, 2),
        ("[GIT PULL] x", "", 1, None, 0),
        ("mm: [PATCH] x", "", 1, None, 0),
        ("Re: [PATCH 1/3] x", "", 1, None, 0),
        ("", "", 1, None, 0),
    ],
)
def test_a_subject_is_read(
    text: str, tag: str, version: int, number: int | None, count: int
) -> None:
    subject = SubjectLine(text)
    found = subject.is_tagged, subject.version or 1, subject.number, subject.count
    assert found == (bool(tag), version, number, count)


@pytest.mark.parametrize(
    "prefix",
    ["Re: ", "RE: ", "[EXT] Re: ", "Antw: [EXT] ", "SV: ", "Fwd: Re: ", "AW: AW: ", "答复: ",
     "Re[2]: ", "[list] Re: ", "回复: ", "WG: ", "TR : "],
)  # fmt: skip
def test_a_reply_in_any_language_is_left_out(tmp_path: Path, prefix: str) -> None:
    reply = replace(REPLY, subject=f"{prefix}{MAILS[0].subject}")
    series = load(tmp_path, MAILS[0], reply, *MAILS[1:])
    assert series.names == NAMES
    assert [each.reason for each in series.left_out] == ["reply"]


@pytest.mark.parametrize(
    ("mail", "reason"),
    [
        (Mail("mm: steps - a note", "Tested.\n---\nAnna\n"), "no [PATCH] tag in its subject"),
        (Mail("mm: another way", DIFFS[0], answers="p1@example.org"), "reply"),
        (Mail("[GIT PULL] mm", "The following changes ...\n"), "no [PATCH] tag in its subject"),
        (Mail("[PATCH 1/3] mm: step 1", "Looks good.\n", answers="p1@example.org"), "no diff"),
        (Mail("[PATCH 0/3] mm: steps", "Why.\n---\n mm/a.c | 1 +\n"), "cover letter"),
        (replace(MAILS[1], footer="\n____\nlist\n"), "duplicate: same Message-ID"),
        (replace(MAILS[1], message_id="x@y", subject="[l] " + MAILS[1].subject),
         "duplicate: same diff"),
    ],
    ids=["note", "untagged", "pull", "empty", "cover", "message-id", "diff"],
)  # fmt: skip
def test_what_is_not_a_patch_is_left_out_with_the_reason(
    tmp_path: Path, mail: Mail, reason: str
) -> None:
    series = load(tmp_path, *MAILS, mail)
    assert series.names == NAMES
    assert [(each.subject, each.reason) for each in series.left_out] == [(mail.subject, reason)]


def test_a_patch_without_a_number_comes_last(tmp_path: Path) -> None:
    fix = Mail("[PATCH] mm: step 3 fix", diff("mm/d.c", TEXT, TEXT + "more\n"))
    series = load(tmp_path, MAILS[1], fix, MAILS[0], MAILS[2])
    assert series.names == (*NAMES, "0004-mm-step-3-fix.patch")


def test_untagged_patches_keep_the_order_of_the_mailbox(tmp_path: Path) -> None:
    mails = [replace(mail, subject=f"mm: way {at}") for at, mail in enumerate(MAILS)]
    names = tuple(f"000{at + 1}-mm-way-{at}.patch" for at in range(3))
    assert load(tmp_path, *mails).names == names


@pytest.mark.parametrize(
    ("mails", "message"),
    [
        (MAILS[:2], "patch 3 of 3 is missing"),
        (MAILS[1:], "patch 1 of 3 is missing"),
        ([*MAILS, *thread(*DIFFS, tag="PATCHv2")], "has several versions: v1, v2"),
        ([*thread(*DIFFS, tag="v3,"), *thread(*DIFFS, tag="v4,")], "several versions: v3, v4"),
        ([*MAILS, *thread(*DIFFS[:2])], "has several series"),
        ([*MAILS, replace(MAILS[0], body=DIFFS[1], message_id="z@y")], "1 of 3 occurs 2 times"),
        ([Mail("[PATCH 4/3] mm: x", DIFFS[0]), *MAILS], "beyond its count"),
        ([Mail("Re: [PATCH] x", "no\n"), Mail("[PATCH 0/2] x", "no\n")], "there is no patch"),
    ],
    ids=["last", "first", "versions", "patchwork", "series", "twice", "beyond", "none"],
)
def test_an_unclear_series_is_refused_by_name(
    tmp_path: Path, mails: list[Mail], message: str
) -> None:
    with pytest.raises(SetupError, match=re.escape(message)):
        load(tmp_path, *mails)


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("crlf", [False, True], ids=["lf", "crlf"])
def test_transfer_encodings_and_line_ends_are_undone(
    tmp_path: Path, encoding: Encoding, crlf: bool
) -> None:
    plain = load(tmp_path, *MAILS)
    mails = [replace(mail, encoding=encoding, crlf=crlf) for mail in MAILS]
    assert load(tmp_path, *mails).identity == plain.identity


@pytest.mark.parametrize("crlf", [False, True], ids=["lf", "crlf"])
def test_a_mail_alone_needs_no_line_in_front(tmp_path: Path, crlf: bool) -> None:
    text = replace(MAILS[0], encoding=Encoding.PLAIN).text(separator="")
    (tmp_path / "one.eml").write_bytes(text.replace(b"\n", b"\r\n") if crlf else text)
    assert load_series(str(tmp_path / "one.eml")).identity == load(tmp_path, MAILS[0]).identity


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.compress,
}


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_files_are_read_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    plain = Path(write_box(tmp_path / "plain.mbox", MAILS)).read_bytes()
    packed = COMPRESSORS[suffix](plain)
    for name in (f"t.mbox.{suffix}", "t.mbox"):
        (tmp_path / name).write_bytes(packed)
        assert load_series(str(tmp_path / name)).names == NAMES
    (tmp_path / "cut").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SetupError, match="cut is truncated or damaged"):
        load_series(str(tmp_path / "cut"))


def test_a_fifo_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    text = Path(write_box(tmp_path / "plain.mbox", MAILS)).read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(text,), daemon=True)
    writer.start()
    assert load_series(str(tmp_path / "pipe")).names == NAMES
    writer.join(10)


def test_standard_input_is_read(tmp_path: Path) -> None:
    text = Path(write_box(tmp_path / "plain.mbox", MAILS)).read_bytes()
    code = "from testbed.kernel.series import load_series; print(*load_series('-').names)"
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True)
    assert done.stdout.decode().split() == list(NAMES), done.stderr


def attached(*texts: str, kind: str) -> bytes:
    """A mail with patches attached."""
    lines = ["From: a@example.org", "Subject: mm: attached", "Date: Mon, 9 Jun 2025 09:24:13 +0100"]
    lines += ["MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="B"', "", "--B"]
    lines += ["Content-Type: text/plain; charset=UTF-8", "", "Please test.", ""]
    for text in texts:
        lines += ["--B", f"Content-Type: {kind}; charset=UTF-8", ""]
        lines += [text]
    return "\n".join([*lines, "--B--", ""]).encode()


@pytest.mark.parametrize("kind", ["text/x-patch", "text/x-diff", "text/plain"])
def test_attached_patches_apply(tmp_path: Path, kind: str) -> None:
    (tmp_path / "one.eml").write_bytes(attached(*DIFFS, kind=kind))
    assert load_series(str(tmp_path / "one.eml")).files == ("mm/a.c", "mm/b.c", "mm/c.c")


UNTAGGED = [replace(mail, subject=f"mm: util: show [heap] {at}") for at, mail in enumerate(MAILS)]


def test_brackets_in_a_title_do_not_make_a_reply(tmp_path: Path) -> None:
    assert len(load(tmp_path, *UNTAGGED).patches) == 3


@pytest.mark.parametrize(
    "reply",
    [
        replace(REPLY, subject="Re: mm: util: show [heap] 0"),
        replace(REPLY, subject="mm: util: another way", answers="p1@example.org"),
        replace(REPLY, subject="AW: mm: util"),
    ],
    ids=["prefix", "parent", "german"],
)
def test_a_reply_to_an_untagged_patch_is_left_out(tmp_path: Path, reply: Mail) -> None:
    found = load(tmp_path, *UNTAGGED, reply)
    assert len(found.patches) == 3
    assert [each.reason for each in found.left_out] == ["reply"]


def test_the_subject_of_the_mail_counts_and_that_in_its_text_names_the_patch(
    tmp_path: Path,
) -> None:
    inner = "From: B <b@example.org>\nSubject: [PATCH] mm: an inner title\n\n"
    mails = [replace(mail, body=inner + mail.body) for mail in MAILS]
    found = load(
        tmp_path, *reversed(mails), replace(REPLY, subject="Re: [PATCH 1/3] x", body=inner)
    )
    assert found.names == tuple(f"000{at}-mm-an-inner-title.patch" for at in (1, 2, 3))
    assert [each.reason for each in found.left_out] == ["reply"]


@pytest.mark.parametrize("front", [b"\n\n", b"\xef\xbb\xbf", b"\r\n"], ids=["blank", "bom", "cr"])
def test_what_stands_before_the_first_mail_is_skipped(tmp_path: Path, front: bytes) -> None:
    box = Path(write_box(tmp_path / "x.mbox", [*MAILS, replace(REPLY, subject="Re: [PATCH 1/3]")]))
    box.write_bytes(front + box.read_bytes())
    assert load_series(str(box)).names == NAMES


def test_a_folder_of_mails_is_a_thread(tmp_path: Path) -> None:
    reply = replace(REPLY, subject="Re: [PATCH 1/3] x")
    for name, mail in zip("abcd", [MAILS[2], MAILS[1], reply, MAILS[0]], strict=True):
        (tmp_path / f"{name}.eml").write_bytes(mail.text(separator=""))
    found = load_series(str(tmp_path))
    assert found.names == ("d.eml", "b.eml", "a.eml")
    (tmp_path / "e.eml").write_bytes(thread(DIFFS[0], tag="PATCH v2")[0].text(separator=""))
    (tmp_path / "e.eml").write_bytes(replace(MAILS[0], subject="[PATCH v2 1/3] x").text())
    with pytest.raises(SetupError, match="several versions: v1, v2"):
        load_series(str(tmp_path))


def test_a_later_version_without_a_number_is_another_version(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="several versions: v1, v2"):
        load(tmp_path, *MAILS, replace(MAILS[0], subject="[PATCH v2] mm: again", message_id="z"))


def test_changes_of_a_mode_alone_are_not_copies_of_each_other(tmp_path: Path) -> None:
    text = "diff --git a/x.sh b/x.sh\nold mode {}\nnew mode {}\n"
    modes = ("100644", "100755")
    mails = [
        Mail("[PATCH] chmod", f"---\n{text.format(*modes)}-- \n2\n"),
        Mail("[PATCH] chmod back", f"---\n{text.format(*reversed(modes))}-- \n2\n"),
    ]
    assert len(load(tmp_path, *mails).patches) == 2


@pytest.mark.parametrize("subject", ["Re: [PATCH v2] mm: one", "[PATCH 0/1] mm: one", "mm: one"])
def test_a_single_mail_is_taken_whatever_its_subject_says(tmp_path: Path, subject: str) -> None:
    assert len(load(tmp_path, replace(MAILS[0], subject=subject)).patches) == 1


@pytest.mark.parametrize(
    "wanted", ["~nosuchuser/x", "x" * 300, "a\0b", "nowhere", "[PATCH"], ids=repr
)
def test_a_name_that_no_file_can_have_is_an_error(wanted: str) -> None:
    with pytest.raises(SetupError, match="no patch and no folder of patches"):
        load_series(wanted)


def test_long_numbers_and_subjects_do_no_harm(tmp_path: Path) -> None:
    mails = [replace(MAILS[0], subject=f"[PATCH {'1' * 5000}/2] x"), *MAILS]
    assert load(tmp_path, *mails).names == NAMES
    assert SubjectLine("a: " + "[" * 200_000).is_reply is False


def test_a_fifo_below_a_folder_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "1.patch").write_text(DIFFS[0])
    os.mkfifo(tmp_path / "2.patch")
    assert load_series(str(tmp_path)).names == ("1.patch",)
    for name in ("cur", "new", "tmp"):
        (tmp_path / "mail" / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "mail/cur/1")
    with pytest.raises(SetupError, match="is not a plain file"):
        load_series(str(tmp_path / "mail"))
