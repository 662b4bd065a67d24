# SPDX-License-Identifier: GPL-2.0
"""Settings: a file, options that override it, and errors that name the nearest known word."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.arch import find_arch
from testbed.errors import SetupError
from testbed.flavour import FLAVOURS
from testbed.settings import KERNEL_CONFIG, AccelChoice, Settings, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "testbed.toml"


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_settings() == Settings()


def test_the_users_own_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "mmap-testbed" / "testbed.toml"
    file.parent.mkdir()
    file.write_text('kernel = "debian:7.2"')
    assert load_settings().kernel == "debian:7.2"


def test_an_option_overrides_the_file(file: Path) -> None:
    file.write_text('arch = ["arm64"]\naccel = "tcg"')
    settings = load_settings(file, {"accel": "kvm", "kernel": None})
    assert settings.arch == ("arm64",)
    assert settings.accel is AccelChoice.KVM
    assert settings.kernel == "debian"


def test_an_option_may_list_architectures_with_commas(file: Path) -> None:
    file.write_text("")
    assert load_settings(file, {"arch": "arm64, x86_64"}).arch == ("arm64", "x86_64")


def test_an_architecture_that_is_named_twice_is_run_once(file: Path) -> None:
    file.write_text("")
    assert load_settings(file, {"arch": "arm64,arm64"}).arch == ("arm64",)


def test_a_relative_path_is_relative_to_the_current_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('cache_dir = "cache"')
    monkeypatch.chdir(tmp_path)
    assert load_settings(file).cache_dir == tmp_path / "cache"


def test_a_path_may_begin_in_the_home_folder(file: Path) -> None:
    file.write_text('cache_dir = "~/elsewhere"')
    assert load_settings(file).cache_dir == Path.home() / "elsewhere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernal = 'debian'", "did you mean kernel"),
        ("arch = ['arm46']", "did you mean arm64"),
        ("arch = ['aarch64']", "did you mean arm64"),
        ("accel = 'xen'", "auto, kvm, tcg"),
        ("jobs = 'many'", "must be a number"),
        ("jobs = 0", "set it to 1 or more"),
        ("memory_mib = -1", "set it to 1 or more"),
        ("arch = []", "choose from x86_64, arm64"),
        ("flavour = 'debgu'", "did you mean debug"),
        ("flavour = '16k'", "x86_64 has no flavour 16k\nhint: give --arch arm64"),
        ("accept_expired = 'no'", "must be true or false"),
        ("kernel =", "not valid TOML"),
        ('qemu = "-device \'edu"', "No closing quotation\nhint: expected a list of words"),
        ("qemu = 5", "hint: expected a list of words for QEMU"),
        ('qemu = "-device \\u0000"', "a word has a NUL byte"),
        ("config = 5", "hint: expected a list of files"),
        ("cmdline = ['a']", "must be a string"),
        ('cmdline = "a\\nb"', "a kernel's command line cannot have"),
        ('cmdline = "\u00e4"', "a kernel's command line cannot have"),
    ],
)
def test_an_invalid_setting_is_an_error_with_a_hint(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(SetupError) as caught:
        load_settings(file)
    assert message in str(caught.value)


def test_the_users_words_for_qemu_are_split_as_a_shell_does(file: Path) -> None:
    file.write_text("")
    settings = load_settings(file, {"qemu": ("-device edu", "-smp", "'a b,c'")})
    assert settings.qemu == ("-device", "edu", "-smp", "a b,c")
    again = load_settings(file, {"qemu": settings.user_words[0].partition("=")[2]})
    assert again.qemu == settings.qemu


def test_a_repeatable_option_that_is_absent_leaves_the_file_s_value(file: Path) -> None:
    file.write_text('config = ["a,b.config"]\nqemu = "-device edu,addr=5"\ncmdline = " nokaslr"')
    settings = load_settings(file, {"config": (), "qemu": (), "cmdline": None})
    assert settings.config == (Path("a,b.config").absolute(),)
    assert settings.qemu == ("-device", "edu,addr=5")
    assert settings.cmdline == "nokaslr"
    assert load_settings(file, {"config": ("b", "c")}).config == (
        Path("b").absolute(),
        Path("c").absolute(),
    )


def test_a_flavour_may_need_more_memory_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slowness = 1.0
    monkeypatch.setattr("testbed.settings.host_slowness", lambda: slowness)
    base = load_settings(options={"arch": "arm64"})
    debug = load_settings(options={"arch": "arm64", "flavour": "debug"})
    assert (base.vm_memory_mib, base.boot_seconds) == (base.memory_mib, base.boot_timeout)
    assert debug.vm_memory_mib > base.vm_memory_mib
    assert debug.boot_seconds > base.boot_seconds
    slowness = 12.5
    assert base.boot_seconds == 12.5 * base.boot_timeout


def test_the_flavours_use_exactly_the_fragments_that_exist() -> None:
    used = {name for flavour in FLAVOURS.values() for name in flavour.fragments}
    assert used == {file.name for file in KERNEL_CONFIG.glob("flavour-*.config")}


def test_a_named_file_that_is_missing_is_an_error(file: Path) -> None:
    with pytest.raises(SetupError, match="cannot read the settings file"):
        load_settings(file)


def test_an_unknown_architecture_lists_the_known_ones() -> None:
    with pytest.raises(SetupError, match="choose from x86_64, arm64"):
        find_arch("zzz")
