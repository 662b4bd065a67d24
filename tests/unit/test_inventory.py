# SPDX-License-Identifier: GPL-2.0
"""The hooks of a tree, in each shape that the kernel's text gives them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from inventory_parts import driver, only, tree

from testbed.errors import SetupError
from testbed.inventory.hook import Deed, Shape
from testbed.inventory.inventory import inventory_from, take_inventory
from testbed.inventory.treefiles import FolderFiles

PLAIN = """
static int a_mmap(struct file *file, struct vm_area_struct *vma)
{
	return remap_pfn_range(vma, vma->vm_start, 0, 4096, vma->vm_page_prot);
}
static const struct file_operations a_fops = {
	.owner = THIS_MODULE,
	.mmap = a_mmap,
};
"""


def test_an_initialiser(tmp_path: Path) -> None:
    hook = only(tmp_path, PLAIN)
    assert (hook.owner, hook.name, hook.function) == ("file_operations.mmap", "a_fops", "a_mmap")
    assert (hook.file, hook.line, hook.shape) == ("drivers/a.c", 8, Shape.INITIALISER)
    assert (hook.converted, hook.null, hook.deeds) == (False, False, (Deed.REMAP,))
    assert hook.symbols == ("A",)


def test_a_converted_hook(tmp_path: Path) -> None:
    hook = only(tmp_path, "struct file_operations f = {\n\t.mmap_prepare\t= f_prepare,\n};\n")
    assert (hook.member, hook.converted, hook.line) == ("mmap_prepare", True, 2)


def test_a_hook_that_is_null_stands_apart(tmp_path: Path) -> None:
    hook = only(tmp_path, "struct file_operations f = {\n\t.mmap = NULL,\n};\n")
    assert hook.null
    assert hook.deeds == ()


@pytest.mark.parametrize(
    "text",
    [
        "/* .mmap = a_mmap, */",
        "// .mmap = a_mmap,",
        'char *x = ".mmap = a_mmap";',
        "#if 0\nstruct file_operations f = { .mmap = a_mmap };\n#endif",
        "struct other { int mmap; };\nstruct other o = { .mmap = 4 };",
        "struct file_operations f = { .mmap_capabilities = a_caps };",
        "void f(struct mm_struct *mm)\n{\n\tmm->mmap_base = 0;\n\tif (mm->mmap == 0)\n\t\tg();\n}",
    ],
    ids=lambda text: text.split("\n")[0][:30],
)
def test_what_is_no_hook(tmp_path: Path, text: str) -> None:
    assert driver(tmp_path, f"{text}\n") == ()


def test_a_member_behind_an_ifdef(tmp_path: Path) -> None:
    text = """
struct file_operations f = {
#ifdef CONFIG_MMU
	.mmap = mmu_mmap,
#else
	.mmap = nommu_mmap,
#endif
};
"""
    first, second = driver(tmp_path, text)
    assert (first.function, first.guard, first.line) == ("mmu_mmap", "CONFIG_MMU", 4)
    assert (second.function, second.guard) == ("nommu_mmap", "!CONFIG_MMU")


def test_conditions_that_have_several_branches(tmp_path: Path) -> None:
    text = """
#if defined(A)
struct file_operations f = { .mmap = one };
#elif 1
struct file_operations f = { .mmap = two };
#else
struct file_operations f = { .mmap = never };
#endif
#if 0
struct file_operations f = { .mmap = never };
#else
struct file_operations f = { .mmap = three };
#endif
"""
    found = [(hook.function, hook.guard) for hook in driver(tmp_path, text)]
    assert found == [("one", "defined(A)"), ("two", "!defined(A) && 1"), ("three", "")]


def test_an_array_has_a_hook_on_each_line(tmp_path: Path) -> None:
    text = """
