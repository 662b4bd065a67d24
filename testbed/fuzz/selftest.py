# SPDX-License-Identifier: GPL-2.0
"""A program as C: a test of the kernel's kselftest that needs nothing but mmap_stack.ko.

What every such test does is in reproducer/reproducer.h.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from testbed.fuzz.csteps import c_steps
from testbed.fuzz.cwords import c_address, c_bytes, c_flags, c_prot
from testbed.fuzz.judge import within_model
from testbed.fuzz.program import ROOM_PAGES, SPARE, Program, may_warn
from testbed.mmap.path import HookPath
from testbed.mmap.plan import NOTHING, Plan
from testbed.mmap.prediction import HAVE_CLOSE, HAVE_MAPPED, fails_late, failure, vm_ops

# Fields of struct mmap_testbed_plan that count only with a bit, and those with another name.
_OPTIONAL = frozenset(
    {
        *("pgoff", "private", "mapped_private", "action_offset", "action_size"),
        *("late_page_prot", "hide", "unchecked", "pfn", "bad_page", "scribble"),
    }
)
_BITS_ALONE = frozenset({"late_page_prot", "hide", "unchecked", "scribble"})
_RENAMED = {"private": "private_data"}
_ENUMS = {"page_prot": "PROT", "vm_ops": "OPS", "action": "ACTION", "replace": "REPLACE"}

_PAGE = 4096
_MOST_READ = 64


def c_test(program: Program, paths: Sequence[HookPath], about: str) -> str:
    """Return the C file of a test that runs a program on `paths`, the first one as reference."""
    steps = c_steps(program.steps)
    lines = [
        "// SPDX-License-Identifier: GPL-2.0",
        *_comment(about),
        '#include "reproducer.h"',
        "",
        f"static const bool may_warn = {_bool(may_warn(program))};",
        f"static const bool may_be_killed = {_bool(program.limited)};",
        "",
        "static const struct path paths[MAX_PATHS] = {",
        *(f'\t{{ "{path}", {{ {_nodes(path)} }} }},' for path in paths),
        "};",
        "",
        *steps.functions,
        "static void program(struct run *run)",
        "{",
        *(f"\t{line}" if line else "" for line in _body(program, paths, steps.body)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def c_makefile(name: str) -> str:
    """Return the Makefile, which also works outside of the kernel's tools/testing/selftests."""
    return "\n".join(
        [
            "# SPDX-License-Identifier: GPL-2.0",
            f"TEST_GEN_PROGS := {name}",
            "CFLAGS += -static -pthread -O2 -Wall",
            "",
            "ifneq ($(wildcard ../lib.mk),)",
            "include ../lib.mk",
            "else",
            "all: $(TEST_GEN_PROGS)",
            "endif",
            "",
        ]
    )


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _comment(text: str) -> Iterator[str]:
    yield "/*"
    yield from (f" * {line}".rstrip() for line in text.replace("*/", "* /").splitlines())
    yield " */"


def _nodes(path: HookPath) -> str:
    return ", ".join(f'"{node}"' for node in path.shape.nodes)


def _body(program: Program, paths: Sequence[HookPath], steps: list[str]) -> Iterator[str]:
    yield from _plan("plan", program.plan)
    yield from _plan("outer", program.outer)
    yield from _plan("spare", program.spare_plan)
    yield "struct mmap_testbed_counts top, hook, now;"
    yield "struct accounts had;"
    yield from ["struct view before;"] if any("&before" in line for line in steps) else []
    yield ""
    yield from _spare(program)
    yield f"open_path(run, &plan, {'NULL' if program.outer == NOTHING else '&outer'});"
    yield "top = count(run, run->top);"
    yield "hook = count(run, run->hook);"
    yield "had = take_accounts(run);"
    if program.room:
        room = "PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0"
        yield f"map(run, ROOM, -1, NULL, PAGES({ROOM_PAGES}), {room});"
    if program.spare_plan != NOTHING:
        yield "set_plan(run, run->spare, &spare);"
    yield from _call(program, paths)
    yield from steps
    for name in ("M", "N", "O", "P", "ROOM"):
        yield f"munmap(run->at[{name}].addr, run->at[{name}].len);"
    yield "now = count(run, run->hook);"
    yield "note_events(run, &hook, &now);"
    yield "compare_counts(run, &hook, &now);"
    yield "now = count(run, run->top);"
    yield "compare_counts(run, &top, &now);"
    yield "compare_accounts(run, &had);"


