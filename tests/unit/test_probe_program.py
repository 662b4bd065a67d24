# SPDX-License-Identifier: GPL-2.0
"""The guest's probe, built for this host, with scripts that need no module."""

from __future__ import annotations

import json
import mmap
import re
import threading
from pathlib import Path
from typing import Any, Protocol

import pytest

from testbed.process import check_output, run

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "tests" / "probes" / "probe"
_DOCUMENT = (_ROOT / "docs" / "probe.md").read_text()

Fact = dict[str, Any]


class RunScript(Protocol):
    """Runs the lines, expects this exit status, returns the facts."""

    def __call__(self, *lines: str, status: int = 0) -> list[Fact]: ...


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("probe") / "probe"
    include = _ROOT / "modules" / "include"
    sources = sorted(_FOLDER.rglob("*.c"))
    check_output(
        ["cc", "-O0", "-Wall", "-Wextra", "-Werror", "-I", include, "-o", program, *sources]
    )
    return program


@pytest.fixture
def run_script(probe: Path) -> RunScript:
    def run_it(*lines: str, status: int = 0) -> list[Fact]:
        script = "\n".join(lines).encode("latin-1")
        done = run([probe], stdin=script, ok=[status])
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run_it


def _table(heading: str, end: str) -> list[str]:
    """Return the cells of the first column of the tables between two lines of the document."""
    text = _DOCUMENT.split(heading, 1)[1].split(end, 1)[0]
    return re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)


def test_scripts_in_one_input_run_in_children_of_their_own(run_script: RunScript) -> None:
    first = ["map m anon len=1p", "fork", "env", "endfork"]
    facts = run_script(*first, "next", "unmap m", "next", "mlock m", "next", "map m anon len=2p")
    ends = [fact for fact in facts if "part" in fact]
    assert [(end["part"], end["status"]) for end in ends] == [(1, 0), (2, 2), (3, 2), (4, 0)]
    assert facts[-2] == {"done": True}
    assert [fact["text"] for fact in facts if fact.get("error") == "usage"] == [
        "'unmap' is not a step",
        "unknown mapping 'm'",
    ]


def test_a_complete_script_ends_with_done(run_script: RunScript) -> None:
    assert run_script("# nothing", "")[-1] == {"done": True}


def test_an_unknown_step_ends_the_script_with_status_2(run_script: RunScript) -> None:
    (fact,) = run_script("", "frobnicate", "env", status=2)
    assert fact == {"step": 2, "error": "usage", "text": "'frobnicate' is not a step"}


@pytest.mark.parametrize(
    "line",
    [
        "map m f",
        "map m anon len=4q",
        "map m anon len=-1",
        "map m anon len=1p flags=shraed",
        "map m anon len=1p colour=red",
        "map 1m anon len=1p",
        "read m 0-",
        "open",
        "fork",
        "endfork",
        "endsweep",
        "fail_nth",
        "sweep",
    ],
)
def test_an_invalid_step_is_refused(run_script: RunScript, line: str) -> None:
    facts = run_script("map m anon len=1p", line, status=2)
    assert facts[-1]["error"] == "usage"


def test_odd_bytes_become_valid_json(run_script: RunScript) -> None:
    (fact,) = run_script('a"\\\x01\xe9', status=2)
    assert fact["text"] == "'a\"\\\x01\xe9' is not a step"


def test_a_failed_call_is_a_fact_and_the_next_step_runs(run_script: RunScript) -> None:
    opened, mapped, read, _ = run_script("open f /nonexistent/x", "map m f len=1p", "read m all")
    assert (opened["errno"], opened["error"]) == (2, "ENOENT")
    assert mapped["error"] == "EBADF"
    assert "addr" not in mapped
    assert read["pages"] == []


def test_each_page_reports_the_signal_of_its_access(run_script: RunScript) -> None:
    facts = run_script(
        "memfd f 1p", "map m f len=3p", "write m 0 0x1234", "munmap m 2", "mprotect m prot=r 0",
        "write m 0 1", "read m all",
    )  # fmt: skip
    assert facts[5]["pages"][0]["code"] == "SEGV_ACCERR"
    results = [(page["result"], page.get("code")) for page in facts[6]["pages"]]
    assert results == [("ok", None), ("SIGBUS", "BUS_ADRERR"), ("SIGSEGV", "SEGV_MAPERR")]
    assert facts[6]["pages"][0]["content"] == "fill:0x1234"


