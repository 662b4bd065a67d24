# SPDX-License-Identifier: GPL-2.0
"""The kernel's own files on which programs run: file stacks, hooks, recipes, SysV shm, and UIO.

Those that need no device of QEMU's, no disk, and no flavour but the kernel's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from testbed.check.drivernode import opening_words
from testbed.check.intreeloading import InTreeLoader
from testbed.check.opening import Opener
from testbed.check.recipeplan import opener_words
from testbed.errors import GuestFileError, SetupError
from testbed.fuzz.exchange import enter
from testbed.fuzz.kernelfile import PAGES, KernelFile, Ways
from testbed.intree import intreefile, stacks
from testbed.intree.intreefile import INTREE_FILES, LOW, InTreeFile
from testbed.intree.recipe import Recipe, load_recipes
from testbed.intree.stacks import FILE_PAGES, FILE_STACKS, FILL, FileStack
from testbed.kernel.kconfig import lost, parse_config
from testbed.lab.guest import Guest
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import TOP, HookPath
from testbed.suggest import suggest

BELOW, ABOVE = "below", "above"

# A write to /dev/mem destroys the guest.
_LEFT_OUT = frozenset({"mem"})

# Each mapping leaks through the layer: KD1 (docs/findings.md).
_LEAKS = frozenset({"zero-shared"})

# What is written stays, and the next program finds it.
_KEEPS_CONTENT = frozenset({"relay", "stm"})

_FILLED = f"pwrite {{}} off=0 len={FILE_PAGES}p value={FILL:#x}"
_UIO_MODULE = "mmap_uio"


def kernel_files(prepared: PreparedKernel) -> list[KernelFile]:
    """Return the files of a kernel on which programs can run."""
    return list(_all_files(prepared))


def choose_files(names: Sequence[str], files: Sequence[KernelFile]) -> list[KernelFile]:
    """Return the files with these names, or all if there are no names.

    Raises:
        SetupError: there is no such file, or the kernel lacks it.
    """
    known = {file.name: file for file in files}
    for name in names:
        if name not in known:
            raise SetupError(
                f"this kernel has no file {name!r} to fuzz on", hint=suggest(name, known)
            )
    return [known[name] for name in names or known]


def _all_files(prepared: PreparedKernel) -> Iterator[KernelFile]:
    kernel = prepared.kernel

    def has(symbols: Sequence[str]) -> bool:
        return all(kernel.symbol(symbol) != "n" for symbol in symbols)

    for stack in FILE_STACKS:
        if has(stack.symbols):
            yield KernelFile(stack.name, partial(_enter_stack, stack))
    for file in INTREE_FILES:
        if has(file.symbols) and not file.disks and file.name not in _LEFT_OUT:
            yield KernelFile(f"{file}", partial(_enter_file, file))
    if has(("SYSVIPC",)):
        yield KernelFile("shm", _enter_shm)
    if has(("UIO",)):
        for number, action in enumerate(("fault", "remap")):
            yield KernelFile(f"uio-{action}", partial(_enter_uio, action, number))
    values = parse_config(kernel.config.read_text())
    for recipe in load_recipes().values():
        plain = not (recipe.qemu or recipe.cmdline or recipe.disk)
        if plain and kernel.arch.name in recipe.arches and not lost(recipe.symbols, values):
            yield KernelFile(f"recipe:{recipe}", partial(_enter_recipe, recipe))


def _enter_stack(stack: FileStack, guest: Guest) -> Ways:
    """Mount a stack. Its file is reached below, where it really is, and above."""
    stacks.set_up(guest, stack)
    mode = "rw" if stack.writable else "ro"
    fill = (
        f"open home {stack.below} rw",
        f"ftruncate home {FILE_PAGES}p",
        _FILLED.format("home"),
    )
    places = {BELOW: stack.below, ABOVE: stack.above}
    opening = {way: (*fill, f"open {TOP} {place} {mode}") for way, place in places.items()}
    return Ways(name=stack.name, opening=opening)


def _enter_file(file: InTreeFile, guest: Guest) -> Ways:
    """Set up a file with mmap_prepare. It is reached directly, and below mmap_stack.ko."""
    intreefile.set_up(guest, file)
    steady = file.stable and file.name not in _KEEPS_CONTENT
    opening = {str(path): _through(path, file.steps, file.mode) for path in file.paths}
    return Ways(
        name=file.name,
        opening=opening,
        sharing=file.flags,
        steady=steady,
        executable=not file.noexec,
        balanced=file.name not in _LEAKS,
    )


def _through(path: HookPath, steps: Sequence[str], mode: str) -> tuple[str, ...]:
    """Return the lines that open a path's nodes above the file LOW, the highest one as TOP."""
    nodes = path.shape.nodes[:-1]
    names = [LOW, *(f"over{level}" for level in range(1, len(nodes))), TOP] if nodes else [TOP]
    lines = [_renamed(step, names[0]) for step in steps]
    for lower, name, node in zip(names, names[1:], reversed(nodes), strict=False):
        lines += [f"open {name} /dev/{node} {mode}", f"lower {name} {lower}"]
    return tuple(lines)


