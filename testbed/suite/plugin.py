# SPDX-License-Identifier: GPL-2.0
"""The pytest plugin: options, fixtures, and the verdict on each case.

A test requests the fixtures that it needs: `kernel` (built), `guest` (booted, healthy), `stack`
or `ring` (the probe in a guest with that module loaded), `path` (one of the paths to a hook).
A test that depends on `arch` runs once per architecture.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from testbed.context import Context
from testbed.errors import KernelSplat, SetupError, TestbedError, TreeError
from testbed.flavour import FLAVOURS
from testbed.kernel.build import Kernel
from testbed.kernel.modules import GuestSide
from testbed.kernel.revision import at_base
from testbed.kernel.series import load_series
from testbed.lab.guest import Guest
from testbed.lab.keep import keep, refuse_without_terminal
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import MODULE as STACK_MODULE
from testbed.mmap.path import RING_MODULE, HookPath
from testbed.mmap.probe import Prober
from testbed.results.model import Status
from testbed.settings import CHECKOUT, AccelChoice, Isolation, Toolchain, load_settings
from testbed.suite import interrupts
from testbed.suite.batch import BATCH, Wish, kind_of, split, uses_guest, wish_of
from testbed.suite.batch_runner import BatchRunner
from testbed.suite.collected import COLLECTED, Collected
from testbed.suite.confirm import ALONE
from testbed.suite.item import arch_of, parameters
from testbed.suite.pytest_internals import uncaptured
from testbed.suite.recorder import Recorder
from testbed.suite.selection import SELECTION, Selection, left_out_line, selected
from testbed.suite.verdict import Defect, Verdict, judge, judge_defect
from testbed.suite.xdist import Keeper, Worker, is_worker, received
from testbed.terminal import make_progress

LAB = pytest.StashKey[Lab]()
GUEST = pytest.StashKey[Guest]()
RECORDER = pytest.StashKey[Recorder]()
UNEXPECTED = pytest.StashKey[Verdict]()

# The number of guests like that of a test which tests behind it will need.
_LATER = pytest.StashKey[int]()

_OPTIONS = (
    *("arch", "kernel", "series", "flavour", "isolation"),
    *("config", "cmdline", "qemu", "accel", "toolchain", "jobs", "workers", "results_dir"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mmap testbed")
    group.addoption("--arch", help="architectures, separated by commas (default: all)")
    group.addoption("--kernel", help="debian, debian:X.Y, tree:PATH or tarball:PATH")
    group.addoption("--series", help="patches to apply, as for `testbed run --series`")
    group.addoption("--flavour", help=f"{', '.join(FLAVOURS)} (default: base)")
    group.addoption("--config", action="append", help="a configuration fragment; repeatable")
    group.addoption("--cmdline", help="more words for the kernel's command line")
    group.addoption(
        "--qemu", action="append", help="words for QEMU, as in --qemu='-device edu'; repeatable"
    )
    group.addoption("--isolation", choices=[*Isolation], help="isolation of tests (default: batch)")
    group.addoption("--accel", choices=[*AccelChoice], help="accelerator (default: auto)")
    group.addoption("--toolchain", choices=[*Toolchain], help="compiler (default: gcc)")
    group.addoption("--jobs", type=int, help="compiler jobs (default: one per CPU)")
    group.addoption("--workers", type=int, help="processes that run tests, for -n auto")
    group.addoption("--results", dest="results_dir", type=Path, help="folder for results")
    group.addoption(
        "--keep", action="store_true", help="keep the VM of a failed test until you press Enter"
    )
    group.addoption("--settings", dest="settings_file", type=Path, help="a TOML settings file")


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "arches(*names): only on these architectures",
        "paths(*paths): only on these paths to a hook",
        "kconfig(symbol): skip if the kernel is built without the symbol",
        "isolation(choice): at least this isolation: shared, batch, clone, boot",
        "module(*names): skip if the kernel lacks something that these modules need",
        "last: run after all other tests on the same architecture",
        "reaches(*hooks, by): runs these hooks of the kernel (FILE:OBJECT), "
        "through the stack `by` if the test has no path",
        "guarantee(*numbers): tests these guarantees (testbed/mmap/guarantees.py)",
        "defect(name, symptom, recorded, fixed): an open kernel defect. `symptom` is a regular "
        "expression, searched in the failure; `recorded` is the first and the last version that "
        "showed it: the test must show it in this range; `fixed` is the first version with a fix",
    ):
        config.addinivalue_line("markers", line)
    if config.option.keep:
        _check_keep(config)
    if is_worker(config):
        config.stash[LAB], config.stash[SELECTION] = received(config)
    elif LAB not in config.stash:
        config.stash[LAB], config.stash[SELECTION] = _make_lab(config), Selection()
    lab, selection = config.stash[LAB], config.stash[SELECTION]
    command = shlex.join(["pytest", *_arguments(config)])
    recorder = config.stash[RECORDER] = Recorder(lab, command)
    keeper = Worker(recorder, config) if is_worker(config) else Keeper(recorder, selection)
    config.pluginmanager.register(keeper, "mmap testbed's results")
    config.pluginmanager.register(interrupts, "mmap testbed's interrupts")
    config.pluginmanager.register(BatchRunner(lab, selection), "mmap testbed's batches")


def _check_keep(config: pytest.Config) -> None:
    if is_worker(config) or getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--keep waits for you at a failed test: do not use -n with it")
    try:
        refuse_without_terminal()
    except SetupError as error:
        raise pytest.UsageError(str(error)) from error


def _arguments(config: pytest.Config) -> tuple[str, ...]:
    return tuple(str(word) for word in config.invocation_params.args)


def _make_lab(config: pytest.Config) -> Lab:
    options = {name: config.getoption(name) for name in _OPTIONS}
    try:
        settings = load_settings(config.getoption("settings_file"), options)
        series = load_series(settings.series, settings.kernel)
        settings = dataclasses.replace(settings, kernel=at_base(settings.kernel, series.base))
    except SetupError as error:
        raise pytest.UsageError(str(error)) from error
    return Lab(Context.of(settings, make_progress(Console())), series)


def pytest_unconfigure(config: pytest.Config) -> None:
    lab = config.stash.get(LAB, None)
    if lab is not None:
        lab.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "arch" in metafunc.fixturenames:
        arches = metafunc.config.stash[LAB].ctx.settings.arch
        marker = metafunc.definition.get_closest_marker("arches")
        wanted = [name for name in arches if marker is None or name in marker.args]
        metafunc.parametrize("arch", wanted, scope="session")
    # Without `arch` the parameter `path` is something else. A test whose paths depend on its other
    # parameters parametrizes `path` itself.
    if {"arch", "path"} <= set(metafunc.fixturenames) and not _parametrizes(metafunc, "path"):
        marker = metafunc.definition.get_closest_marker("paths")
        paths = list(HookPath) if marker is None else [HookPath(path) for path in marker.args]
        metafunc.parametrize("path", paths, ids=str)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop tests of other architectures; put the rest in order, and into batches."""
    items[:] = [item for item in items if not _lacks_its_arch(item)]
    tests = [item.nodeid for item in items]
    selection = config.stash[SELECTION]
    chosen = selected(items, selection)
    note = left_out_line(items, chosen) if selection.quick else ""
    items[:] = chosen
    isolation = config.stash[LAB].ctx.settings.isolation
    batches = split([(item, kind_of(item, isolation)) for item in items])
    batches.sort(key=lambda batch: arch_of(batch[0]) in selection.late)
    if isolation is Isolation.BATCH or is_worker(config):
        items[:] = [item for batch in batches for item in batch]
    for number, batch in enumerate(batches):
        for item in batch:
            item.stash[BATCH] = number
    names = [[item.nodeid for item in batch] for batch in batches]
    config.stash[COLLECTED] = config.stash[RECORDER].collected = Collected(tests, names, note)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count for each test the guests that tests behind it will need."""
    isolation = session.config.stash[LAB].ctx.settings.isolation
    guests: dict[Wish, set[object]] = {}
    for item in reversed(session.items):
        if uses_guest(item):
            wish = wish_of(item, isolation)
            behind = guests.setdefault(wish, set())
            guest = item.stash[BATCH] if wish.isolation is Isolation.BATCH else item
            item.stash[_LATER] = len(behind - {guest})
            behind.add(guest)


def _lacks_its_arch(item: pytest.Item) -> bool:
    """Whether the session includes none of the architectures of a test.

    pytest gives such a test the parameter NOTSET.
    """
    return not isinstance(parameters(item).get("arch", ""), str)


def _parametrizes(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether a test parametrizes `name` itself."""
    for marker in metafunc.definition.iter_markers("parametrize"):
        names = marker.args[0]
        if name in (names.replace(",", " ").split() if isinstance(names, str) else names):
            return True
    return False


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Build before the first test, where the user sees the progress: tests' output is captured.

    A kernel that is built in the background is prepared by the first test that needs it.
    """
    arches = {parameters(item).get("arch") for item in session.items}
    arches -= set(session.config.stash[SELECTION].late)
    if session.config.option.collectonly or not arches - {None}:
        return
    lab = session.config.stash[LAB]
    with uncaptured(session.config):
        for arch in (name for name in lab.ctx.settings.arch if name in arches):
            try:
                lab.prepared(arch)
            except TreeError:
                continue  # a finding: the test of the build raises it again
            except TestbedError as error:
                raise pytest.UsageError(str(error)) from error
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None:
        reporter.write_line("")
        for line in _kernel_lines(lab):
            reporter.write_line(line)


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Lab:
    """The session's lab."""
    return pytestconfig.stash[LAB]