def test_maps_shows_the_vmas_and_the_hole_in_a_mapping(run_script: RunScript) -> None:
    facts = run_script("map m anon len=4p prot=r", "munmap m 1", "maps m", "pagemap m")
    addr, page = int(facts[0]["addr"], 16), facts[0]["len"] // 4
    seen = [(int(vma["start"], 16) - addr, int(vma["end"], 16) - addr) for vma in facts[2]["vmas"]]
    assert seen == [(0, page), (2 * page, 4 * page)]
    assert {"rd", "mr"} <= set(facts[2]["vmas"][0]["vmflags"])
    assert [entry["present"] for entry in facts[3]["pages"]] == [False] * 4


def test_an_address_can_be_relative_to_another_mapping(run_script: RunScript) -> None:
    facts = run_script("map m anon len=4p", "map n anon len=1p addr=m+2p flags=private,fixed")
    assert int(facts[1]["addr"], 16) - int(facts[0]["addr"], 16) == 2 * facts[1]["len"]


def test_the_facts_of_a_child_are_marked_and_its_writes_stay_private(run_script: RunScript) -> None:
    facts = run_script(
        "map m anon len=1p", "fork", "write m 0 7", "read m 0", "endfork", "read m 0"
    )  # fmt: skip
    assert [fact.get("child", False) for fact in facts] == [False, True, True, False, False, False]
    assert [fact["step"] for fact in facts[:-1]] == [1, 3, 4, 2, 6]
    assert facts[2]["pages"][0]["content"] == "fill:0x7"
    assert facts[3]["status"] == 0
    assert facts[4]["pages"][0]["content"] == "zero"


def test_a_sweep_ends_with_the_first_round_in_which_nothing_fails(run_script: RunScript) -> None:
    facts = run_script("sweep 9", "fail_nth", "map m anon len=1p", "read m all", "endsweep", "env")
    steps = [(fact.get("step"), fact.get("round")) for fact in facts]
    assert steps == [(2, 1), (3, 1), (4, 1), (6, None), (None, None)]
    assert facts[1]["injected"] is False


def test_steps_report_what_they_reach_only_after_kcov(run_script: RunScript) -> None:
    before, kcov, after = run_script("map m anon len=1p", "kcov", "map n anon len=1p")[:3]
    assert kcov["op"] == "kcov"
    assert "reached" not in before
    if kcov["errno"]:  # this host has no KCOV, or its user may not use it
        assert "reached" not in after


def test_fail_nth_applies_to_one_system_call(run_script: RunScript) -> None:
    facts = run_script("fail_nth 1", "meminfo", status=2)
    assert facts[-1]["text"] == "fail_nth is not for 'meminfo'"
    facts = run_script("fail_nth 1", "fork", "map m anon len=1p", "endfork")
    assert "injected" not in facts[1]
    assert facts[2]["injected"] is False


def test_a_usage_error_in_a_child_is_its_exit_status(run_script: RunScript) -> None:
    facts = run_script("fork", "frobnicate", "endfork")
    assert facts[0]["child"]
    assert facts[1]["status"] == 2


def test_steps_do_not_increase_the_probes_memory(run_script: RunScript) -> None:
    facts = run_script(
        "map m anon len=2p", "write m all 1", "status", "maps m", "pagemap m", "meminfo", "query m",
        "status",
    )  # fmt: skip
    before, after = (fact["fields"] for fact in facts if fact.get("op") == "status")
    assert before["RssAnon"] == after["RssAnon"]


def _documented_steps() -> list[str]:
    cells = _table("### Files", "## The facts")
    return [name for cell in cells for name in re.findall(r"`([a-z_]+)", cell)]


@pytest.mark.parametrize("name", _documented_steps())
def test_a_documented_step_is_known(run_script: RunScript, name: str) -> None:
    facts = run_script(f"{name} 1 2 3 4 5 6", status=2)
    assert facts[0]["text"] != f"'{name}' is not a step"


def _documented_keys() -> list[str]:
    cells = _table("## The plan", "## The nodes")
    return [name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)]


@pytest.mark.parametrize("key", _documented_keys())
def test_a_documented_key_of_the_plan_is_known(run_script: RunScript, key: str) -> None:
    facts = run_script("open f /dev/null", f"plan f {key}=frob", status=2)
    assert "a plan has no" not in facts[-1]["text"]


def test_a_switch_of_a_plan_can_be_hexadecimal(run_script: RunScript) -> None:
    taken = run_script("memfd f 1p", "plan f hide=0x1 late_page_prot=1")
    assert taken[1]["error"] == "ENOTTY"  # a memfd does not accept a plan
    refused = run_script("memfd f 1p", "plan f hide=2", status=2)
    assert refused[-1]["error"] == "usage"


def test_the_lines_of_a_file_are_shown(run_script: RunScript) -> None:
    shown, missing = run_script("show /proc/self/mounts", "show /proc/none")[:2]
    assert shown["lines"] == Path("/proc/self/mounts").read_text().splitlines()
    assert (missing["error"], missing["lines"]) == ("ENOENT", [])


