# SPDX-License-Identifier: GPL-2.0
"""Recipes of the kernel's own drivers: those that exist, wrong ones, and the plans they give."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.arch import ARCHES
from testbed.check.chain import ChainWatch
from testbed.check.checkplan import CheckPlan
from testbed.check.drivernode import DriverNode
from testbed.check.drivers import Machine, require
from testbed.check.intreeloading import OWN_MODULES, InTreeLoader, require_modules
from testbed.check.opening import Opener
from testbed.check.recipeplan import recipe_plan
from testbed.check.script import BaseMapping, DriverScript
from testbed.check.trialnames import chosen_trials
from testbed.context import Context
from testbed.errors import GuestFileError, SetupError
from testbed.flavour import DRIVERS, FLAVOURS
from testbed.image.disks import FileSystem
from testbed.intree.openers import OPENERS
from testbed.intree.recipe import Recipe, choose_recipes, load_recipe, load_recipes
from testbed.kernel.configure import read_fragments
from testbed.kernel.kconfig import lost
from testbed.kernel.recipeconfig import RECIPES, recipe_files, recipe_fragment
from testbed.kernel.request import Kernel
from testbed.kernel.series import Series
from testbed.lab.guest import Guest
from testbed.lab.lab import Lab
from testbed.lab.prepared import flavour_fragments
from testbed.mmap.observation import parse_observation
from testbed.mmap.path import MMAP_STACKS, HookPath
from testbed.settings import CHECKOUT, KERNEL_CONFIG
from testbed.vm import devicetree

KNOWN = load_recipes()

MINIMAL = 'what = "foo"\nchain = ["foo_mmap"]\nnode = "/dev/foo"\n'


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Recipe]:
    def write(text: str) -> Recipe:
        file = tmp_path / "foo.toml"
        file.write_text(text)
        return load_recipe(file)

    return write


@pytest.mark.parametrize("name", KNOWN)
def test_a_recipe_asks_for_a_known_opener_with_its_options(name: str) -> None:
    recipe = KNOWN[name]
    if recipe.opener:
        document = (CHECKOUT / "docs/drivers.md").read_text()
        pattern = rf"^\| [^|]*`{recipe.opener}`[^|]* \|(.*)\| .* \|$"
        (row,) = re.findall(pattern, document, re.MULTILINE)
        assert set(recipe.options) == set(re.findall(r"`(\w+)`", row)) == {*OPENERS[recipe.opener]}


@pytest.mark.parametrize("name", KNOWN)
def test_a_recipe_explains_itself_in_one_short_line(name: str) -> None:
    assert 10 < len(KNOWN[name].what) <= 70


def test_the_documented_openers_are_those_of_the_probe() -> None:
    source = (CHECKOUT / "tests/probes/probe/openers/opener.c").read_text()
    document = (CHECKOUT / "docs/drivers.md").read_text().split("## Openers")[1]
    rows = re.findall(r"^\| (`.*?) \|", document, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(.*?)`", row)}
    assert documented == set(re.findall(r'\{ "(.*?)", open_', source)) == {*OPENERS}


@pytest.mark.parametrize("name", OPENERS)
def test_an_opener_knows_the_words_of_its_options(name: str) -> None:
    folder = CHECKOUT / "tests/probes/probe/openers"
    strings = {
        text for file in folder.glob("*.c") for text in re.findall(r'"(.*?)"', file.read_text())
    }
    words = {word for known in OPENERS[name].values() for word in known}
    of_kernel = {"siw"}  # a type of link that the opener passes on
    assert (words | {*OPENERS[name]}) - of_kernel <= strings


@pytest.mark.parametrize("name", ARCHES)
def test_recipes_do_not_contradict_each_other_or_the_flavour(name: str) -> None:
    fragments = [KERNEL_CONFIG / name for name in FLAVOURS[DRIVERS].fragments]
    common = read_fragments((KERNEL_CONFIG / "base.config", KERNEL_CONFIG / f"{name}.config"))
    asked = read_fragments((*fragments, *recipe_files(ARCHES[name])))
    optional = {name for name, ask in asked.items() if ask.optional}
    assert {"VIDEO_VIVID", "KCOV"} <= optional
    assert not optional & common.keys(), "every kernel has it already"


def test_a_kernel_may_lack_a_symbol_of_a_recipe() -> None:
    asked = read_fragments((KERNEL_CONFIG / "flavour-drivers.config", RECIPES / "kcov.toml"))
    assert {ask.name for ask in lost((ask for ask in asked.values() if not ask.optional), {})} == {
        "KPROBES", "FTRACE", "KPROBE_EVENTS", "DYNAMIC_EVENTS", "CONFIGFS_FS",
        "RUNTIME_TESTING_MENU", "CROSS_MEMORY_ATTACH",
    }  # fmt: skip


def test_the_lines_of_a_fragment_keep_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "foo.toml"
    file.write_text(f'{MINIMAL}kconfig = """\nCONFIG_FOO=m\n# CONFIG_BAR is not set\n"""\n')
    lines = recipe_fragment(file).splitlines()
    assert (lines[4], lines[5]) == ("CONFIG_FOO=m", "# CONFIG_BAR is not set")
    assert [str(ask) for ask in load_recipe(file).symbols] == [
        f"CONFIG_FOO=m ({file}:5)",
        f"CONFIG_BAR=n ({file}:6)",
    ]


