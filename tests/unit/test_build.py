# SPDX-License-Identifier: GPL-2.0
"""Builds of a fake tree that take milliseconds: all outcomes of a build."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from waiting import wait_for_end

from testbed.arch import ARCHES, host_uname
from testbed.context import Context
from testbed.errors import BuildError, ConfigError, InfraError, PatchError, SetupError
from testbed.kernel.build import Kernel, KernelRequest, build_kernel
from testbed.kernel.diagnose import blame, build_error, first_error, first_warning
from testbed.kernel.release import UNNAMED
from testbed.kernel.series import Series
from testbed.kernel.source import Source, resolve
from testbed.kernel.toolchain import have_ccache
from testbed.progress import Step
from testbed.settings import CHECKOUT, Settings

FAKE = Path(__file__).parent / "fake_kernel"

HOST = next(arch for arch in ARCHES.values() if arch.uname == host_uname())

PATCH = """\
--- a/mm/util.c
+++ b/mm/util.c
@@ -2,5 +2,5 @@

 int compat_vma_mmap(struct file *file)
 {
-\treturn file->mode;
+\treturn -file->mode;
 }
"""


@dataclass
class Recorder:
    """A progress that records its calls."""

    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    figures: list[tuple[float, float | None]] = field(default_factory=list)
    expected: list[float] = field(default_factory=list)  # seconds

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        self.steps.append(title)
        yield self

    def update(
        self,
        done: float,
        *,
        total: float | None = None,
        note: str = "",
        seconds: float | None = None,
    ) -> None:
        self.targets += [note] if note else []
        self.figures.append((done, total))
        self.expected += [] if seconds is None else [seconds]

    def note(self, text: str, *, once: bool = False) -> None:
        self.notes.append(text)


@dataclass
class Yard:
    """A fake tree, its fragments, and a private cache."""

    top: Path
    recorder: Recorder = field(default_factory=Recorder)
    caches: ExitStack = field(default_factory=ExitStack)

    @property
    def tree(self) -> Path:
        return self.top / "linux"

    @property
    def config_dir(self) -> Path:
        return self.top / "kernel-config"

    @property
    def cache_dir(self) -> Path:
        return self.top / "cache"

    def ctx(self, recorder: Recorder | None = None) -> Context:
        """Open a context as another process would."""
        settings = Settings(cache_dir=self.cache_dir, state_dir=self.top / "state", jobs=2)
        ctx = Context.of(settings, recorder or self.recorder)
        self.caches.callback(ctx.cache.close)
        return ctx

    def source(self, spec: str = "") -> Source:
        return resolve(spec or f"tree:{self.tree}", self.ctx())

    def tarball(self) -> Source:
        """Return the same text as a tarball, which is unpacked into the cache."""
        path = self.top / "linux-7.3.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(self.tree, "linux-7.3")
        return self.source(f"tarball:{path}")

    def request(self, source: Source | None = None, *patches: Path) -> KernelRequest:
        return KernelRequest(
            source=source or self.source(),
            arch=HOST,
            series=Series.of(*patches),
            config_dir=self.config_dir,
        )

    def build(self, request: KernelRequest | None = None) -> Kernel:
        """Build as a new process would, with a new recorder."""
        wanted = request or self.request()
        self.caches.close()
        self.recorder = Recorder()
        return build_kernel(wanted, self.ctx())

    def patch(self, text: str = PATCH) -> Path:
        path = self.top / "fix.patch"
        path.write_text(text)
        return path

    def fragment(self, text: str, name: str = "base.config") -> Path:
        path = self.config_dir / name
        path.write_text(text)
        return path

    def entries(self) -> set[str]:
        """Kinds of finished entries in the cache."""
        return {e.kind for e in self.ctx().cache.entries()} - {"work", "source"}


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    # Compiling three objects takes less time than ccache's lookups.
    monkeypatch.setattr("testbed.kernel.builddir.have_ccache", lambda: False)
    with laid_out(tmp_path) as yard:
        yield yard


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A yard that tests share. They must not change its tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("testbed.kernel.builddir.have_ccache", lambda: False)
        with laid_out(tmp_path_factory.mktemp("built")) as yard:
            yield yard


@contextmanager
def laid_out(top: Path) -> Iterator[Yard]:
    yard = Yard(top)
    shutil.copytree(FAKE, yard.tree)
    yard.config_dir.mkdir()
    yard.fragment("CONFIG_64BIT=y\nCONFIG_NET_CORE=y\n")
    yard.fragment("CONFIG_VIRTIO_NET=m\n", f"{HOST}.config")
    with yard.caches:
        yield yard


def compiled(kernel: Kernel) -> list[str]:
    lines = kernel.log.read_text().splitlines()
    return sorted(line.split()[1] for line in lines if line.startswith("  CC "))


def content(tree: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in tree.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_kernel_has_its_parts_and_its_identity(built: Yard) -> None:
    kernel = built.build()
    assert kernel.release == f"7.3.0-testbed-{kernel.key}"
    assert kernel.version == "7.3.0"
    [overlay] = kernel.modules.rglob("overlay.ko")
    head, packed, rest = kernel.image.read_bytes().partition(b"\x1f\x8b")
    for text in (head, kernel.vmlinux.read_bytes(), overlay.read_bytes()):
        assert kernel.release.encode() in text
        assert UNNAMED.encode() not in text
    if packed:
        assert kernel.release.encode() in gzip.decompress(packed + rest)
    for part in (kernel.vmlinux, kernel.config, kernel.log, kernel.path / "System.map"):
        assert part.stat().st_size > 0
    assert os.access(kernel.gen_init_cpio, os.X_OK)


def test_a_tree_that_ignores_localversion_is_refused(yard: Yard) -> None:
    makefile = yard.tree / "Makefile"
    makefile.write_text(makefile.read_text().replace("$(LOCALVERSION)", "-mine"))
    with pytest.raises(BuildError, match=r"the kernel's release '7\.3\.0-mine' lacks -testbed-00"):
        yard.build()


def test_the_modules_are_staged_without_links_to_the_work_directory(built: Yard) -> None:
    kernel = built.build()
    installed = kernel.modules / "lib" / "modules" / kernel.release
    assert sorted(path.name for path in installed.iterdir()) == ["kernel", "modules.dep"]
    assert (installed / "kernel/fs/overlay.ko").exists()


def test_a_symbol_has_its_value_in_the_final_configuration(built: Yard) -> None:
    kernel = built.build()
    assert kernel.symbol("VIRTIO_NET") == "m"
    assert kernel.symbol("CONFIG_64BIT") == "y"
    assert kernel.symbol("MEM_SOFT_DIRTY") == "n"


def test_a_build_records_its_inputs(yard: Yard) -> None:
    patch = yard.patch()
    kernel = yard.build(yard.request(yard.tarball(), patch))
    record = json.loads(kernel.build_json.read_text())
    assert record["series"] == ["fix.patch"]
    assert record["toolchain"] == "gcc"
    assert record["objects"] == 5
    assert f"LOCALVERSION={UNNAMED}" in record["command"]
    assert record["seconds"] >= 0
    assert set(record["ccache"]) == {"hits", "misses"}


def test_the_same_inputs_are_built_once(yard: Yard) -> None:
    first = yard.build()
    assert yard.recorder.steps == [f"configure 7.3.0 for {HOST}", f"compile 7.3.0 for {HOST}"]
    assert yard.build() == first
    assert yard.recorder.steps == []


def test_a_cached_kernel_needs_no_source(yard: Yard) -> None:
    request = yard.request()
    first = yard.build(request)
    shutil.rmtree(yard.tree)
    assert yard.build(request) == first
    assert yard.recorder.steps == []


def test_requests_with_the_same_final_configuration_are_one_kernel(yard: Yard) -> None:
    first = yard.build()
    yard.fragment("# Reworded.\nCONFIG_NET_CORE=y\nCONFIG_64BIT=y\n# CONFIG_SLOW is not set\n")
    assert yard.build() == first
    assert yard.recorder.steps == [f"configure 7.3.0 for {HOST}"]


def test_another_configuration_is_another_kernel(yard: Yard) -> None:
    first = yard.build()
    yard.fragment("CONFIG_64BIT=y\nCONFIG_NET_CORE=y\nCONFIG_CHECKPOINT_RESTORE=y\n")
    assert yard.build().key != first.key


def test_progress_counts_objects_against_the_last_full_build(yard: Yard) -> None:
    yard.build()
    objects = ["fs/overlay.ko", "init/main.o", "mm/util.o", "mm/vma.o", "vmlinux"]
    assert sorted(yard.recorder.targets) == objects
    shutil.rmtree(yard.cache_dir / "kernel")
    for obj in yard.cache_dir.glob("work/*/obj"):
        shutil.rmtree(obj)
    yard.build()
    assert yard.recorder.figures[-1] == (5, 5)


def test_a_full_build_expects_the_time_of_the_last_one_on_this_host(yard: Yard) -> None:
    yard.build()
    assert yard.recorder.expected == [680 / 2]  # nothing is known yet, and two jobs
    (pace,) = json.loads((yard.top / "state/pace.json").read_text()).items()
    assert pace[0] == f"compile {HOST.name}-gcc-base"
    assert 0 < pace[1] < 680
    (yard.tree / "mm/vma.c").write_text("int may_merge = 1;\n")
    yard.build()  # of one object: it expects nothing, and teaches nothing
    assert yard.recorder.expected == []
    shutil.rmtree(yard.cache_dir)
    yard.build()
    assert yard.recorder.expected == [pace[1] / 2]


def test_a_patch_of_one_file_compiles_one_object(yard: Yard) -> None:
    text = yard.tarball()
    first = yard.build(yard.request(text))
    assert compiled(first) == ["init/main.o", "mm/util.o", "mm/vma.o"]
    patched = yard.build(yard.request(text, yard.patch()))
    assert patched.key != first.key
    assert compiled(patched) == ["mm/util.o"]
    assert yard.recorder.steps == [f"compile 7.3.0 for {HOST}"]


def test_a_changed_file_of_an_exported_tree_compiles_one_object(yard: Yard) -> None:
    (yard.tree / ".config").touch()
    assert len(compiled(yard.build())) == 3
    (yard.tree / "mm/vma.c").write_text("int may_merge = 1;\n")
    assert compiled(yard.build()) == ["mm/vma.o"]


def test_a_tree_with_changes_only_in_c_files_is_not_configured_again(yard: Yard) -> None:
    yard.build()
    yard.recorder.steps.clear()
    (yard.tree / "mm/vma.c").write_text("int may_merge = 1;\n")
    yard.build()
    assert not [step for step in yard.recorder.steps if step.startswith("configure")]
    kconfig = yard.tree / "Kconfig"
    kconfig.write_text(f"{kconfig.read_text()}\n# more\n")
    yard.build()
    assert [step for step in yard.recorder.steps if step.startswith("configure")]


def test_the_users_tree_is_never_written(yard: Yard) -> None:
    before = content(yard.tree)
    yard.build()
    yard.build(yard.request(None, yard.patch()))
    assert content(yard.tree) == before


@pytest.mark.parametrize("name", ["my linux", "linux:7.3", "it's 100%"])
def test_a_tree_with_a_name_that_make_cannot_handle_is_built_from_a_copy(
    yard: Yard, name: str
) -> None:
    tree = yard.top / name
    shutil.copytree(yard.tree, tree)
    before = content(tree)
    source = yard.source(f"tree:{tree}")
    assert "exported because make cannot handle its name" in source.description
    assert yard.build(yard.request(source)).version == "7.3.0"
    assert content(tree) == before


def test_a_cache_with_a_name_that_make_cannot_handle_is_refused(yard: Yard) -> None:
    request = yard.request()
    settings = Settings(cache_dir=yard.top / "my cache")
    with pytest.raises(SetupError, match=r"make cannot build in .*/my cache: its name") as caught:
        build_kernel(request, Context.of(settings, yard.recorder))
    assert caught.value.hint == "set cache_dir to a folder with a plain name"


# Variables that make, kbuild, the compiler, ccache, git or a shell would obey.
CALLERS = (
    *("MAKEFLAGS", "MAKELEVEL", "GNUMAKEFLAGS", "MAKEFILES", "MFLAGS", "VPATH", "O", "M", "V", "W"),
    *("ARCH", "SUBARCH", "CROSS_COMPILE", "LLVM", "CC", "HOSTCC", "LD", "AR", "KDIR", "KERNELDIR"),
    *("CFLAGS", "CPPFLAGS", "LDFLAGS", "KCFLAGS", "KCPPFLAGS", "KAFLAGS", "KRUSTFLAGS"),
    *("CFLAGS_MODULE", "AFLAGS_MODULE", "LDFLAGS_MODULE", "HOSTCFLAGS", "HOSTLDFLAGS"),
    *("EXTRA_CFLAGS", "USERCFLAGS", "USERLDFLAGS", "KBUILD_OUTPUT", "KBUILD_EXTMOD"),
    *("KBUILD_EXTRA_WARN", "KBUILD_EXTRA_SYMBOLS", "KBUILD_MODPOST_WARN", "KBUILD_VERBOSE"),
    *("KBUILD_BUILD_USER", "KBUILD_BUILD_HOST", "KBUILD_BUILD_TIMESTAMP", "KBUILD_SIGN_PIN"),
    *("KCONFIG_CONFIG", "KCONFIG_ALLCONFIG", "KERNELRELEASE", "LOCALVERSION", "INSTALL_MOD_STRIP"),
    *("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX"),
    *("DEPENDENCIES_OUTPUT", "SOURCE_DATE_EPOCH", "CCACHE_DISABLE", "CCACHE_PREFIX", "GIT_DIR"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "PWD", "OLDPWD", "CDPATH", "BASH_ENV", "ENV"),
)


def poison(patch: pytest.MonkeyPatch) -> None:
    """Set all these variables to a word that a record of the environment would show."""
    for name in CALLERS:
        patch.setenv(name, f"poison-{name}")


def record_environment(tree: Path, record: Path) -> None:
    """Let the fake kernel append the environment of each make to a file."""
    makefile = tree / "Makefile"
    # A shell sets PWD again. So make writes the value that it got.
    written = f"$(shell env >> {record}; echo from make: $(PWD) >> {record})"
    makefile.write_text(f"{makefile.read_text()}\n{written}\n")


def test_the_callers_environment_has_no_effect(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = compiled(yard.build())
    shutil.rmtree(yard.cache_dir)
    record = yard.top / "environment"
    record_environment(yard.tree, record)
    poison(monkeypatch)
    assert compiled(yard.build()) == objects
    variables = record.read_text().splitlines()
    assert [each for each in variables if "poison" in each] == []
    assert f"from make: {yard.cache_dir}/work/" in record.read_text()
    assert {f"HOME={os.environ['HOME']}", "KBUILD_BUILD_USER=testbed"} <= set(variables)


def test_a_compile_error_names_its_first_line_and_the_whole_log(yard: Yard) -> None:
    (yard.tree / "mm/util.c").write_text("int broken(void)\n{\n\treturn none;\n}\nint 1;\n")
    with pytest.raises(BuildError) as caught:
        yard.build()
    assert f"{yard.tree}/mm/util.c:3:" in caught.value.message
    assert "none" in caught.value.message
    assert len(str(caught.value).splitlines()) < 5
    (log,) = caught.value.logs
    assert "util.c:5:" in log.read_text()
    assert yard.entries() == {"config"}


def test_objects_are_kept_after_a_compile_error(yard: Yard) -> None:
    good = (yard.tree / "mm/vma.c").read_text()
    (yard.tree / "mm/vma.c").write_text("int 1;\n")
    with pytest.raises(BuildError, match=r"vma\.c:1"):
        yard.build(dataclasses.replace(yard.request()))
    (yard.tree / "mm/vma.c").write_text(good)
    assert "mm/vma.o" in compiled(yard.build())


def test_a_symbol_that_did_not_survive_is_named_with_its_missing_dependency(yard: Yard) -> None:
    fragment = yard.fragment("CONFIG_MEM_SOFT_DIRTY=y\n", "dirty.config")
    request = dataclasses.replace(yard.request(), fragments=(fragment,))
    with pytest.raises(ConfigError) as caught:
        yard.build(request)
    assert f"CONFIG_MEM_SOFT_DIRTY=y ({fragment}:1) did not survive" in caught.value.message
    assert "it needs CHECKPOINT_RESTORE (mm/Kconfig:6)" in caught.value.message
    assert yard.entries() == set()


def test_a_symbol_of_the_users_own_fragment_is_checked_as_well(yard: Yard) -> None:
    common = yard.fragment("# CONFIG_CHECKPOINT_RESTORE is not set\n", "flavour.config")
    own = (
        yard.fragment("CONFIG_CHECKPOINT_RESTORE=y\n", "restore.config"),
        yard.fragment("CONFIG_NO_SUCH_THING=y\n", "own.config"),
    )
    request = dataclasses.replace(yard.request(), fragments=(common,), user_fragments=own)
    with pytest.raises(ConfigError) as caught:
        yard.build(request)
    assert f"CONFIG_NO_SUCH_THING=y ({own[1]}:1) did not survive" in caught.value.message
    kernel = yard.build(dataclasses.replace(request, user_fragments=own[:1]))
    assert kernel.symbol("CHECKPOINT_RESTORE") == "y"
    assert str(own[0]) in json.loads(kernel.build_json.read_text())["fragments"]
    (work,) = (yard.cache_dir / "work").glob(f"{HOST}-gcc-flavour-config-*")
    assert work.is_dir()


def test_the_evidence_names_every_symbol_that_did_not_survive(yard: Yard) -> None:
    yard.fragment("CONFIG_VIRTIO_NET=m\nCONFIG_VIRTIO_NTE=y\n", f"{HOST}.config")
    yard.fragment("CONFIG_64BIT=y\n")
    with pytest.raises(ConfigError, match=r"\(and 1 more\)") as caught:
        yard.build()
    assert "it needs NET_CORE" in caught.value.evidence
    assert "it has VIRTIO_NET" in caught.value.evidence


def test_contradicting_fragments_are_refused_before_anything_is_done(yard: Yard) -> None:
    yard.fragment("# CONFIG_NET_CORE is not set\n", f"{HOST}.config")
    with pytest.raises(ConfigError, match=rf"base\.config:2.*{HOST}\.config:1"):
        yard.build()
    assert yard.recorder.steps == []


def test_a_patch_that_does_not_apply_leaves_no_entry(yard: Yard) -> None:
    text = yard.tarball()
    yard.build(yard.request(text))
    bad = yard.patch(PATCH.replace("return file->mode", "return file->nothing"))
    with pytest.raises(
        PatchError, match=r"fix\.patch does not apply: mm/util\.c, hunk 1 at line 2"
    ):
        yard.build(yard.request(text, bad))
    assert len(list((yard.cache_dir / "kernel").iterdir())) == 1


def test_a_missing_cross_compiler_is_reported_before_anything_is_done(yard: Yard) -> None:
    alien = dataclasses.replace(HOST, uname="alien", triplet="alien-linux-gnu")
    with pytest.raises(SetupError, match="alien-linux-gnu-gcc is not installed") as caught:
        yard.build(dataclasses.replace(yard.request(), arch=alien))
    assert caught.value.hint == "apt install gcc-alien-linux-gnu"
    assert yard.recorder.steps == []


def test_lack_of_disk_space_is_reported_with_a_figure_before_the_build(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(yard.top)._replace(free=1_000_000)
    request = yard.request()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InfraError, match=r"building 7\.3\.0 for .* needs 0\.8 GB"):
        yard.build(request)
    assert yard.recorder.steps == []


def test_a_damaged_kernel_is_noticed_and_built_again(yard: Yard) -> None:
    kernel = yard.build()
    image = kernel.image.read_bytes()
    kernel.image.write_bytes(image[:-1] + b"X")
    assert yard.build() == kernel
    assert any("damaged" in note for note in yard.recorder.notes)
    assert kernel.image.read_bytes() == image


def test_two_runs_at_once_build_once(yard: Yard) -> None:
    request = yard.request()
    recorders = [Recorder(), Recorder()]

    def run(recorder: Recorder) -> Kernel:
        return build_kernel(request, yard.ctx(recorder))

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(run, recorders)
    assert one == other
    steps = [step for recorder in recorders for step in recorder.steps]
    assert sorted(steps) == [f"compile 7.3.0 for {HOST}", f"configure 7.3.0 for {HOST}"]


def test_the_work_directory_of_a_flavour_is_named_after_it(yard: Yard) -> None:
    text = yard.tarball()
    yard.build(yard.request(text))
    fragment = yard.fragment("CONFIG_CHECKPOINT_RESTORE=y\n", "flavour-debug.config")
    yard.build(dataclasses.replace(yard.request(text), fragments=(fragment,)))
    works = (yard.cache_dir / "work").glob(f"{HOST}-*")
    names = {path.name.rpartition("-")[0] for path in works}
    assert names == {f"{HOST}-gcc-base", f"{HOST}-gcc-flavour-debug"}


@pytest.mark.skipif(not have_ccache(), reason="ccache is not installed")
def test_with_ccache_another_family_has_the_objects_of_the_first(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.kernel.builddir.have_ccache", lambda: True)
    text = yard.tarball()
    first = yard.build(yard.request(text))
    assert json.loads(first.build_json.read_text())["ccache"] == {"hits": 0, "misses": 3}
    fragment = yard.fragment("CONFIG_CHECKPOINT_RESTORE=y\n", "restore.config")
    other = yard.build(dataclasses.replace(yard.request(text), fragments=(fragment,)))
    assert len(compiled(other)) == 3
    assert json.loads(other.build_json.read_text())["ccache"] == {"hits": 3, "misses": 0}
    # Its short time says nothing about the next build.
    assert len(json.loads((yard.top / "state/pace.json").read_text())) == 1


def test_without_ccache_a_kernel_is_built_with_a_note(yard: Yard) -> None:
    kernel = yard.build()
    assert any("ccache is not installed" in note for note in yard.recorder.notes)
    assert json.loads(kernel.build_json.read_text())["ccache"] == {"hits": 0, "misses": 0}


INTERRUPTED = """
import sys
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parent))
import test_build