struct file_operations f[2] = {
	{
		.mmap = one,
	},
	[1] = {
		.mmap = two,
	},
};
"""
    found = driver(tmp_path, text)
    assert [(h.name, h.part, h.line, h.function) for h in found] == [
        ("f", "[0]", 4, "one"),
        ("f", "[1]", 7, "two"),
    ]
    assert len({hook.key for hook in found}) == 2


def test_objects_of_two_functions_are_two(tmp_path: Path) -> None:
    text = "int %s(void)\n{\n\tstatic struct file_operations f = { .mmap = m };\n}\n"
    first, second = driver(tmp_path, text % "one" + text % "two")
    assert (first.part, second.part) == ("@one", "@two")


@pytest.mark.parametrize(
    "declared",
    [
        "__aligned(8) f",
        "f __aligned(8)",
        'f __section(".x") __ro_after_init',
        'f __attribute__((aligned(8), section(".x")))',
    ],
)
def test_attributes_with_arguments(tmp_path: Path, declared: str) -> None:
    hook = only(tmp_path, f"static struct file_operations {declared} = {{\n\t.mmap = m,\n}};\n")
    assert (hook.struct, hook.name, hook.shape) == ("file_operations", "f", "initialiser")


def test_lines_that_end_with_cr_lf(tmp_path: Path) -> None:
    text = "#define F(name) \\\n\tstruct file_operations name = { \\\n\t\t.mmap = m }\nF(f);\n"
    hook = only(tmp_path, text.replace("\n", "\r\n"))
    assert (hook.name, hook.line, hook.macro) == ("f", 4, "F")


@pytest.mark.parametrize(
    "text",
    [
        "struct queue q = { .own = { .mmap = f } };",
        "struct queue q = { .own.mmap = f };",
    ],
)
def test_a_struct_within_a_struct(tmp_path: Path, text: str) -> None:
    hook = only(tmp_path, f"{text}\n")
    assert (hook.owner, hook.name) == ("sub_ops.mmap", "q.own")


def test_a_compound_literal(tmp_path: Path) -> None:
    text = "void f(struct queue *q)\n{\n\tq->mem_ops = &(struct sub_ops){ .mmap = g };\n}\n"
    hook = only(tmp_path, text)
    assert (hook.owner, hook.name, hook.line) == ("sub_ops.mmap", "q->mem_ops", 3)


@pytest.mark.parametrize(
    ("text", "holder"),
    [
        ("void set(struct sub_ops *o)\n{\n\to->mmap = f;\n}\n", "o"),
        ("void set(struct queue *q)\n{\n\tq->own.mmap = f;\n}\n", "q->own"),
        ("void set(void *p)\n{\n\t((struct sub_ops *)p)->mmap = f;\n}\n", "((struct sub_ops *)p)"),
        ("static struct sub_ops all;\nvoid set(void)\n{\n\tall.mmap = f;\n}\n", "all"),
        ("void set(struct queue *q)\n{\n\tq->inner.ops->mmap = f;\n}\n", "q->inner.ops"),
        ("void set(struct sub_ops **o)\n{\n\to[1]->mmap = f;\n}\n", "o[1]"),
    ],
)
def test_an_assignment(tmp_path: Path, text: str, holder: str) -> None:
    hook = only(tmp_path, text)
    assert (hook.owner, hook.name, hook.within) == ("sub_ops.mmap", holder, "set")
    assert hook.shape is Shape.ASSIGNMENT


def test_an_assignment_to_a_struct_that_is_not_known_counts_if_its_function_gets_a_vma(
    tmp_path: Path,
) -> None:
    text = (
        "int f(struct vm_area_struct *vma)\n{\n\treturn 0;\n}\n"
        "void set(void)\n{\n\tx()->mmap = %s;\n}\n"
    )
    assert only(tmp_path, text % "f").function == "f"
    assert driver(tmp_path, text % "g(1)") == ()


def test_a_macro_counts_where_it_is_used(tmp_path: Path) -> None:
    text = "DEFINE_GEM_FOPS(one);\nstatic struct file_operations two = {\n\tGEM_FOPS,\n};\n"
    first, second = driver(tmp_path, text)
    assert (first.name, first.line, first.macro) == ("one", 1, "DEFINE_GEM_FOPS")
    assert (second.name, second.line, second.macro) == ("two", 3, "GEM_FOPS")
    assert {hook.function for hook in (first, second)} == {"gem_mmap"}
    assert {hook.owner for hook in (first, second)} == {"file_operations.mmap"}


def test_a_macro_of_a_c_file_pastes_names_and_is_unknown_elsewhere(tmp_path: Path) -> None:
    text = """