def test_a_recipe_is_for_the_architectures_that_it_names(tmp_path: Path) -> None:
    for name, more in (("one", ""), ("two", 'arches = ["arm64"]\n')):
        (tmp_path / f"{name}.toml").write_text(MINIMAL + more)
    found = {arch: [file.stem for file in recipe_files(ARCHES[arch], tmp_path)] for arch in ARCHES}
    assert found == {"x86_64": ["one"], "arm64": ["one", "two"]}


def test_a_kernel_may_have_the_drivers_of_some_recipes_alone(ctx: Context) -> None:
    series = Series(())
    settings = replace(ctx.settings, flavour=DRIVERS)
    with closing(Lab(replace(ctx, settings=settings), series)) as lab:
        narrow = lab.narrowed(("comedi", "open-dice"))
    chosen = narrow.ctx.settings.recipes
    drivers = FLAVOURS[DRIVERS]
    for arch, names in (("x86_64", ["comedi"]), ("arm64", ["comedi", "open-dice"])):
        files = flavour_fragments(drivers, ARCHES[arch], chosen)
        assert [file.stem for file in files] == ["flavour-drivers", *names]
        assert set(flavour_fragments(drivers, ARCHES[arch])) > {*files}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (f"{MINIMAL}chian = 1\n", "unknown key 'chian' in FILE:4", "did you mean chain?"),
        ("what = 3\n", "FILE:1: what: 3 is not a str", "docs/drivers.md"),
        (f'{MINIMAL}sizes = "most"\n', "FILE:4: sizes: 'most' is not a list of sizes, or", ""),
        (f"{MINIMAL}sizes = [0]\n", "FILE:4: sizes: a size must be 1 page or more, not 0", ""),
        (f'{MINIMAL}arches = ["arm"]\n', "FILE:4: arches: 'arm' is not one of x86_64, arm64", ""),
        (f'{MINIMAL}prots = ["rz"]\n', "FILE:4: prots: 'rz' is not a protection", ""),
        (f"{MINIMAL}unit = 0\n", "FILE:4: unit: 0 is less than 1", ""),
        (f'{MINIMAL}qemu = "-device \'foo"\n', "FILE:4: qemu: No closing quotation", ""),
        (
            f'{MINIMAL}[not_below]\nstak = "no"\n',
            "FILE:4: not_below: 'stak' is not one of stack",
            "",
        ),
        (f"{MINIMAL}[modules]\nfoo = 1\n", "FILE:4: modules: {'foo': 1} is not a table of mod", ""),
        (MINIMAL.replace("foo_mmap", "foo()"), "FILE:2: chain: 'foo()' is not the name of a", ""),
        (MINIMAL.replace("/dev/", ""), "FILE:3: node: 'foo' is not an absolute path", ""),
        (
            f'{MINIMAL}devicetree = ""\n',
            "FILE:4: devicetree: only QEMU's machine for arm64",
            "arm64",
        ),
        (f'{MINIMAL}inlined = ["bar"]\n', "FILE:4: inlined: 'bar' is not in the chain", ""),
        (f'{MINIMAL}inlined = ["foo_mmap"]\n', "FILE:4: inlined: nothing of the chain is left", ""),
        (f'{MINIMAL}sizes = "exact"\n', "FILE:4: sizes: only an opener reports a size", ""),
        (
            f'{MINIMAL}[disk]\nmaker = ["affs"]\nmebibytes = 1\n',
            r"FILE:4: disk: \['affs'\] is not a str",
            "",
        ),
        (f"{MINIMAL}unit = {'9' * 5000}\n", "FILE is not valid TOML: Exceeds the limit", ""),
        (f"{MINIMAL}a = {'[' * 5000}\n", "FILE is not valid TOML: ", ""),
        (f'{MINIMAL}opener = "fb"\n', "FILE: a recipe has either a node or an opener", ""),
        (
            MINIMAL.replace('node = "/dev/foo"', 'opener = "v4l"'),
            "FILE:3: opener: the probe has no opener 'v4l'; did you mean v4l2?",
            "",
        ),
        (
            MINIMAL.replace('node = "/dev/foo"', 'opener = "fb"'),
            "FILE:3: options: the opener fb needs the option 'path'",
            "",
        ),
        (
            'what = "foo"\nchain = ["foo"]\nopener = "fb"\n[options]\npat = "/dev/fb0"\n',
            "FILE:4: options: the opener fb has no option 'pat'; did you mean path?",
            "",
        ),
        (
            'what = "foo"\nchain = ["foo"]\nopener = "xsk"\n[options]\nring = "x"\n',
            "FILE:4: options: ring = 'x' is not one of rx, tx, fill, completion",
            "",
        ),
        (f'{MINIMAL}[options]\npath = "/dev/fb0"\n', "FILE:4: only an opener has options", ""),
        (f'{MINIMAL}[disk]\nmaker = "affs"\n', "FILE:4: disk: it has command, package or", ""),
        (
            f'{MINIMAL}[disk]\nmaker = "afs"\nmebibytes = 1\n',
            "FILE:4: disk: 'afs' is not one of affs, hfsplus, omfs",
            "",
        ),
        (
            f'{MINIMAL}[disk]\ncommand = "mkfs.foo x"\npackage = "foo"\n',
            "FILE:4: disk: its command lacks the word `disk`",
            "",
        ),
        ('what = "foo"\nnode = "/dev/foo"\n', "FILE: the key 'chain' is missing", ""),
        (f"{MINIMAL}sizes = [1 2]\n", "FILE is not valid TOML: .*line 4", ""),
    ],
)
def test_a_malformed_recipe_names_file_line_and_key(
    make: Callable[[str], Recipe], tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(SetupError) as caught:
        make(text)
    file = str(tmp_path / "foo.toml")
    shown = caught.value.message.replace(file, "FILE")
    assert shown.startswith(message) or re.match(message, shown)
    assert hint in caught.value.hint


def test_a_recipe_is_in_utf_8(make: Callable[[str], Recipe], tmp_path: Path) -> None:
    assert make(f"\ufeff{MINIMAL}").what
    (tmp_path / "foo.toml").write_bytes(MINIMAL.encode("utf-16"))
    with pytest.raises(SetupError, match="save it in UTF-8"):
        load_recipe(tmp_path / "foo.toml")


def test_a_fragment_stands_on_lines_of_its_own(make: Callable[[str], Recipe]) -> None:
    with pytest.raises(SetupError, match="'CONFIG_FOO=m' does not stand on a line of its own"):
        _ = make(f'{MINIMAL}kconfig = "CONFIG_FOO=m"\n').symbols


def test_drivers_are_chosen_by_name_by_function_or_all() -> None:
    def names(words: str) -> list[str]:
        return [recipe.name for recipe in choose_recipes(words, KNOWN)]

    assert names("perf,vivid-cap,perf") == ["perf", "vivid-cap"]
    assert names("vb2_dc_mmap") == ["vivid-dc"]
    assert names("all") == list(KNOWN)


@pytest.mark.parametrize(
    ("words", "hint"), [("vivid-cup", "vivid-cap"), ("perf_map", "perf_mmap"), ("", "give a name")]
)
def test_an_unknown_driver_is_answered_with_the_nearest(words: str, hint: str) -> None:
    with pytest.raises(SetupError) as caught:
        choose_recipes(words, KNOWN)
    assert hint in caught.value.hint


def test_a_recipe_gives_a_plan_in_pages(make: Callable[[str], Recipe]) -> None:
    more = (
        "unit = 512\nbase = 1\nsizes = [1, 2]\noffsets = [0, 3]\nvolatile = [4]\nmemory = false\n"
        'state = ["/sys/foo"]\n[skip]\n"mlock-*" = "it takes long"\n[not_below]\nstack = "no"\n'
    )
    plan = recipe_plan(make(MINIMAL + more))
    assert plan == CheckPlan(
        sizes=(512, 1024),
        offsets=(1, 1537),
        unit=512,
        volatile=(5,),
        memory=False,
        counters=("/sys/foo",),
        skip=("mlock-*",),
        paths=(HookPath.DIRECT, *(path for path in MMAP_STACKS if path is not HookPath.STACK)),
        not_below={"stack": "no"},
        chain=("foo_mmap",),
        searches=False,
    )


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        ((), ["sizes-shared", "fork-private", "chain"]),
        (("sizes",), ["sizes-shared"]),
        (("fork-*", "chain"), ["fork-private", "chain"]),
    ],
)
def test_only_the_trials_that_were_asked_for_are_wanted(
    only: tuple[str, ...], wanted: list[str]
) -> None:
    plan = recipe_plan(KNOWN["perf"], only=only)
    trials = ("sizes-shared", "fork-private", "chain")
    assert [trial for trial in trials if plan.wants(trial)] == wanted