def _spare(program: Program) -> Iterator[str]:
    words = program.spare.split()
    if words[:1] == ["open"]:
        yield f'run->spare = open_node(run, "{words[2].removeprefix("/dev/")}");'
    elif words[:1] == ["memfd"]:
        yield f'run->spare = must(run, memfd_create("{SPARE}", 0), "memfd_create");'
        yield f'must(run, ftruncate(run->spare, {c_bytes(words[2])}), "ftruncate");'


def _call(program: Program, paths: Sequence[HookPath]) -> Iterator[str]:
    call = program.call
    if program.memory is not None:
        yield f"limit_memory(run, PAGES({program.memory}ULL));"
    if program.fails:
        yield f"fail_allocation(run, {program.fails});"
    where = f"{c_address(call.addr)}, PAGES({call.pages})"
    yield f"map(run, M, run->top, {where}, {c_prot(call.prot)}, {c_flags(call.flags)},"
    yield f"    PAGES({call.offset}ULL));"
    if within_model(program) and not program.fails and program.memory is None:
        yield from _expectations(program, paths)
    if program.plan.replace is None:
        yield "expect_mapped_file(run);"
    yield "if (run->at[M].addr)"
    yield "\tlook(run, M, 0);"
    if program.call.pages <= _MOST_READ:
        yield f"read_pages(run, M, 0, {call.pages - 1});"


def _expectations(program: Program, paths: Sequence[HookPath]) -> Iterator[str]:
    """What the model predicts for every one of the paths."""
    scenario = program.scenario
    errors = {failure(scenario, path, _PAGE) for path in paths}
    if len(errors) == 1:
        yield f"expect_errno(run, {errors.pop() or '0'});"
    stood = {_stood(program, path) for path in paths if failure(scenario, path, _PAGE)}
    if len(stood) == 1:
        yield "now = count(run, run->hook);"
        yield "if (!run->at[M].addr)"
        yield f"\texpect_closes(run, {int(stood.pop())}, &hook, &now);"
    plan, ops = program.plan, vm_ops(scenario)
    kept = plan.private if plan.private is not None else program.outer.private or 0
    late = ops in HAVE_MAPPED and plan.mapped_private is not None
    if all(path.shape.prepares for path in paths) or not late:
        private = (plan.mapped_private or 0) if late else kept
        yield "if (run->at[M].addr)"
        yield f"\texpect_private(run, {private:#x});"


def _stood(program: Program, path: HookPath) -> bool:
    """Whether the VMA stood before mmap failed, so that close() has to be called."""
    late = fails_late(program.scenario, path, _PAGE)
    return late and path.shape.prepares and vm_ops(program.scenario) in HAVE_CLOSE


def _plan(name: str, plan: Plan) -> Iterator[str]:
    if plan == NOTHING and name != "plan":
        return
    words = dict(word.split("=", 1) for word in plan.words())
    bits = [f"MMAP_TESTBED_{key.upper()}" for key in words if key in _OPTIONAL]
    yield f"const struct mmap_testbed_plan {name} = {{"
    yield "\t.size = sizeof(struct mmap_testbed_plan),"
    if bits:
        yield f"\t.fields = {' | '.join(bits)},"
    for key, value in words.items():
        if key in _ENUMS:
            yield f"\t.{key} = MMAP_TESTBED_{_ENUMS[key]}_{value.upper()},"
        elif key not in _BITS_ALONE:
            yield f"\t.{_RENAMED.get(key, key)} = {c_bytes(value)},"
    yield "};"