#define bar_attr(_bar, _suffix, _mmap) \\
static struct sub_ops bar##_bar##_suffix##_ops = { \\
	.mmap = (_mmap), \\
}
#define bar_attrs(_bar) \\
	bar_attr(_bar, , plain_mmap); \\
	bar_attr(_bar, _wc, prefix##_mmap)
bar_attrs(3);
"""
    found = tree(tmp_path, {"drivers/a.c": text, "drivers/b.c": "bar_attrs(3); /* mmap */\n"})
    assert [(h.file, h.name, h.function) for h in found.inventory().hooks] == [
        ("drivers/a.c", "bar3_ops", "plain_mmap"),
        ("drivers/a.c", "bar3_wc_ops", "prefix_mmap"),
    ]


def test_a_macro_that_is_defined_twice_is_one_hook_with_two_functions(tmp_path: Path) -> None:
    text = """
#ifdef CONFIG_B
#define MAPS .mmap = one
#else
#define MAPS .mmap = two
#endif
struct sub_ops o = { MAPS };
"""
    assert only(tmp_path, text).function == "one or two"


def test_hooks_in_rust(tmp_path: Path) -> None:
    text = """
// mmap: Some(not_this),
const VTABLE: bindings::file_operations = bindings::file_operations {
    mmap: if T::HAS_MMAP { Some(Self::mapped) } else { None },
    mmap_prepare: None,
};
    let mut fops: bindings::file_operations = pin_init::zeroed();
    fops.mmap = Some(bindings::gem_mmap);
"""
    found = tree(tmp_path, {"rust/a.rs": text}).inventory().hooks
    assert [(h.name, h.function, h.line) for h in found] == [
        ("VTABLE", "mapped", 4),
        ("fops", "gem_mmap", 8),
    ]
    assert {hook.shape for hook in found} == {Shape.RUST}


def test_what_holds_an_object(tmp_path: Path) -> None:
    text = """
static struct file_operations f = { .mmap = m };
static struct drm_driver d = { .fops = &f };
void set(struct file *file)
{
	file->f_op = &f;
	register_chrdev(0, "f", &f);
}
"""
    assert only(tmp_path, text).held == ("drm_driver.fops", "file.f_op", "register_chrdev()")


def test_text_that_no_parser_understands_is_named_and_spoils_nothing_else(tmp_path: Path) -> None:
    text = f"@@ \x01 .mmap = what ((((\n}}\n{PLAIN}"
    found = tree(tmp_path, {"drivers/a.c": text}).inventory()
    assert found.unread == ("drivers/a.c:1: cannot be parsed: @@ \x01 .mmap = what ((((",)
    assert [hook.name for hook in found.hooks] == ["a_fops"]


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    made = tree(tmp_path, {"drivers/a.c": ""})
    (tmp_path / "drivers/a.c").write_bytes(b"/* \xe9\xff */\n" + PLAIN.encode())
    assert [hook.name for hook in made.inventory().hooks] == ["a_fops"]


def test_a_tree_that_is_not_a_kernels(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    with pytest.raises(SetupError, match=r"is not a kernel's: no struct has a member"):
        take_inventory(FolderFiles(tmp_path))


def test_an_inventory_survives_its_file(tmp_path: Path) -> None:
    found = tree(tmp_path, {"drivers/a.c": f"{PLAIN}DEFINE_GEM_FOPS(two);\n"}).inventory()
    assert inventory_from(json.dumps(dataclasses.asdict(found))) == found
    with pytest.raises(SetupError, match="not an inventory"):
        inventory_from("{}")
