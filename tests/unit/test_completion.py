# SPDX-License-Identifier: GPL-2.0
"""`testbed completion`: real shells complete with the scripts that it prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from testbed.cli import cli
from testbed.cli.completion import SHELLS

TESTBED = Path(sys.executable).parent / "testbed"

# Each completes the words of TYPED, of which the last one is not finished.
SCRIPTS = {
    "bash": """
source "$SCRIPT"
COMP_WORDS=($TYPED) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_testbed_completion testbed
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "zsh": """
compdef() { : }
autoload() { : }
compadd() { while [ "$1" != -- ] && [ "$1" != -a ]; do shift; done; shift; print -l -- ${(P)1} }
_describe() { print -l -- ${(P)3} }
words=(${=TYPED}) CURRENT=$#words
source "$SCRIPT"
_testbed_completion
""",
    "fish": """
source $SCRIPT
complete --do-complete $TYPED
""",
}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def script_of(shell: str) -> str:
    return subprocess.check_output([TESTBED, "completion", shell], text=True)


def completions(typed: str) -> list[str]:
    """The words that go on from a command line whose last word is not finished."""
    *words, last = typed.split()[1:]
    found = ShellComplete(cli, {}, "testbed", "_TESTBED_COMPLETE").get_completions(words, last)
    return [item.value for item in found]


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("testbed bis", ["bisect", "bisect-step"]),
        ("testbed cache p", ["prune"]),
        ("testbed run --flavour de", ["debug"]),
        ("testbed run --isolation s", ["shared"]),
        ("testbed build --arch ar", ["arm64"]),
        ("testbed completion f", ["fish"]),
        ("testbed mutants --fre", ["--fresh"]),
    ],
)
def test_commands_options_and_values_are_completed(typed: str, wanted: list[str]) -> None:
    assert completions(typed) == wanted


def test_a_real_shell_completes_with_the_script(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(script_of(shell))
    assert f"_TESTBED_COMPLETE={shell}_complete" in script.read_text()
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{TESTBED.parent}:{os.environ['PATH']}"
    env = {**os.environ, "SCRIPT": str(script), "TYPED": "testbed docto", "PATH": path}
    answer = subprocess.check_output([program, "-c", SCRIPTS[shell]], env=env, text=True)
    assert "doctor" in answer
    assert "compare" not in answer


def test_another_shell_is_refused_by_name() -> None:
    done = subprocess.run([TESTBED, "completion", "tcsh"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