def test_an_aio_ring_is_a_mapping(run_script: RunScript) -> None:
    made, ring, gone, again = run_script("io_setup r 1", "maps r", "io_destroy r", "io_destroy r")[
        :4
    ]
    assert made["len"] % 4096 == 0
    assert [vma["path"] for vma in ring["vmas"]] == ["/[aio] (deleted)"]
    assert (gone["errno"], again["error"]) == (0, "EINVAL")


def test_an_open_file_is_prepared_by_calls(run_script: RunScript, tmp_path: Path) -> None:
    path = tmp_path / "file"
    facts = run_script(
        f"open f {path} create", "write_file f 616200", f"open g {path} ro", "read_file g 16",
        "ioctl g 0x541b bytes=ffffffffff", "ioctl g 0x99 value=2", "write_file g 00",
    )  # fmt: skip
    wrote, _, read, pending, unknown, refused = facts[1:7]
    assert path.read_bytes() == b"ab\0"
    assert wrote["result"] == 3
    assert (read["result"], read["bytes"]) == (3, "616200")
    # FIONREAD stores an int: the bytes behind it keep their values.
    assert (pending["errno"], pending["bytes"]) == (0, "00000000ff")
    assert unknown["error"] == "ENOTTY"
    assert refused["error"] == "EBADF"


def test_the_mmap_offset_is_the_value_that_an_ioctl_returns(
    run_script: RunScript, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4 * mmap.PAGESIZE))
    # FIONREAD stores the size of the file as an int.
    facts = run_script(
        f"open f {path}", "ftruncate f 1p", "ioctl f 0x541b bytes=00 mmap_offset=0 bits=32",
        "ftruncate f 4p", "map m f len=1p off=1p", "maps m", "map a anon len=1p", "maps a",
        "ioctl f 0x99 bytes=00 mmap_offset=0", "ioctl f 0x541b bytes=0000000001 mmap_offset=0",
        "map n f len=1p",
    )  # fmt: skip
    taken, _, _, mapped, _, anonymous, unknown, wide, behind, _ = facts[2:]
    assert int(taken["mmap_offset"], 16) == mmap.PAGESIZE
    assert int(mapped["vmas"][0]["offset"], 16) == 2 * mmap.PAGESIZE
    assert int(anonymous["vmas"][0]["offset"], 16) == 0
    assert unknown["error"] == "ENOTTY"
    assert "mmap_offset" not in unknown
    assert int(wide["mmap_offset"], 16) == (1 << 32) + 4 * mmap.PAGESIZE
    assert behind["errno"] == 0


@pytest.mark.parametrize(
    "line",
    [
        *("ioctl f 1 bytes=0", "ioctl f 1 bytes=0g", "write_file f", "read_file f 1m", "pause x"),
        *("ioctl f 1 mmap_offset=0", "ioctl f 1 value=1 mmap_offset=0"),
        *("ioctl f 1 bytes=00 mmap_offset=16377", "ioctl f 1 bytes=00 mmap_offset=0 bits=16"),
    ],
)
def test_invalid_bytes_and_sizes_are_refused(run_script: RunScript, line: str) -> None:
    facts = run_script("open f /dev/null", line, status=2)
    assert facts[-1]["error"] == "usage"


def test_a_file_is_awaited_until_it_exists(run_script: RunScript, tmp_path: Path) -> None:
    path = tmp_path / "late"
    assert run_script(f"await {path} 0")[0]["error"] == "ENOENT"
    timer = threading.Timer(0.1, path.touch)
    timer.start()
    (fact, _) = run_script(f"await {path} 60000")
    timer.join()
    assert fact["errno"] == 0


def test_a_second_task_shares_the_memory_and_costs_none(run_script: RunScript) -> None:
    second = ["second map n anon len=1p", "join"]
    facts = run_script("map m anon len=2p", "status", "second write m 0 7", "join", "status",
                       "read m 0", *second, "munmap n", "status")  # fmt: skip
    by_step = {fact.get("step"): fact for fact in facts}
    assert by_step[3]["op"] == "write"
    assert by_step[6]["pages"][0]["content"] == "fill:0x7"
    sizes = [by_step[step]["fields"]["VmSize"] for step in (2, 5, 10)]
    assert len(set(sizes)) == 1


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("second", "second: the step is missing"),
        ("second foo", "'foo' is not a step"),
        ("join", "join without second"),
        ("gate f here 5", "unknown gate 'here'"),
    ],
)
def test_an_invalid_second_task_is_refused(run_script: RunScript, line: str, text: str) -> None:
    assert run_script("memfd f 1p", line, status=2)[-1]["text"] == text
