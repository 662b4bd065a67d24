# SPDX-License-Identifier: GPL-2.0
"""Images: keys, the lists that gen_init_cpio packs, and the files that a guest gets."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import vm_parts
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from testbed.context import Context
from testbed.errors import CommandError, InfraError, SetupError
from testbed.image import Image, build_image, cpio, initramfs, userland
from testbed.image.keys import find_client_key, make_host_key, public_line, read_client_key
from testbed.kernel.build import Kernel
from testbed.kernel.modules import GuestSide
from testbed.kernel.package import Package
from testbed.process import check_output
from testbed.settings import Settings

# Checks each file that the list names, then copies the list.
GEN_INIT_CPIO = """\
#!/bin/sh
[ "$1 $2 $3" = "-t 0 -o" ] || exit 2
while read -r kind name source rest; do
    [ "$kind" != file ] || [ -r "$source" ] || exit 1
done <"$5"
cp "$5" "$4"
"""


def strings(blob: bytes) -> list[bytes]:
    """Return the SSH strings of a blob."""
    found = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return found


def test_a_host_key_has_dropbears_format_and_its_public_half_matches() -> None:
    key = make_host_key()
    kind, pair = strings(key.private)
    assert kind == b"ssh-ed25519"
    private = Ed25519PrivateKey.from_private_bytes(pair[:32])
    assert private.public_key().public_bytes_raw() == pair[32:]
    assert key.public == public_line(private)


def test_two_host_keys_differ() -> None:
    assert make_host_key().public != make_host_key().public


def test_the_client_key_is_made_once_and_only_the_user_can_read_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    path = find_client_key(settings)
    first = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert find_client_key(settings) == path
    assert path.read_bytes() == first
    assert public_line(read_client_key(path)).startswith("ssh-ed25519 AAAA")


def test_a_damaged_client_key_is_an_error_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "client_key"
    path.write_text("no key\n")
    with pytest.raises(SetupError) as raised:
        read_client_key(path)
    assert f"remove {path}" in raised.value.hint


def test_directories_come_before_their_content() -> None:
    lines = cpio.parents(["/lib/modules/7.3/a.ko", "/lib/testbed/b.ko", "/bin/c"])
    names = [line.split()[1] for line in lines]
    assert names == ["/bin", "/lib", "/lib/modules", "/lib/modules/7.3", "/lib/testbed"]


def test_a_name_with_white_space_is_refused() -> None:
    with pytest.raises(InfraError, match="white space"):
        cpio.file("/bin/a b", "a b")


def test_only_the_user_can_read_archives_in_a_row(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1" * 512)
    two.write_bytes(b"2" * 512)
    cpio.concatenate([one, two], tmp_path / "both")
    assert (tmp_path / "both").read_bytes() == b"1" * 512 + b"2" * 512
    assert (tmp_path / "both").stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a package: programs that need liba, which needs libb."""
    root = tmp_path_factory.mktemp("debian")
    libraries, programs = root / "usr/lib/triplet", root / "usr/bin"
    libraries.mkdir(parents=True)
    programs.mkdir()
    source = root / "empty.c"
    source.write_text("void _start(void) {}\n")
    gcc = ["gcc", "-nostdlib", "-Wl,--no-as-needed", str(source)]
    shared = [*gcc, "-shared", "-fPIC"]
    check_output([*shared, "-o", libraries / "ld-fake.so.1"])
    check_output([*shared, "-Wl,-soname,libb.so.2", "-o", libraries / "libb.so.2.0.1"])
    (libraries / "libb.so.2").symlink_to("libb.so.2.0.1")
    first, second = libraries / "liba.so.1", libraries / "libb.so.2"
    check_output([*shared, "-Wl,-soname,liba.so.1", "-o", first, second])
    loader = "-Wl,--dynamic-linker=/lib64/ld-fake.so.1"
    check_output([*gcc, loader, "-Wl,--allow-shlib-undefined", "-o", programs / "busybox", first])
    source.unlink()
    shutil.copy(programs / "busybox", programs / "kmod")
    (root / "usr/sbin").mkdir()
    shutil.copy(programs / "busybox", root / "usr/sbin/dropbear")
    (root / "usr/share/doc").mkdir(parents=True)
    (root / "usr/share/doc/copyright").write_text("not for the guest\n")
    return root


def laid_out(root: Path, staging: Path) -> list[str]:
    return userland.lay_out(root, staging, make_host_key(), "ssh-ed25519 AAAA")


def modes(lines: Sequence[str]) -> dict[str, str]:
    return {line.split()[1]: line.split()[3] for line in lines if line.startswith("file ")}


def test_a_guest_gets_programs_and_their_libraries(debian: Path, tmp_path: Path) -> None:
    files = modes(laid_out(debian, tmp_path))
    wanted = {"/bin/busybox", "/bin/kmod", "/sbin/dropbear", "/init"}
    libraries = {"/lib64/ld-fake.so.1", "/lib/liba.so.1", "/lib/libb.so.2"}
    assert wanted | libraries <= set(files)
    assert not any("copyright" in path for path in files)
    assert (tmp_path / "lib/libb.so.2").read_bytes()