@pytest.mark.parametrize("words", ["", "chain", "exit,mlock*", "exit-shared", "prot-none", "a*"])
def test_trials_are_chosen_by_their_names(words: str) -> None:
    assert chosen_trials(words) == tuple(filter(None, words.split(",")))


def test_a_trial_that_nothing_is_called_is_refused() -> None:
    with pytest.raises(SetupError, match="no trial is called 'chian'") as caught:
        chosen_trials("exit,chian")
    assert caught.value.hint == "did you mean chain?"


def test_without_the_direct_path_a_stack_is_left(make: Callable[[str], Recipe]) -> None:
    assert recipe_plan(make(MINIMAL), only_lower=True).paths == MMAP_STACKS
    none = "".join(f'{path} = "no"\n' for path in MMAP_STACKS)
    with pytest.raises(SetupError, match="--lower leaves no path"):
        recipe_plan(make(f"{MINIMAL}[not_below]\n{none}"), only_lower=True)


def test_the_opener_of_a_recipe_opens_the_file_of_each_trial() -> None:
    plan = recipe_plan(KNOWN["vivid-cap"])
    node = DriverNode("", "vivid", memory=True, opener=plan.opener)
    script = DriverScript(HookPath.STACK, node, BaseMapping("shared", 1, 0, "rw"))
    script.close()
    opened = "opener file v4l2 path=/dev/video0 queue=capture rw"
    assert script.probe_script.lines[1] == opened
    assert script.probe_script.lines[-3:] == ["close over1", "close file", "#"]