@pytest.fixture(scope="session")
def prepared(lab: Lab, arch: str) -> PreparedKernel:
    """The kernel, image and accelerator of one architecture, built on first use."""
    return lab.prepared(arch)


@pytest.fixture(scope="session")
def kernel(prepared: PreparedKernel) -> Kernel:
    """The kernel under test."""
    return prepared.kernel


@pytest.fixture
def guest(request: pytest.FixtureRequest, lab: Lab, arch: str) -> Iterator[Guest]:
    """A healthy guest; the testbed watches its kernel log until the test ends."""
    alone = request.node.stash.get(ALONE, False)
    wish = wish_of(request.node, Isolation.CLONE if alone else lab.ctx.settings.isolation)
    _skip_unless_configured(request.node, lab.prepared(arch).kernel)
    skip_unless_built(request.node, lab.prepared(arch).guest_side)
    later = 0 if alone else request.node.stash[_LATER]
    user = request.node.nodeid
    with lab.guest(arch, wish.isolation, disks=wish.disks, later=later, user=user) as guest:
        guest.keeps_modules = wish.isolation is Isolation.BATCH
        guest.begin(request.node.name)
        request.node.stash[GUEST] = guest
        yield guest
        if request.config.option.keep and (verdict := request.node.stash.get(UNEXPECTED, None)):
            reason = verdict.reason.partition("\n")[0]
            with uncaptured(request.config):
                keep(guest, f"{request.node.name}: {verdict.status}: {reason}", lab.ctx.progress)


