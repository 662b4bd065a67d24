# SPDX-License-Identifier: GPL-2.0
"""The pytest plugin: options, fixtures that follow the data's way, and the verdict on each case.

A test asks for what it needs: `kernel` (built), `guest` (booted, healthy), `stack`
or `ring` (the guest with that module loaded), `path` (one of the ways to a hook).
Whatever touches `arch` runs once per architecture.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
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
from testbed.suite.pytest_internals import uncaptured
from testbed.suite.recorder import Recorder, parameters
from testbed.suite.verdict import Defect, Verdict, judge, judge_defect
from testbed.suite.xdist import Keeper, Worker, is_worker
from testbed.terminal import make_progress

LAB = pytest.StashKey[Lab]()
GUEST = pytest.StashKey[Guest]()
RECORDER = pytest.StashKey[Recorder]()
UNEXPECTED = pytest.StashKey[Verdict]()

# Which guest a test wants: of what architecture, how isolated, whether with disks.
_Wish = tuple[str, Isolation, bool]

# How many tests are still to come that want such a guest.
_COMING = pytest.StashKey[Counter[_Wish]]()

_OPTIONS = (
    *("arch", "kernel", "series", "flavour", "isolation"),
    *("accel", "toolchain", "jobs", "results_dir"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mmap testbed")
    group.addoption("--arch", help="architectures, separated by commas (default: all)")
    group.addoption("--kernel", help="debian, debian:X.Y, tree:PATH or tarball:PATH")
    group.addoption("--series", help="patches to apply on top, as `testbed run --series`")
    group.addoption("--flavour", help=f"{', '.join(FLAVOURS)} (default: base)")
    group.addoption("--isolation", choices=[*Isolation], help="whose kernel (default: clone)")
    group.addoption("--accel", choices=[*AccelChoice], help="accelerator (default: auto)")
    group.addoption("--toolchain", choices=[*Toolchain], help="compiler (default: gcc)")
    group.addoption("--jobs", type=int, help="compiler jobs (default: one per CPU)")
    group.addoption("--results", dest="results_dir", type=Path, help="where runs are written")
    group.addoption(
        "--keep", action="store_true", help="a VM whose test failed stays until Enter is pressed"
    )
    group.addoption("--settings", dest="settings_file", type=Path, help="a TOML settings file")


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "arches(*names): only on these architectures",
        "paths(*paths): only on these paths to a hook",
        "kconfig(symbol): skipped where the kernel is built without the symbol",
        "isolation(choice): this, where less is asked for: shared, clone, boot",
        "module(*names): skipped where the kernel lacks what these modules need",
        "last: after all other tests on its architecture",
        "reaches(*hooks, by): which of the kernel's hooks are run (testbed/intree/hooks.py), "
        "and by what stack if by no path",
        "guarantee(*numbers): what of the contract is tested (testbed/mmap/guarantees.py)",
        "defect(name, symptom, recorded, fixed): an open kernel defect. `symptom` is searched in "
        "the failure; `recorded` is the first and last version it was seen on, and strict there; "
        "`fixed`, where there is one, the first version that has the fix",
    ):
        config.addinivalue_line("markers", line)
    if config.option.keep:
        _check_keep(config)
    if LAB not in config.stash:
        config.stash[LAB] = _make_lab(config)
    command = shlex.join(["pytest", *_arguments(config)])
    recorder = config.stash[RECORDER] = Recorder(config.stash[LAB], command)
    plugin = Worker(recorder, config) if is_worker(config) else Keeper(recorder)
    config.pluginmanager.register(plugin, "mmap testbed's results")


def _check_keep(config: pytest.Config) -> None:
    if is_worker(config) or getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--keep waits for you at one test: leave out -n")
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
    # A path is one through a guest's kernel; elsewhere the name is the test's own, as it is
    # where the paths depend on something else of the test.
    if {"arch", "path"} <= set(metafunc.fixturenames) and not _parametrizes(metafunc, "path"):
        marker = metafunc.definition.get_closest_marker("paths")
        paths = list(HookPath) if marker is None else [HookPath(path) for path in marker.args]
        metafunc.parametrize("path", paths, ids=str)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out tests of other architectures; put those marked so behind the others of theirs."""
    items[:] = [item for item in items if not _is_of_no_arch(item)]
    arches = [_arch(item) for item in items]
    ends = {arch: index for index, arch in enumerate(arches)}
    places = {
        item: (ends[arch], 1) if item.get_closest_marker("last") else (index, 0)
        for index, (item, arch) in enumerate(zip(items, arches, strict=True))
    }
    items.sort(key=places.__getitem__)


def pytest_collection_finish(session: pytest.Session) -> None:
    isolation = session.config.stash[LAB].ctx.settings.isolation
    session.stash[_COMING] = Counter(
        _wish(item, isolation)
        for item in session.items
        if "guest" in getattr(item, "fixturenames", ())
    )


def _is_of_no_arch(item: pytest.Item) -> bool:
    """Whether it is parametrized by none: its architectures are not asked for."""
    return not isinstance(parameters(item).get("arch", ""), str)


def _arch(item: pytest.Item) -> str:
    return str(parameters(item).get("arch", ""))