def observed(opener: Opener, **facts: Any) -> tuple[list[str], Any]:
    lines = opener.script.lines
    seen = [
        {"step": number, "op": line.split()[0], "errno": 0, "lines": [], **facts}
        if line.startswith("opener")
        else {"step": number, "op": line.split()[0], "errno": 0, "lines": []}
        for number, line in enumerate(lines, 1)
    ]
    text = "".join(f"{json.dumps(fact)}\n" for fact in seen) + '{"done": true}\n'
    return opener.judge(parse_observation(opener.script, text, ""))


def test_an_opener_reports_offset_and_size() -> None:
    opener = Opener("", (), (), ("v4l2", "queue=capture"))
    assert observed(opener, mmap_offset="0x40000000", pages=29) == ([], {})
    assert (opener.opening.mmap_offset, opener.opening.pages) == (0x40000000, 29)
    assert opener.opening.owner == ""


def test_an_opener_that_fails_names_the_call() -> None:
    opener = Opener("", ("vivid",), (), ("v4l2", "queue=capture"))
    complaints, _ = observed(opener, errno=16, error="EBUSY", failed="VIDIOC_REQBUFS")
    assert complaints == ["the opener v4l2 queue=capture fails: VIDIOC_REQBUFS: EBUSY"]


@pytest.mark.parametrize(
    ("trace", "complaint"),
    [
        ("enter0 enter1 leave1 leave0", ""),
        ("enter0 enter0 enter1 leave1 leave0 leave0", ""),
        ("enter0 leave0", "does not call b_mmap by a_mmap as the recipe claims; it ran a_mmap"),
        ("enter0 leave0 enter1 leave1", "does not call a_mmap as"),
        ("", "does not call a_mmap as the recipe claims; it ran none of the chain"),
    ],
)
def test_each_function_of_a_chain_is_called_by_the_one_before_it(
    trace: str, complaint: str
) -> None:
    lines = [f"  probe-7 [000] .... 1.0: {event}: (x+0x0/0x9)" for event in trace.split()]
    outs = iter(["", "\n".join(lines)])
    session = SimpleNamespace(check=lambda argv: SimpleNamespace(out=next(outs)))
    watch = ChainWatch(("a_mmap", "b_mmap"))
    with watch.watching(cast(Guest, SimpleNamespace(session=session))):
        pass
    found = list(watch.complaints())
    assert len(found) == bool(complaint)
    assert all(complaint in text for text in found)


