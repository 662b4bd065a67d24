# SPDX-License-Identifier: GPL-2.0
"""Registers, stacks and symbols of a silent guest become a call trace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from testbed.guest.trace import callers
from testbed.process import check_output, run
from testbed.vm.backtrace import trace_lines
from testbed.vm.registers import Processor, parse_registers, parse_words
from testbed.vm.symbols import SymbolTable, map_functions, map_range, module_functions

# From QEMU 7.2; the lines behind the general registers are shortened.
X86 = """\
CPU#0\r
RAX=0000000000000000 RBX=ff110000026969c0 RCX=ff1100000259cc00 RDX=0000000000000000\r
RSI=ffffffffa020307c RDI=ff11000002430cb0 RBP=ff110000039b7a48 RSP=ff110000039b7a20\r
R8 =ff110000039b7a70 R9 =ff110000026e3f00 R10=00007f4e65e77fff R11=ff110000039b79d8\r
R12=ff11000002430cb0 R13=0000000000000000 R14=ff110000026969c0 R15=ff110000039b7a70\r
RIP=ffffffffa0000003 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\r
ES =0000 0000000000000000 ffffffff 00c00000\r
XMM00=0000000000000000 0000000000000000\r
CPU#1\r
RAX=0000000000000001 RBX=0000000000000002 RCX=0000000000000000 RDX=0000000000000000\r
RIP=0000000000401003 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\r
"""

ARM64 = """\
CPU#0
 PC=ffff800078910008 X00=0000000000000000 X01=ffff800078914158
