# SPDX-License-Identifier: GPL-2.0
"""Made-up mailboxes, applied by git am and by the testbed: both leave the same files.

Differences that are wanted: git am takes mails in the order of the mailbox, so it gets them
sorted, and it does not drop copies, replies and cover letters, so it gets the patches alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diffs import diff
from hypothesis import given, settings
from hypothesis import strategies as st
from mailbox_parts import Encoding, Mail, write_box

from testbed.kernel.fit import Fit, apply_series
from testbed.kernel.gitenv import FOREIGN_ENV, NOBODY
from testbed.kernel.series import Series, load_series
from testbed.process import run

FILES = ("mm/util.c", "mm/vma.c", "fs/coda/file.c")
TEXT = "".join(f"\tline {number};\n" for number in range(1, 31))

# A mail's text may have what looks like the beginning of a diff, signatures, and other scripts.
LINES = st.sampled_from(
    [
        "Why.",
        "--- before",
        "+++ after",
        "  diff --git a/x b/x",
        "> --- a/mm/util.c",
        "Signed-off-by: Anna Müller <anna@example.org>",
        "A line with a tab\tand =3D quoted-printable.",
        "From here on it works.",
        "",
    ]
)
TITLES = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "Zs"), exclude_characters="[]:<>"),
    min_size=1,
    max_size=40,
).filter(lambda title: title.strip() != "")


@st.composite
def series(draw: st.DrawFn) -> list[Mail]:
    """A numbered series of mails, each with a change on top of the one before."""
    texts = dict.fromkeys(FILES, TEXT)
    count = draw(st.integers(1, 4))
    version = draw(st.sampled_from(["", " v2", "v3"]))
    mails = []
    for number in range(1, count + 1):
        name = draw(st.sampled_from(FILES))
        at = draw(st.integers(1, 30))
        old = texts[name]
        line = f"\tline {at};\n"
        texts[name] = old.replace(line, f"{line}\tnew {number}; /* ä */\n")
        body = "\n".join(draw(st.lists(LINES, max_size=4)))
        patch = diff(name, old, texts[name])
        mails.append(
            Mail(
                f"[PATCH{version} {number}/{count}] {draw(TITLES)}",
                f"{body}\n\nSigned-off-by: A <a@example.org>\n---\n{patch}-- \n2.39.5\n",
                message_id=f"p{number}@example.org",
                encoding=draw(st.sampled_from(Encoding)),
                crlf=draw(st.booleans()),
            )
        )
    return mails


@st.composite
def disturbed(draw: st.DrawFn, mails: Sequence[Mail]) -> list[Mail]:
    """The same series as a mailbox may have it: shuffled, with copies, replies and a cover."""
    count = len(mails)
    tag = mails[0].subject.partition("]")[0].replace(f" 1/{count}", f" 0/{count}")
    cover = Mail(f"{tag}] steps", "Why.\n---\nmore\n---\n", message_id="c@example.org")
    more = [replace(mail, footer="\n___\nlist\n") for mail in mails if draw(st.booleans())]
    replies = [
        Mail(f"Re: {mail.subject}", f"> {mail.body}", answers=mail.message_id)
        for mail in mails
        if draw(st.booleans())
    ]
    covers = [cover] if draw(st.booleans()) else []
    return draw(st.permutations([*mails, *more, *replies, *covers]))


def applied_by_git(folder: Path, mails: Sequence[Mail]) -> dict[str, bytes]:
    """The files after `git am` of the mails in this order."""
    tree = folder / "git"
    _make_tree(tree)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        git(tree, *words)
    git(tree, "am", "-q", "--quoted-cr=strip", write_box(folder / "sorted.mbox", mails))
    return _files(tree)


def git(tree: Path, *words: str) -> None:
    run([*FOREIGN_ENV, "git", "-c", "init.defaultBranch=m", *words], cwd=tree, env=NOBODY)


def applied_by_us(folder: Path, found: Series) -> dict[str, bytes]:
    tree, stage = folder / "tree", folder / "stage"
    _make_tree(tree)
    stage.mkdir()
    fits = apply_series(found, tree, stage)
    assert {fit.fit for fit in fits} <= {Fit.APPLIES, Fit.OFFSET}, fits
    return _files(tree) | _files(stage)


def _make_tree(tree: Path) -> None:
    for name in FILES:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(TEXT)


def _files(tree: Path) -> dict[str, bytes]:
    return {name: (tree / name).read_bytes() for name in FILES if (tree / name).exists()}


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_a_mailbox_leaves_the_files_that_git_am_leaves(data: st.DataObject) -> None:
    mails = data.draw(series())
    mixed = data.draw(disturbed(mails))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = load_series(write_box(folder / "mixed.mbox", mixed))
        assert len(found.patches) == len(mails)
        assert len(found.left_out) == len(mixed) - len(mails)
        assert applied_by_us(folder, found) == applied_by_git(folder, mails)