class Loud(test_build.Recorder):
    def update(self, done, *, note="", **figures):
        print(note, flush=True)

yard = test_build.Yard(Path(sys.argv[2]), Loud())
test_build.build_kernel(yard.request(), yard.ctx())
"""


def test_a_build_that_is_interrupted_leaves_nothing_and_continues(yard: Yard) -> None:
    yard.fragment("CONFIG_64BIT=y\nCONFIG_NET_CORE=y\nCONFIG_SLOW=y\n")
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, __file__, yard.top],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert any("slow.o" in line for line in child.stdout)
        child.send_signal(signal.SIGINT)
        child.stdout.read()
    assert child.returncode == -signal.SIGINT

    (waiting,) = yard.cache_dir.glob("work/*/obj/waited")
    wait_for_end(int(waiting.read_text()))
    assert yard.entries() == {"config"}
    assert list((yard.cache_dir / "scratch").iterdir()) == []

    kernel = yard.build()
    assert compiled(kernel) == []
    assert yard.recorder.figures[0][0] == 4  # three objects and the wait came before
    assert "  LD      vmlinux" in kernel.log.read_text()


GCC = "/src/mm/util.c:3:9: error: 'none' undeclared (first use in this function)"


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (f"  CC  mm/util.o\n{GCC}\n/src/mm/a.c:1:1: error: later\nmake: *** [x] Error 1", GCC),
        (
            "a.c:1:2: warning: unused\nld: warning: x\nld: a.o: in function `g':\n"
            "ld: mm/util.o: undefined reference to `f'",
            "ld: mm/util.o: undefined reference to `f'",
        ),
        (
            'cat: x: No such file or directory\nERROR: modpost: "f" [a.ko] undefined!',
            'ERROR: modpost: "f" [a.ko] undefined!',
        ),
        (
            "  CC  a.o\nmake[2]: *** No rule to make target 'mm/b.o', needed by 'mm/'.  Stop.",
            "make[2]: *** No rule to make target 'mm/b.o', needed by 'mm/'.  Stop.",
        ),
        (
            "/x y/Makefile:9: *** no spaces or colons.  Stop.\nmake: Leaving directory '/x y'",
            "/x y/Makefile:9: *** no spaces or colons.  Stop.",
        ),
        ("ld.lld: error: undefined symbol: f", "ld.lld: error: undefined symbol: f"),
        ("mm/Kconfig:12: syntax error\nmake: *** x", "mm/Kconfig:12: syntax error"),
        ("/bin/sh: 1: bison: not found\nmake: *** [x] Error 127", "/bin/sh: 1: bison: not found"),
        ("odd\nmake[1]: *** [Makefile:9: all] Error 2\n", "make[1]: *** [Makefile:9: all] Error 2"),
        ("nothing known\n", "nothing known"),
        ("", "no output"),
    ],
)
def test_the_first_error_of_a_log_is_found(log: str, error: str) -> None:
    assert first_error(log) == error
    assert blame(log).kind is BuildError


@pytest.mark.parametrize(
    "line",
    [
        "gcc: fatal error: Killed signal terminated program cc1",
        "make[3]: *** [scripts/Makefile.build:289: mm/util.o] Killed",
        "make[3]: *** [scripts/Makefile.build:289: mm/util.o] Error 137",
        "/tmp/ccX.s: Assembler messages:\nas: No space left on device",
    ],
)
def test_lack_of_memory_or_disk_space_is_the_hosts_fault(line: str) -> None:
    assert blame(f"{line}\n{GCC}\n").kind is InfraError


def test_a_missing_header_of_the_host_names_its_package(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("tools/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory\n")
    error = build_error("compile 7.3", log)
    assert isinstance(error, SetupError)
    assert error.hint == "apt install libelf-dev"


def test_a_warning_is_found() -> None:
    assert first_warning("  CC  a.o\n") is None
    assert first_warning("a.c:1:2: warning: unused\n") == "a.c:1:2: warning: unused"
    modpost = "WARNING: modpost: missing MODULE_DESCRIPTION() in a.o"
    assert first_warning(f"  MODPOST\n{modpost}\n") == modpost
