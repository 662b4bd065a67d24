# SPDX-License-Identifier: GPL-2.0
"""Fragments and configurations as values, and explanations for symbols that did not survive."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.arch import ARCHES
from testbed.errors import ConfigError, SetupError
from testbed.kernel.configure import read_fragments
from testbed.kernel.depends import Definitions, conjuncts, evaluate, explain, read_definitions
from testbed.kernel.kconfig import (
    Asked,
    canonical,
    fragment_text,
    lost,
    merge_fragments,
    parse_config,
    parse_fragment,
)
from testbed.settings import CHECKOUT

KERNEL_CONFIG = CHECKOUT / "kernel-config"


def asked(*lines: str) -> dict[str, Asked]:
    return merge_fragments([parse_fragment("\n".join(lines), "base.config")])


def test_a_fragment_consists_of_comments_and_symbols() -> None:
    text = "# Why.\n\nCONFIG_SMP=y\nCONFIG_NR_CPUS=8\n# CONFIG_RD_GZIP is not set\n"
    assert parse_fragment(text, "base.config") == [
        Asked("SMP", "y", "base.config:3"),
        Asked("NR_CPUS", "8", "base.config:4"),
        Asked("RD_GZIP", "n", "base.config:5"),
    ]


def test_a_string_keeps_its_quotes() -> None:
    (only,) = parse_fragment('CONFIG_CMDLINE="a=b # c"', "f")
    assert only.value == '"a=b # c"'


@pytest.mark.parametrize("line", ["SMP=y", "CONFIG_SMP", "CONFIG_SMP y", "config SMP"])
def test_a_malformed_line_is_named(line: str) -> None:
    with pytest.raises(ConfigError, match=r"base\.config:2: not a configuration line") as caught:
        parse_fragment(f"CONFIG_MMU=y\n{line}\n", "base.config")
    assert line in caught.value.message


def test_both_lines_of_contradicting_fragments_are_named() -> None:
    base = parse_fragment("CONFIG_SMP=y\nCONFIG_KSM=y\n", "base.config")
    flavour = parse_fragment("CONFIG_SMP=y\n# CONFIG_KSM is not set\n", "small.config")
    with pytest.raises(ConfigError) as caught:
        merge_fragments([base, flavour])
    assert "CONFIG_KSM=y (base.config:2)" in caught.value.message
    assert "CONFIG_KSM=n (small.config:2)" in caught.value.message
    assert "SMP" not in caught.value.message


def test_a_fragment_of_one_kernel_takes_precedence(tmp_path: Path) -> None:
    base, flavour = tmp_path / "base.config", tmp_path / "flavour.config"
    base.write_text("CONFIG_KSM=m\nCONFIG_SMP=y\n")
    flavour.write_text("CONFIG_KSM=y\n# CONFIG_SMP is not set\n")
    merged = read_fragments([base], [flavour])
    assert {name: ask.value for name, ask in merged.items()} == {"KSM": "y", "SMP": "n"}
    with pytest.raises(ConfigError, match="contradict"):
        read_fragments([base, flavour])


def test_the_users_fragments_have_the_last_word(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.config" for name in ("base", "flavour", "one", "two")]
    texts = ("KSM=m", "KSM=y", "KSM=n", "SMP=y")
    for file, text in zip(files, texts, strict=True):
        file.write_text(f"CONFIG_{text}\n")
    base, flavour, *own = files
    merged = read_fragments([base], [flavour], own)
    assert {name: ask.value for name, ask in merged.items()} == {"KSM": "n", "SMP": "y"}
    files[3].write_text("CONFIG_KSM=y\n")
    with pytest.raises(ConfigError, match=r"contradict.*one\.config.*two\.config"):
        read_fragments([base], [flavour], own)


def test_the_order_of_requests_does_not_affect_the_text() -> None:
    one = asked("CONFIG_SMP=y", "CONFIG_KSM=n")
    other = asked("# CONFIG_KSM is not set", "CONFIG_SMP=y")
    assert fragment_text(one) == fragment_text(other)
    assert fragment_text(one) == "# CONFIG_KSM is not set\nCONFIG_SMP=y\n"


def test_order_and_comments_do_not_affect_equality_of_configurations() -> None:
    one = "# Linux 7.3\nCONFIG_SMP=y\n# CONFIG_KSM is not set\nCONFIG_HZ=100\n"
    other = "CONFIG_HZ=100\nCONFIG_SMP=y\n"
    assert canonical(parse_config(one)) == canonical(parse_config(other))


def test_symbols_that_did_not_survive_are_found() -> None:
    wanted = asked("CONFIG_A=y", "CONFIG_B=m", "CONFIG_C=n", "CONFIG_D=n", "CONFIG_E=8")
    final = parse_config("CONFIG_B=y\nCONFIG_C=y\nCONFIG_E=8\n")
    assert [ask.name for ask in lost(wanted.values(), final)] == ["A", "B", "C"]


def test_a_missing_fragment_is_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"cannot read .*nosuch\.config"):
        read_fragments([tmp_path / "nosuch.config"])


@pytest.mark.parametrize("target", ARCHES)
def test_our_own_fragments_do_not_contradict_each_other(target: str) -> None:
    files = [KERNEL_CONFIG / name for name in ("base.config", f"{target}.config")]
    merged = read_fragments(files, [KERNEL_CONFIG / "peer.config"])
    assert merged["OVERLAY_FS"].value == "y"
    assert merged["MULTIUSER"].origin.startswith("kernel-config/base.config:")


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return read_definitions(Path(__file__).parent / "data" / "kconfig", "x86")


def test_menus_and_if_blocks_are_dependencies_of_their_entries(definitions: Definitions) -> None:
    (virtio_net,) = definitions.symbols["VIRTIO_NET"]
    assert virtio_net.depends == ["NET", "NET_CORE", "VIRTIO && (PCI ||  MMIO)"]
    (tun,) = definitions.symbols["TUN"]
    assert tun.depends == ["NET", "NET_CORE"]
    assert definitions.symbols["CRC"][0].depends == []


def test_the_architectures_own_files_are_read(definitions: Definitions) -> None:
    assert definitions.symbols["HPET"][0].where == "drivers/x86/Kconfig:1"


VALUES = {"NET": "y", "VIRTIO": "m", "PCI": "y", "HZ_100": "y", "BLOCK": "y", "NR": "8"}


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        ("VIRTIO_NET=m", "it needs NET_CORE (Kconfig:16)"),
        ("VIRTIO_NET=y", "it needs NET_CORE and VIRTIO (Kconfig:16)"),
        ("VIRTIO_NTE=y", "this tree has no such symbol; it has VIRTIO_NET"),
        ("CRC=y", "it has no prompt: VIRTIO_NET would select it"),
        ("BLOCK=n", "it can be set only with EXPERT (Kconfig:34)"),
        ("HZ_1000=y", "it is part of a choice, and another symbol is set (Kconfig:44)"),
        ("MODULES=y", "its dependencies at Kconfig:3 seem to be met"),
    ],
)
def test_the_reason_is_named(definitions: Definitions, ask: str, reason: str) -> None:
    name, value = ask.split("=")
    assert explain(Asked(name, value, "base.config:1"), VALUES, definitions) == reason


def test_the_selector_of_an_unwanted_symbol_is_named(definitions: Definitions) -> None:
    values = {**VALUES, "VIRTIO_NET": "y", "CRC": "y"}
    assert explain(Asked("CRC", "n", "f:1"), values, definitions) == "VIRTIO_NET selects it"


@pytest.mark.parametrize(
    ("expression", "level"),
    [
        ("NET", 2),
        ("VIRTIO", 1),
        ("NOSUCH", 0),
        ("NET && VIRTIO", 1),
        ("NOSUCH || VIRTIO", 1),
        ("!NET", 0),
        ("!VIRTIO", 1),
        ("!(NET && NOSUCH)", 2),
        ("NET = y && NR != 9", 2),
        ("NR >= 8 && NR < 9", 2),
        ("NET=n", 0),
        ("$(cc-option,-mfoo) && NET", 2),
        ('"$(ARCH)" = "y"', 0),
    ],
)
def test_expressions_have_the_levels_that_kconfig_gives_them(expression: str, level: int) -> None:
    assert evaluate(expression, VALUES) == level


def test_an_expression_is_split_into_parts_that_must_all_hold() -> None:
    assert conjuncts("A && (B || C) && !D") == ["A", "(B || C)", "!D"]
    assert conjuncts("A && B || C") == ["A && B || C"]