@pytest.fixture
def stack(guest: Guest) -> Prober:
    """The probe in a guest with mmap_stack.ko loaded."""
    guest.load_shared(STACK_MODULE)
    return guest.prober


@pytest.fixture
def ring(guest: Guest) -> Prober:
    """The probe in a guest with mmap_ring.ko loaded."""
    guest.load_shared(RING_MODULE)
    return guest.prober


def _skip_unless_configured(item: pytest.Item, kernel: Kernel) -> None:
    for marker in item.iter_markers("kconfig"):
        for symbol in marker.args:
            if kernel.symbol(symbol) == "n":
                pytest.skip(f"the kernel is built without {symbol}")


def skip_unless_built(item: pytest.Item, guest_side: GuestSide) -> None:
    """Skip a test of a module, or of a path, that needs something that the kernel lacks."""
    wanted = {name for marker in item.iter_markers("module") for name in marker.args}
    # On a kernel without nesting mmap_stack.ko lacks the node of this path.
    if HookPath.CUSTOM in parameters(item).values():
        wanted.add(RING_MODULE)
    for name in wanted & set(guest_side.absent):
        pytest.skip(f"the kernel lacks {guest_side.absent[name]}: {name}.ko is not built")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check the guest at the end of a test: modules unload, and the kernel printed no splat."""
    try:
        outcome = yield
    except BaseException as error:
        _finish(item, error)
        raise
    _finish(item, None)
    return outcome


def _finish(item: pytest.Item, error: BaseException | None) -> None:
    """Check the guest after a test. A splat replaces the failure, because it explains more."""
    guest = item.stash.get(GUEST, None)
    if guest is None or isinstance(error, KeyboardInterrupt):
        return
    if item.get_closest_marker("defect"):
        guest.excuse_leaks()
    try:
        guest.finish()
    except KernelSplat as splat:
        raise splat from error
    except TestbedError:
        if error is None:
            raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if "arch" not in getattr(item, "fixturenames", ()):
        return report
    verdict = _judge(item, call, report)
    if verdict.status is Status.XFAIL:
        report.outcome, report.wasxfail = "skipped", verdict.reason
    elif verdict.status is Status.FAIL and report.outcome == "passed":
        report.outcome, report.longrepr = "failed", verdict.reason
    guest = item.stash.get(GUEST, None)
    if guest is not None and not verdict.status.as_expected:
        guest.has_evidence = True
        item.stash[UNEXPECTED] = verdict
    item.config.stash[RECORDER].add(item, report, verdict, guest)
    if call.when == "teardown" and guest is not None:
        del item.stash[GUEST]  # pytest keeps all items, and a guest holds all observations
    return report


def _judge(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Verdict:
    error = call.excinfo.value if call.excinfo else None
    if report.skipped:
        return Verdict(Status.SKIP, str(error))
    marker = item.get_closest_marker("defect")
    if marker is not None and call.when == "call":
        kernel = item.config.stash[LAB].prepared(arch_of(item)).kernel
        return judge_defect(Defect(*marker.args, **marker.kwargs), kernel.version, error)
    return Verdict(Status.PASS) if error is None else judge(error, call.when)


def pytest_report_header(config: pytest.Config) -> str:
    settings = config.stash[LAB].ctx.settings
    kernel = f"{settings.kernel}, flavour {settings.flavour}, isolation {settings.isolation}"
    return f"testbed: {kernel}, on {', '.join(settings.arch)}, accel {settings.accel}"


def _kernel_lines(lab: Lab) -> list[str]:
    """Return a line per architecture: kernel, accelerator, QEMU. Needs built kernels."""
    return [
        f"{each.arch}: {each.kernel.release}, {each.accel}, QEMU {each.qemu_version}"
        for each in lab.all_prepared()
    ]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the folder of the results, and the recorded defects that are fixed."""
    recorder = config.stash[RECORDER]
    if recorder.cases:
        terminalreporter.write_line(f"results: {_relative(recorder.lab.run_dir)}")
    for case in recorder.cases:
        if case.status is Status.FIXED:
            terminalreporter.write_line(case.reason)


def _relative(path: Path) -> Path:
    return path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path