def _parametrizes(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether a test has values of its own for a parameter."""
    for marker in metafunc.definition.iter_markers("parametrize"):
        names = marker.args[0]
        if name in (names.replace(",", " ").split() if isinstance(names, str) else names):
            return True
    return False


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Build before the first test, in sight of the user: a test's own output is captured."""
    arches = {parameters(item).get("arch") for item in session.items}
    if session.config.option.collectonly or not arches - {None}:
        return
    lab = session.config.stash[LAB]
    with uncaptured(session.config):
        for arch in (name for name in lab.ctx.settings.arch if name in arches):
            try:
                lab.prepared(arch)
            except TreeError:
                continue  # a finding: the test that is about building raises it again
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
    """Kernel, image and accelerator of one architecture, built when first needed."""
    return lab.prepared(arch)


@pytest.fixture(scope="session")
def kernel(prepared: PreparedKernel) -> Kernel:
    """The kernel under test."""
    return prepared.kernel


@pytest.fixture
def guest(request: pytest.FixtureRequest, lab: Lab, arch: str) -> Iterator[Guest]:
    """A healthy guest whose kernel log is watched from here to the end of the test."""
    wish = _wish(request.node, lab.ctx.settings.isolation)
    coming = request.session.stash[_COMING]
    coming[wish] -= 1
    _skip_unless_configured(request.node, lab.prepared(arch).kernel)
    skip_unless_built(request.node, lab.prepared(arch).guest_side)
    _, isolation, disks = wish
    with lab.guest(arch, isolation, disks=disks, later=coming[wish]) as guest:
        guest.begin(request.node.name)
        request.node.stash[GUEST] = guest
        yield guest
        if request.config.option.keep and (verdict := request.node.stash.get(UNEXPECTED, None)):
            reason = verdict.reason.partition("\n")[0]
            with uncaptured(request.config):
                keep(guest, f"{request.node.name}: {verdict.status}: {reason}", lab.ctx.progress)


def _wish(item: pytest.Item, isolation: Isolation) -> _Wish:
    return _arch(item), _isolation(item, isolation), _wants_disks(item)


def _isolation(item: pytest.Item, asked_for: Isolation) -> Isolation:
    """The stricter of what the user and what the test asks for."""
    marker = item.get_closest_marker("isolation")
    wanted = asked_for if marker is None else Isolation(marker.args[0])
    order = (Isolation.SHARED, Isolation.CLONE, Isolation.BOOT)
    return max(asked_for, wanted, key=order.index)


def _wants_disks(item: pytest.Item) -> bool:
    """Whether a test is about something that lies on a disk of the guest."""
    return any(getattr(value, "disks", False) for value in parameters(item).values())


@pytest.fixture
def stack(guest: Guest) -> Prober:
    """The guest program in a guest with mmap_stack.ko loaded."""
    guest.load(STACK_MODULE)
    return guest.prober


@pytest.fixture
def ring(guest: Guest) -> Prober:
    """The guest program in a guest with mmap_ring.ko loaded."""
    guest.load(RING_MODULE)
    return guest.prober


def _skip_unless_configured(item: pytest.Item, kernel: Kernel) -> None:
    for marker in item.iter_markers("kconfig"):
        for symbol in marker.args:
            if kernel.symbol(symbol) == "n":
                pytest.skip(f"the kernel is built without {symbol}")


def skip_unless_built(item: pytest.Item, guest_side: GuestSide) -> None:
    """Skip a test that is about a module, or a path, for which the kernel lacks something."""
    wanted = {name for marker in item.iter_markers("module") for name in marker.args}
    # Of mmap_stack.ko it is the node of that path which a kernel without nesting lacks.
    if HookPath.CUSTOM in parameters(item).values():
        wanted.add(RING_MODULE)
    for name in wanted & set(guest_side.absent):
        pytest.skip(f"the kernel has not {guest_side.absent[name]}: {name}.ko is not built")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The end of a test is part of it: modules unload, and the kernel has printed no splat."""
    try:
        outcome = yield
    except BaseException as error:
        _finish(item, error)
        raise
    _finish(item, None)
    return outcome


def _finish(item: pytest.Item, error: BaseException | None) -> None:
    """Close the books of a test; a splat explains a failure better than the failure itself."""
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
        del item.stash[GUEST]  # pytest keeps all items, and a guest has all that its test saw
    return report


def _judge(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Verdict:
    error = call.excinfo.value if call.excinfo else None
    if report.skipped:
        return Verdict(Status.SKIP, str(error))
    marker = item.get_closest_marker("defect")
    if marker is not None and call.when == "call":
        kernel = item.config.stash[LAB].prepared(_arch(item)).kernel
        return judge_defect(Defect(*marker.args, **marker.kwargs), kernel.version, error)
    return Verdict(Status.PASS) if error is None else judge(error, call.when)


def pytest_report_header(config: pytest.Config) -> str:
    settings = config.stash[LAB].ctx.settings
    kernel = f"{settings.kernel}, flavour {settings.flavour}, isolation {settings.isolation}"
    return f"testbed: {kernel}, on {', '.join(settings.arch)}, accel {settings.accel}"


def _kernel_lines(lab: Lab) -> list[str]:
    """What each architecture's tests run on; known once the kernels are built."""
    return [
        f"{each.arch}: {each.kernel.release}, {each.accel}, QEMU {each.qemu_version}"
        for each in lab.all_prepared()
    ]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell where the evidence is, and which recorded defects are fixed."""
    recorder = config.stash[RECORDER]
    if recorder.cases:
        terminalreporter.write_line(f"results: {_relative(recorder.lab.run_dir)}")
    for case in recorder.cases:
        if case.status is Status.FIXED:
            terminalreporter.write_line(case.reason)


def _relative(path: Path) -> Path:
    return path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path