X02=0000000000000000 X03=0000000000000000 X04=0000808000000000
X29=ffff800080abb920 X30=ffff800078910448  SP=ffff800080abb920
PSTATE=034000c5 ---- EL1h  SVCR=00000000 --  BTYPE=0     FPCR=00000000 FPSR=00000000
"""

MAP = """\
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81001000 t do_mmap
ffffffff81002000 T never_returns
ffffffff81002100 t vm_mmap_pgoff
ffffffff81003000 D not_a_function
ffffffff81003000 R _etext
ffffffff81004000 T __static_call_text_end
ffffffff81900000 r __end_rodata
"""

STACK = 0xFFFFC90000010000


def cpu(pc: int = 0xFFFFFFFF81001004, *, fp: int = STACK + 0x20, link: int = 0) -> Processor:
    return Processor(
        number=0,
        text="",
        pc=pc,
        sp=STACK,
        fp=fp,
        link=link,
        in_user_mode=False,
        interrupts_off=True,
    )


def test_registers_of_x86() -> None:
    kernel, user = parse_registers(X86)
    assert (kernel.number, kernel.pc) == (0, 0xFFFFFFFFA0000003)
    assert (kernel.sp, kernel.fp) == (0xFF110000039B7A20, 0xFF110000039B7A48)
    assert kernel.summary == "CPU 0 is in the kernel, interrupts off"
    assert user.summary == "CPU 1 is in a user program, interrupts on"
    assert kernel.text.startswith("RAX=")
    assert kernel.text.endswith("HLT=0")


def test_registers_of_arm64() -> None:
    (kernel,) = parse_registers(ARM64)
    assert (kernel.pc, kernel.link) == (0xFFFF800078910008, 0xFFFF800078910448)
    assert kernel.sp == kernel.fp == 0xFFFF800080ABB920
    assert kernel.summary == "CPU 0 is in the kernel, interrupts off"
    (user,) = parse_registers(ARM64.replace("EL1h", "EL0t").replace("034000c5", "00001000"))
    assert user.summary == "CPU 0 is in a user program, interrupts on"


@pytest.mark.parametrize("text", ["", "unknown command: 'info registers'", "CPU#0\nno registers\n"])
def test_other_text_has_no_registers(text: str) -> None:
    assert list(parse_registers(text)) == []


def test_words_of_memory_as_far_as_it_can_be_read() -> None:
    shown = (
        "ff110000039b7ff0: 0x0000000000000001 0xffffffff81001004\r\n"
        "ff110000039b8000: Cannot access memory\r\n"
    )
    assert parse_words(shown) == {
        0xFF110000039B7FF0: 1,
        0xFF110000039B7FF8: 0xFFFFFFFF81001004,
    }


def test_a_function_reaches_to_the_next_one_and_none_behind_the_end() -> None:
    table = SymbolTable(map_functions(MAP))
    assert table.find(0xFFFFFFFF81001004) == "do_mmap+0x4/0x1000"
    assert table.find(0xFFFFFFFF81002FFF) == "vm_mmap_pgoff+0xeff/0xf00"
    for address in (0, 0xFFFFFFFF80FFFFFF, 0xFFFFFFFF81003000, 0xFFFFFFFF81004004):
        assert table.find(address) == ""
    assert SymbolTable().find(1) == ""


def test_the_caller_of_a_function_that_never_returns_is_not_the_next_function() -> None:
    table = SymbolTable(map_functions(MAP))
    assert table.find_caller(0xFFFFFFFF81002100) == "never_returns+0x100/0x100"


def test_frames_are_certain_and_other_addresses_are_guesses() -> None:
    stack = {
        STACK + 0x00: 0xFFFFFFFF81001234,  # left behind by an earlier call
        STACK + 0x08: 0x1234,
        STACK + 0x20: STACK + 0x40,
        STACK + 0x28: 0xFFFFFFFF81001010,
        STACK + 0x40: 0,  # the last frame
        STACK + 0x48: 0xFFFFFFFF81002200,
        STACK + 0x50: 0xFFFFFFFF81000010,
    }
    assert trace_lines(cpu(), stack, SymbolTable(map_functions(MAP))) == [
        " do_mmap+0x4/0x1000",
        " ? do_mmap+0x234/0x1000",
        " do_mmap+0x10/0x1000",
        " vm_mmap_pgoff+0x100/0xf00",
        " ? _text+0x10/0x1000",
    ]


def test_a_chain_of_frames_that_leads_nowhere_ends() -> None:
    table = SymbolTable(map_functions(MAP))
    loop = {STACK + 0x20: STACK + 0x20, STACK + 0x28: 0xFFFFFFFF81001010}
    assert trace_lines(cpu(), loop, table)[1:] == [" do_mmap+0x10/0x1000"]
    garbage = {STACK + 0x20: 0x5A5A, STACK + 0x28: 0x5A5A}
    assert trace_lines(cpu(0x5A5A), garbage, table) == [" 0x5a5a: no known function"]


def test_a_leaf_function_of_arm64_has_its_caller_in_the_link_register() -> None:
    table = SymbolTable(map_functions(MAP))
    lines = trace_lines(cpu(link=0xFFFFFFFF81002200), {}, table)
    assert lines == [" do_mmap+0x4/0x1000", " ? vm_mmap_pgoff+0x100/0xf00"]


def test_the_functions_of_a_module_are_those_of_its_text(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text(
        "int data;\nint hook(void) { return data; }\n"
        '__attribute__((section(".init.text"))) int init(void) { return 1; }\n'
    )
    assert shutil.which("gcc")
    run(["gcc", "-c", "-O1", "-o", tmp_path / "a.o", source])
    functions = list(module_functions((tmp_path / "a.o").read_bytes(), "drv", 0xFFFFFFFFA0000000))
    assert [each.name for each in functions] == ["hook"]
    size = int(check_output(["nm", "-S", tmp_path / "a.o"]).split("hook")[0].split()[-2], 16)
    assert SymbolTable(functions).find(0xFFFFFFFFA0000001) == f"hook+0x1/{size:#x} [drv]"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[<0>] down_read+0x38/0x90\n[<0>] hook+0x1/0x2 [drv]\n\nx", "down_read < hook [drv]"),
        ("RIP=1\nCall Trace (? marks a guess):\n a+0x1/0x2\n ? b.part.0+0x1/0x2\n", "a < ? b"),
        (" 0x5a5a: no known function\n", ""),
        ("".join(f" f{number}+0x1/0x2\n" for number in range(9)), "f0 < f1 < f2 < f3 < f4"),
        ("", ""),
    ],
)
def test_the_callers_of_a_trace_in_one_line(text: str, line: str) -> None:
    assert callers(text) == line


def test_the_idle_code_is_found_in_the_map() -> None:
    text = (
        "ffff8000804c2894 T __cpuidle_text_start\n"
        "ffff8000804c2894 T cpu_do_idle\n"
        "ffff8000804c2970 T __cpuidle_text_end\n"
    )
    assert map_range(text) == range(0xFFFF8000804C2894, 0xFFFF8000804C2970)
    assert not map_range(MAP)
