# SPDX-License-Identifier: GPL-2.0
"""The TOML file of a matrix: what it may say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import SetupError
from testbed.nightly.matrix import Matrix, load_matrix
from testbed.settings import CHECKOUT

STREAM = "[streams.a]\nkernel = 'debian:7.3'\n"
CELLS = "[[cells]]\n"


def load(folder: Path, text: str) -> Matrix:
    file = folder / "nightly.toml"
    file.write_text(text)
    return load_matrix(file)


def test_a_small_matrix_has_defaults(tmp_path: Path) -> None:
    matrix = load(tmp_path, STREAM + CELLS)
    [row] = matrix.rows
    assert (matrix.name, matrix.hours, row.kind, row.streams) == ("nightly", 8.0, "tests", ("a",))
    assert (row.arch, row.flavour, row.part) == (("x86_64", "arm64"), ("base",), 1.0)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "fixes").mkdir()
    text = "[streams.a]\nkernel = 'tree:linux@master'\nseries = 'fixes'\nfetch = 'origin'\n"
    stream = load(tmp_path, text + CELLS).streams["a"]
    assert stream.kernel == f"tree:{tmp_path}/linux@master"
    assert stream.series == str(tmp_path / "fixes")


def test_a_series_has_the_name_that_the_file_gives_it(tmp_path: Path) -> None:
    """Its lane does: a link may lead to another version each night."""
    (tmp_path / "v2").mkdir()
    (tmp_path / "fixes").symlink_to("v2")
    text = "[streams.a]\nkernel = 'debian'\nseries = 'fixes'\n"
    assert load(tmp_path, text + CELLS).streams["a"].series == str(tmp_path / "fixes")


def test_a_kind_has_keys_of_its_own(tmp_path: Path) -> None:
    [row] = load(tmp_path, f"{STREAM}{CELLS}kind = 'mutants'\ncount = 5\n").rows
    assert dict(row.params) == {"count": "5"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no [streams.NAME]"),
        (STREAM, "has no [[cells]]"),
        (f"hour = 8\n{STREAM}{CELLS}", "did you mean hours"),
        (f"hours = 0\n{STREAM}{CELLS}", "hours = 0 is invalid: it must be above 0"),
        (f"hours = '8'\n{STREAM}{CELLS}", "it must be a number"),
        (f"bisect = 1\n{STREAM}{CELLS}", "it must be true or false"),
        (f"{STREAM}sries = 'x'\n{CELLS}", "did you mean series"),
        (f"[streams.a]\nseries = 'x'\n{CELLS}", "streams.a has no kernel"),
        (f"{STREAM}fetch = 'origin'\n{CELLS}", "fetch needs a git tree"),
        (f"{STREAM}series = 'x'\nmaildir = 'y'\n{CELLS}", "has both series and maildir"),
        (f"{STREAM}{CELLS}flavor = 'base'\n", "did you mean flavour"),
        (f"{STREAM}{CELLS}streams = 'b'\n", "stream 'b' does not exist"),
        (f"{STREAM}{CELLS}streams = []\n", "the list is empty"),
        (f"{STREAM}{CELLS}arch = 'x86-64'\n", "did you mean x86_64"),
        (f"{STREAM}{CELLS}flavour = 'debg'\n", "did you mean debug"),
        (f"{STREAM}{CELLS}flavour = '16k'\narch = 'x86_64'\n", "no architecture has the flavour"),
        (f"{STREAM}{CELLS}isolation = 'clones'\n", "did you mean clone"),
        (f"{STREAM}{CELLS}part = 1.5\n", "part is 1.5"),
        (f"{STREAM}{CELLS}part = 0\n", "part is 0"),
        (f"{STREAM}{CELLS}workers = 0\n", "workers is 0"),
        (f"{STREAM}{CELLS}kind = 'mutant'\n", "did you mean mutants"),
        (f"{STREAM}{CELLS}kind = 'bisect'\n", "unknown kind"),
        (f"{STREAM}{CELLS}count = 5\n", "unknown key 'count'"),
        (f"{STREAM}cells = 3\n", "cells"),
        (f"streams = 3\n{CELLS}", "must be a table [streams.NAME] for each"),
        ("[streams", "not valid TOML"),
        (f"hours = inf\n{STREAM}{CELLS}", "it must be above 0, and at most 8760"),
        (f"hours = nan\n{STREAM}{CELLS}", "it must be above 0, and at most 8760"),
        (f"confirm = {10**30}\n{STREAM}{CELLS}", "it must be at most 9223372036854775807"),
        (f'mail_to = "a@b\\nBcc: c@d"\n{STREAM}{CELLS}', "a character that cannot be printed"),
        ("[streams.a]\nkernel = 'tree:~no-such-user/x'\n" + CELLS, "is not a path"),
        ('[streams.a]\nkernel = "tree:a\\u0000b"\n' + CELLS, "cannot be printed"),
        (f"{STREAM}series = '~no-such-user/x'\n{CELLS}", "is not a path"),
        (f"{STREAM}series = '{'n' * 300}'\n{CELLS}", "is not a path: File name too long"),
        ("[streams.'']\nkernel = 'debian'\n" + CELLS, "'' is not a name for a stream"),
        (
            f"[streams.a]\nkernel = 'tree:linux'\nfetch = '--upload-pack=x'\n{CELLS}",
            "fetch: '--upload-pack=x' is not the name of a remote",
        ),
        (f"{STREAM}{CELLS}kind = ['tests']\n", "unknown kind ['tests']"),
        (f"{STREAM}{CELLS}kind = {{a = 1}}\n", "unknown kind {'a': 1}"),
        (f"{STREAM}{CELLS}streams = {{a = 1}}\n", "a string, or a list of strings"),
        (f"{STREAM}{CELLS}arch = 5\n", "a string, or a list of strings"),
        (f"{STREAM}{CELLS}tests = 'a and ('\n", "tests: 'a and (': expected"),
        (f"{STREAM}{CELLS}kind = 'mutants'\ncount = 0\n", "it must be 1 or more"),
        (f"{STREAM}{CELLS}kind = 'fuzz'\nminutes = 0\n", "it must be 1 or more"),
    ],
)
def test_a_wrong_matrix_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SetupError) as raised:
        load(tmp_path, text)
    assert words in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"cannot read the matrix .*absent\.toml"):
        load_matrix(tmp_path / "absent.toml")


def test_the_example_is_a_matrix() -> None:
    assert load_matrix(CHECKOUT / "docs/nightly.toml").hours == 8