def test_only_root_can_read_the_keys_in_the_guest(debian: Path, tmp_path: Path) -> None:
    lines = laid_out(debian, tmp_path)
    assert modes(lines)["/etc/dropbear/host_key"] == "0600"
    assert "dir /root 0700 0 0" in lines
    assert "dir /root/.ssh 0700 0 0" in lines
    authorized = tmp_path / "root/.ssh/authorized_keys"
    assert authorized.read_text() == "ssh-ed25519 AAAA\n"


def test_the_guest_has_a_console_before_it_mounts_anything(debian: Path, tmp_path: Path) -> None:
    assert "nod /dev/console 0600 0 0 c 5 1" in laid_out(debian, tmp_path)


def test_every_directory_is_made_once_and_before_its_content(debian: Path, tmp_path: Path) -> None:
    lines = laid_out(debian, tmp_path)
    places = [line.split()[1] for line in lines]
    assert len(places) == len(set(places))
    seen = {"/"}
    for place in places:
        assert str(Path(place).parent) in seen
        seen.add(place)


def test_a_library_that_no_package_has_is_an_error(debian: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(debian, root, symlinks=True)
    (root / "usr/lib/triplet/libb.so.2").unlink()
    with pytest.raises(InfraError, match=r"liba\.so\.1 needs libb\.so\.2, which no package"):
        laid_out(root, tmp_path / "staging")


def test_a_link_to_a_file_of_the_host_is_not_followed(debian: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(debian, root, symlinks=True)
    link = root / "usr/lib/triplet/libb.so.2"
    link.unlink()
    link.symlink_to("/bin/true")
    with pytest.raises(InfraError, match="which no package"):
        laid_out(root, tmp_path / "staging")


@dataclasses.dataclass
class Yard:
    """Builds images from a package that the test makes."""

    ctx: Context
    root: Path
    packages: dict[Package, Path]

    def kernel(self, release: str) -> Kernel:
        path = self.root / release
        if not path.exists():
            modules = path / "modules/lib/modules" / release
            modules.mkdir(parents=True)
            (modules / "overlay.ko").write_text(f"overlay of {release}")
            (modules / "build").symlink_to("/usr/src")
            (path / "gen_init_cpio").write_text(GEN_INIT_CPIO)
            (path / "gen_init_cpio").chmod(0o755)
        return dataclasses.replace(vm_parts.kernel(path=path), release=release)

    def guest_side(self) -> GuestSide:
        path = self.root / "guest side"
        if not path.exists():
            (path / "modules").mkdir(parents=True)
            (path / "programs").mkdir()
            (path / "modules/mmap_stack.ko").write_text("module")
            (path / "programs/agent").write_text("program")
        return GuestSide(path, path / "programs")

    def build(self, release: str = "7.3.4") -> Image:
        return build_image(self.kernel(release), self.guest_side(), self.ctx)


@pytest.fixture
def yard(debian: Path, tmp_path: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> Yard:
    tree = tmp_path / "package"
    shutil.copytree(debian, tree, symlinks=True)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: all\nVersion: 1.2\nArchitecture: all\nMaintainer: nobody <n@example.org>\n"
        "Description: all that a guest needs\n"
    )
    deb = tmp_path / "all_1.2_all.deb"
    check_output(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb])
    packages = {Package("all", "1.2", deb.name, deb.stat().st_size, "SHA256:0"): deb}

    def find(*_: object) -> tuple[Package, ...]:
        return tuple(packages)

    def download(*_: object) -> Mapping[Package, Path]:
        return packages

    monkeypatch.setattr(initramfs, "find_packages", find)
    monkeypatch.setattr(initramfs, "download_packages", download)
    return Yard(ctx, tmp_path, packages)


def test_an_image_has_userland_modules_and_programs(yard: Yard) -> None:
    image = yard.build()
    files = modes(image.path.read_text().splitlines())
    assert files["/init"] == "0755"
    assert files["/lib/modules/7.3.4/overlay.ko"] == "0644"
    assert files["/lib/testbed/mmap_stack.ko"] == "0644"
    assert files["/bin/agent"] == "0755"
    assert "/lib/modules/7.3.4/build" not in files
    assert image.packages.read_text() == "all 1.2\n"


def test_the_same_inputs_give_the_same_image(yard: Yard) -> None:
    assert yard.build() == yard.build()


def test_kernels_share_the_userland_and_its_host_key(yard: Yard) -> None:
    one, two = yard.build("7.3.4"), yard.build("7.3.5")
    assert one.host_key == two.host_key
    assert one.path != two.path


def test_a_changed_module_gives_another_image(yard: Yard) -> None:
    one = yard.build()
    (yard.guest_side().path / "modules/mmap_stack.ko").write_text("changed")
    assert yard.build().key != one.key


def test_another_user_gets_another_image(yard: Yard) -> None:
    one = yard.build()
    settings = dataclasses.replace(yard.ctx.settings, data_dir=yard.root / "another user")
    yard.ctx = dataclasses.replace(yard.ctx, settings=settings)
    two = yard.build()
    assert two.key != one.key
    assert two.client_key != one.client_key


def test_a_packer_that_fails_leaves_no_image(yard: Yard) -> None:
    packer = yard.kernel("7.3.4").gen_init_cpio
    packer.write_text("#!/bin/sh\necho no space left on device >&2\nexit 1\n")
    with pytest.raises(CommandError, match="no space left"):
        yard.build()
    packer.write_text(GEN_INIT_CPIO)
    assert yard.build().path.exists()