def _renamed(step: str, name: str) -> str:
    return " ".join(name if word == LOW else word for word in step.split())


def _enter_shm(guest: Guest) -> Ways:
    """A segment, and a memfd. Later mappings of TOP are of another memfd on both ways."""
    opening = (f"memfd {TOP} {FILE_PAGES}p", f"memfd file {PAGES}", f"shmget segment {PAGES}")
    return Ways(
        name="shm",
        opening={"memfd": opening, "shm": opening},
        mapping={"memfd": f"map m file len={PAGES}", "shm": "shmat m segment"},
        closing=("shmrm segment",),
        places=True,
        sharing=("shared",),
    )


def _enter_uio(action: str, number: int, guest: Guest) -> Ways:
    """A UIO device's map, by drivers/uio/uio.c itself, and by the hook of its provider."""
    if guest.prepared.kernel.symbol("UIO") == "m":
        guest.session.check(["modprobe", "uio"])
    guest.load(_UIO_MODULE, f"action={action}")
    length = f"len={FILE_PAGES}p off={number}p"
    clean = (f"map clean {TOP} {length}", f"write clean all {FILL:#x}", "munmap clean")
    nodes = {"legacy": _uio_node(guest, f"{_UIO_MODULE}_legacy"), "hook": _uio_node(guest)}
    opening = {way: (f"open {TOP} {node} rw", *clean) for way, node in nodes.items()}
    return Ways(name=f"uio-{action}", opening=opening, sharing=("shared",), offset=number)


def _uio_node(guest: Guest, name: str = _UIO_MODULE) -> str:
    found = guest.session.check(["sh", "-c", f"grep -lx {name} /sys/class/uio/*/name"]).out
    return f"/dev/{found.split('/')[-2]}"


def _enter_recipe(recipe: Recipe, guest: Guest) -> Ways:
    """Load a driver of the kernel's. It is reached directly, and below mmap_stack.ko.

    Raises:
        GuestFileError: it cannot be opened in a way that mmap(2) needs.
    """
    enter(guest)
    InTreeLoader(recipe, guest.prepared.kernel).load(guest, unloads=False)
    kind = opener_words(recipe)
    opener = Opener(recipe.node, (), (), kind)
    failed, _ = opener.judge(guest.prober.run(opener.script))
    if failed:
        raise GuestFileError(f"{recipe}: {failed[0]}", path=recipe.awaited, errno=0)
    mode = opener.opening.mode
    step = " ".join(opening_words(recipe.node, kind, LOW, mode))
    paths = (HookPath.DIRECT, *recipe.stacks)
    return Ways(
        name=f"recipe:{recipe}",
        opening={str(path): _through(path, [step], mode) for path in paths},
        sharing=recipe.sharing,
        base=recipe.base,
        steady=False,
        executable=False,  # the mounts of anonymous inodes, sysfs and proc have noexec
        places=recipe.places,
    )