def test_a_function_that_the_kernel_lacks_is_named() -> None:
    outs = iter(["no b_mmap\n", ""])
    session = SimpleNamespace(check=lambda argv: SimpleNamespace(out=next(outs)))
    watch = ChainWatch(("a_mmap", "b_mmap"))
    with watch.watching(cast(Guest, SimpleNamespace(session=session))):
        pass
    assert list(watch.complaints()) == ["the kernel has no function b_mmap that can be probed"]


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A kernel with snd-aloop and what it depends on."""
    folder = tmp_path / "modules/lib/modules/7.3.4"
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text(
        "k/snd.ko:\nk/snd-timer.ko: k/snd.ko\nk/snd-aloop.ko: k/snd-timer.ko k/snd.ko\n"
    )
    (folder / "modules.builtin").write_text("kernel/drivers/base/firmware-loader/foo-core.ko\n")
    (tmp_path / ".config").write_text("CONFIG_SND=m\n")
    return Kernel(arch=ARCHES["arm64"], key="k", release="7.3.4", version="7.3.4", path=tmp_path)


class FakeGuest:
    """Modules by name, the newest first, with their references."""

    def __init__(self, held: str = "", permanent: str = "") -> None:
        self.modules, self.held, self.permanent = {"mmap_stack": 0}, held, permanent
        self.calls: list[str] = []
        self.endings: list[Callable[[], object]] = []

    session = prober = property(lambda self: self)

    def at_end(self, ending: Callable[[], object]) -> None:
        self.endings.append(ending)

    def check(self, argv: list[str]) -> None:
        self.calls.append(argv[-1])

    def put(self, content: bytes, path: str) -> None:
        self.content = content
        self.calls.append(f"put {path}")

    def load_module(self, path: str, parameters: str) -> None:
        self.calls.append(f"{path} {parameters}")
        self.modules = {Path(path).stem.replace("-", "_"): 0, **self.modules}

    def get(self, path: str) -> bytes:
        users = {self.permanent: "[permanent],"}
        lines = (
            f"{name} 1 {n} {users.get(name, '-')} Live 0x0\n" for name, n in self.modules.items()
        )
        return "".join(lines).encode()

    def exchange(self, calls: list[tuple[object, bytes]]) -> list[object]:
        return [self._unload(payload.decode().strip("\0\n")) for _, payload in calls]

    def _unload(self, text: str) -> object:
        name = next(name for name in self.modules if text.endswith(name))
        self.calls.append(f"rmmod {name}")
        if name == self.held:
            self.modules[name] = 2
            return GuestFileError("in use", errno=11)
        del self.modules[name]
        return b""


def end(guest: FakeGuest) -> None:
    while guest.endings:
        guest.endings.pop()()


def test_a_recipe_is_loaded_with_what_it_depends_on_and_removed_again(kernel: Kernel) -> None:
    recipe = replace(KNOWN["pcm-aloop"], options={}, setup=("up",), teardown=("down",))
    guest = FakeGuest()
    InTreeLoader(recipe, kernel).load(cast(Guest, guest), unloads=False)
    end(guest)
    top = "/lib/modules/7.3.4/k"
    assert guest.calls == [
        f"{top}/snd.ko ",
        f"{top}/snd-timer.ko ",
        f"{top}/snd-aloop.ko ",
        "up",
        "down",
        "rmmod snd_aloop",
        "rmmod snd_timer",
        "rmmod snd",
    ]
    assert guest.modules == {"mmap_stack": 0}


def test_a_module_of_the_testbed_is_loaded_from_its_own_folder(kernel: Kernel) -> None:
    recipe = replace(KNOWN["relay"], node="/dev/foo")
    guest = FakeGuest()
    guest.run = lambda script: [SimpleNamespace(errno=0)] * 2  # type: ignore[attr-defined]
    InTreeLoader(recipe, kernel).load(cast(Guest, guest), unloads=False)
    end(guest)
    assert guest.calls == ["/lib/testbed/mmap_relay.ko ", "rmmod mmap_relay"]


def test_the_testbed_has_the_modules_that_recipes_may_name() -> None:
    assert all((CHECKOUT / "modules" / name).is_dir() for name in OWN_MODULES)


@pytest.mark.parametrize("module", ["snd-aloop", "snd_aloop", "foo_core", "mmap_relay"])
def test_a_module_may_be_built_in_or_the_testbeds_own(kernel: Kernel, module: str) -> None:
    require_modules(replace(KNOWN["pcm-aloop"], modules={module: ""}), kernel)


def test_a_module_that_the_kernel_lacks_is_named(kernel: Kernel) -> None:
    recipe = replace(KNOWN["pcm-aloop"], modules={"snd-alop": ""})
    with pytest.raises(SetupError, match=r"pcm-aloop: 7\.3\.4 has no module 'snd-alop'") as caught:
        require_modules(recipe, kernel)
    assert caught.value.hint == "did you mean snd_aloop?"


def test_a_disk_is_there_from_the_modules_to_their_unloading(
    kernel: Kernel, tmp_path: Path
) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20) + b"end")
    recipe = replace(KNOWN["pcm-aloop"], options={}, setup=("up",), teardown=("down",))
    guest = FakeGuest()
    InTreeLoader(recipe, kernel, image).load(cast(Guest, guest), unloads=False)
    end(guest)
    assert guest.calls[3:-3] == [
        "put /tmp/disk.img.gz",
        "busybox gunzip /tmp/disk.img.gz; losetup /dev/loop0 /tmp/disk.img",
        "up\nsync",
        "down",
        "losetup -d /dev/loop0; rm /tmp/disk.img",
    ]
    assert gzip.decompress(guest.content) == image.read_bytes()


def test_setup_installs_what_makes_the_disks_and_the_device_trees() -> None:
    listed = (CHECKOUT / "scripts" / "packages" / "drivers").read_text().splitlines()[1:]
    disks = [recipe.disk for recipe in load_recipes().values() if recipe.disk]
    assert listed == sorted({devicetree.PACKAGE, *filter(None, (disk.package for disk in disks))})


def test_a_program_that_makes_a_disk_is_missed_with_its_package(kernel: Kernel) -> None:
    disk = FileSystem(name="foo", package="foo-tools", words=("mkfs.foo-none", "disk"))
    with pytest.raises(SetupError, match=r"mkfs\.foo-none is not installed") as caught:
        require(replace(KNOWN["perf"], disk=disk), ARCHES["arm64"], None, Path)
    assert caught.value.hint == "apt install foo-tools"


def test_a_module_that_is_held_is_named_with_its_references(kernel: Kernel) -> None:
    guest = FakeGuest(held="snd_aloop")
    recipe = replace(KNOWN["pcm-aloop"], options={})
    InTreeLoader(recipe, kernel).load(cast(Guest, guest), unloads=False)
    with pytest.raises(GuestFileError, match=r"snd_aloop\.ko cannot be unloaded: 2 references"):
        end(guest)


def test_a_module_without_an_exit_function_stays(kernel: Kernel) -> None:
    guest = FakeGuest(permanent="snd_timer")
    recipe = replace(KNOWN["pcm-aloop"], options={})
    InTreeLoader(recipe, kernel).load(cast(Guest, guest), unloads=False)
    end(guest)
    assert list(guest.modules) == ["snd_timer", "mmap_stack"]


def test_a_module_that_the_recipe_names_stays(kernel: Kernel) -> None:
    guest = FakeGuest()
    recipe = replace(KNOWN["pcm-aloop"], options={}, stays={"snd-timer": "why"})
    InTreeLoader(recipe, kernel).load(cast(Guest, guest), unloads=False)
    end(guest)
    assert list(guest.modules) == ["snd_timer", "mmap_stack"]


def test_a_driver_that_a_kernel_or_qemu_lacks_is_refused_with_a_hint(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arm64 = ARCHES["arm64"]
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "Kconfig").write_text('config SOUNDS\n\ttristate "Sounds"\n')
    why = r"pcm-aloop: CONFIG_SOUND=m \(.*pcm-aloop.toml:5\) is n in 7\.3\.4: this tree has no such"
    with pytest.raises(SetupError, match=f"{why} symbol; it has SOUNDS"):
        require(KNOWN["pcm-aloop"], arm64, kernel, lambda: tree)
    with pytest.raises(SetupError, match="perf is not for arm64"):
        require(replace(KNOWN["perf"], arches=("x86_64",)), arm64, None, Path)
    monkeypatch.setattr("testbed.check.drivers.qemu_devices", lambda arch: frozenset({"nvme"}))
    monkeypatch.setattr("testbed.check.drivers.qemu_version", lambda arch: "7.2")
    with pytest.raises(SetupError, match=r"needs the device qxl, which QEMU 7\.2 lacks"):
        require(replace(KNOWN["perf"], qemu=("-device", "qxl,vgamem_mb=8")), arm64, None, Path)
    require(replace(KNOWN["perf"], qemu=("-device", "nvme")), arm64, None, Path)


def test_recipes_that_ask_for_the_same_machine_share_it() -> None:
    one, other, cma = (Machine.of(KNOWN[name]) for name in ("perf", "vgem", "heap-cma"))
    assert one == other != cma
