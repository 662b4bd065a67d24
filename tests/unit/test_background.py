# SPDX-License-Identifier: GPL-2.0
"""Further kernels are built while the first one is prepared and tested."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from notes import Notes
from waiting import wait_for_line, wait_until

from testbed.arch import ARCHES
from testbed.context import Context
from testbed.errors import BuildError, InfraError
from testbed.kernel.series import Series
from testbed.lab import background, lab, prepared
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.settings import load_settings
from testbed.suite import plugin
from testbed.suite.continued import begun
from testbed.suite.selection import SELECTION, Selection

_ENDLESS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


class Site:
    """What happens, in order. Kernels in `built` are in the cache."""

    def __init__(self, built: Sequence[str] = (), broken: Sequence[str] = ()) -> None:
        self.events: list[str] = []
        self.built = set(built)
        self.broken = set(broken)

    def prepare_kernel(
        self, arch: str, *_: object, when_compiled: Callable[[], None], **__: object
    ) -> PreparedKernel:
        self.events.append(f"compile {arch}")
        if arch in self.broken:
            raise BuildError("mm/util.c:1: error")
        when_compiled()
        self.events.append(f"try KVM for {arch}")
        return cast(PreparedKernel, SimpleNamespace(arch=SimpleNamespace(name=arch)))

    @contextmanager
    def built_in_background(
        self, _: Context, folder: Path, arches: Sequence[str]
    ) -> Iterator[None]:
        assert folder.is_dir()
        self.events.append(f"begin {','.join(arches)}")
        yield
        self.events.append(f"end {','.join(arches)}")


@pytest.fixture
def open_lab(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> Callable[[Site], Lab]:
    def opened(site: Site) -> Lab:
        monkeypatch.setattr(lab, "prepare_kernel", site.prepare_kernel)
        monkeypatch.setattr(lab, "built_in_background", site.built_in_background)
        monkeypatch.setattr(Lab, "is_built", lambda _, arch: arch in site.built)
        return Lab(ctx, Series())

    return opened


FIRST, SECOND = "x86_64", "arm64"


def test_the_second_kernel_is_built_as_soon_as_the_first_is_compiled(
    open_lab: Callable[[Site], Lab],
) -> None:
    site = Site()
    with closing(open_lab(site)) as own:
        assert own.prepare_ready() == (SECOND,)
        assert own.prepare_ready() == (SECOND,)  # still, and it is not begun again
        assert site.events == [f"compile {FIRST}", f"begin {SECOND}", f"try KVM for {FIRST}"]
    assert site.events[3:] == [f"end {SECOND}"]


def test_a_kernel_is_compiled_before_kvm_is_tried_with_it(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def logs(name: str) -> Callable[..., Any]:
        def called(*_: object) -> Any:
            events.append(name)
            return SimpleNamespace(absent={})

        return called

    builder = SimpleNamespace(kernel=logs("compile"))
    monkeypatch.setattr(prepared, "request_kernel", lambda *_: SimpleNamespace(arch=ARCHES[FIRST]))
    monkeypatch.setattr(prepared, "open_builder", lambda *_: nullcontext(builder))
    for name in ("build_guest_side", "build_image", "choose_accel", "build_disks", "qemu_version"):
        monkeypatch.setattr(prepared, name, logs(name))
    prepared.prepare_kernel(
        FIRST, Series(), ctx, when_compiled=lambda: events.append("begin the next")
    )
    assert events[:3] == ["compile", "begin the next", "build_guest_side"]
    assert "choose_accel" in events[3:]


def test_a_kernel_that_is_built_or_needed_is_prepared_at_once(
    open_lab: Callable[[Site], Lab],
) -> None:
    for site, needed in ((Site(built=[SECOND]), []), (Site(), [SECOND])):
        with closing(open_lab(site)) as own:
            assert own.prepare_ready(needed) == ()
            assert not own.started
        assert [event for event in site.events if event.startswith("compile")] == [
            f"compile {FIRST}",
            f"compile {SECOND}",
        ]


def test_the_second_kernel_is_built_even_if_the_first_does_not_compile(
    open_lab: Callable[[Site], Lab],
) -> None:
    site = Site(broken=[FIRST])
    with closing(open_lab(site)) as own:
        assert own.prepare_ready() == (SECOND,)
    assert site.events == [f"compile {FIRST}", f"begin {SECOND}", f"end {SECOND}"]


def test_a_run_whose_host_fails_meanwhile_leaves_no_folder(
    open_lab: Callable[[Site], Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site()
    own = open_lab(site)

    def fail(arch: str, *_: object, when_compiled: Callable[[], None], **__: object) -> None:
        when_compiled()
        (own.run_dir / "build.toml").touch()
        (own.run_dir / "build.log").touch()
        raise InfraError("the mirror does not answer")

    monkeypatch.setattr(lab, "prepare_kernel", fail)
    with closing(own), pytest.raises(InfraError), begun(own, {}, ["testbed", "run"], None):
        pass
    assert site.events == [f"begin {SECOND}", f"end {SECOND}"]
    assert list(own.ctx.settings.results_dir.iterdir()) == []


def test_tests_do_not_wait_for_a_kernel_that_is_built_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugin, "uncaptured", lambda config: nullcontext())
    ready: list[str] = []
    own = SimpleNamespace(
        ctx=SimpleNamespace(settings=SimpleNamespace(arch=(FIRST, SECOND))),
        prepared=ready.append,
        all_prepared=list,
    )
    session = SimpleNamespace(
        items=[
            SimpleNamespace(callspec=SimpleNamespace(params={"arch": arch}))
            for arch in (FIRST, SECOND)
        ],
        config=SimpleNamespace(
            stash={plugin.LAB: own, SELECTION: Selection(late=(SECOND,))},
            option=SimpleNamespace(collectonly=False),
            pluginmanager=SimpleNamespace(getplugin=lambda name: None),
        ),
    )
    plugin.pytest_runtestloop(cast(Any, session))
    assert ready == [FIRST]


def test_a_build_gets_the_settings_of_its_architectures(ctx: Context, tmp_path: Path) -> None:
    settings = dataclasses.replace(ctx.settings, kernel=f"tree:{tmp_path / 'none'}")
    own = dataclasses.replace(ctx, settings=settings)
    log = tmp_path / "build.log"
    with background.built_in_background(own, tmp_path, [SECOND]):
        sent = load_settings(tmp_path / "build.toml")
        assert sent == dataclasses.replace(settings, arch=(SECOND,))
        said = str(tmp_path / "none")
        wait_until(
            lambda: said in log.read_text(), f"what the command says of {said}", log.read_text
        )
    assert isinstance(ctx.progress, Notes)
    assert ctx.progress.texts == [f"{SECOND}: built in the background, see {log}"]


def test_a_build_ends_with_the_block(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_BUILD", _ENDLESS)
    with background.built_in_background(ctx, tmp_path, [SECOND]):
        pid = int(wait_for_line(tmp_path / "build.log"))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
