# SPDX-License-Identifier: GPL-2.0
"""What hooks do, who calls them, and what is found to be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from inventory_parts import only, tree

from testbed.inventory.findings import Finding, findings
from testbed.inventory.hook import Deed

HOOK = """
static int a_mmap(struct file *file, struct vm_area_struct *vma)
{
	%s
}
static const struct file_operations a_fops = { .mmap = a_mmap };
"""


@pytest.mark.parametrize(
    ("body", "deeds"),
    [
        ("return io_remap_pfn_range(vma, 0, 0, 0, 0);", (Deed.REMAP,)),
        ("return vm_iomap_memory(vma, 0, 0);", (Deed.REMAP,)),
        ("return vm_insert_page(vma, 0, p);", (Deed.INSERT,)),
        ("return remap_vmalloc_range(vma, p, 0);", (Deed.INSERT,)),
        ("return dma_mmap_coherent(dev, vma, a, b, c);", (Deed.DMA,)),
        ("vma->vm_ops = &faulting; return 0;", (Deed.FAULT,)),
        ("vma->vm_ops = &counting; return 0;", (Deed.VM_OPS,)),
        ("vma->vm_ops = elsewhere(); return 0;", (Deed.VM_OPS,)),
        ("return vfs_mmap(lower, vma);", (Deed.NESTED,)),
        ("return generic_file_mmap(file, vma);", (Deed.GENERIC,)),
        ("return -ENODEV;", (Deed.REFUSES,)),
        ("if (x) return -EINVAL; return 0;", (Deed.FLAGS,)),
        ("vma->vm_ops = &faulting; return helper(vma);", (Deed.REMAP, Deed.FAULT)),
    ],
)
def test_a_deed(tmp_path: Path, body: str, deeds: tuple[Deed, ...]) -> None:
    text = """
static const struct vm_operations_struct faulting = {
	.fault = a_fault,
};
static const struct vm_operations_struct counting = {
	.open = a_open,
};
static int helper(struct vm_area_struct *vma)
{
	return remap_pfn_range(vma, 0, 0, 0, 0);
}
"""
    assert only(tmp_path, text + HOOK % body).deeds == deeds


def test_an_action_of_a_converted_hook(tmp_path: Path) -> None:
    text = """
static int a_prepare(struct vm_area_desc *desc)
{
	mmap_action_remap_full(desc, 0);
	return 0;
}
static const struct file_operations a_fops = { .mmap_prepare = a_prepare };
"""
    hook = only(tmp_path, text)
    assert (hook.deeds, hook.chain) == ((Deed.ACTION,), ("a_prepare", "mmap_action_remap_full"))


def test_a_function_of_another_file_is_followed_and_a_stub_of_a_header_is_not(
    tmp_path: Path,
) -> None:
    far = "int far(struct vm_area_struct *v)\n{\n\treturn %s;\n}\n"
    files = {
        "include/linux/h.h": f"static inline {far}" % "-ENOSYS",
        "drivers/b.c": far % "vm_insert_page(v, 0, p)",
        "drivers/a.c": HOOK % "return far(vma);",
    }
    (hook,) = tree(tmp_path, files).inventory().hooks
    assert (hook.deeds, hook.chain) == ((Deed.INSERT,), ("a_mmap", "far", "vm_insert_page"))


def test_a_hook_whose_function_is_not_in_the_tree(tmp_path: Path) -> None:
    hook = only(tmp_path, "struct file_operations f = { .mmap = made_by_a_macro };\n")
    assert hook.deeds == (Deed.UNKNOWN,)


@pytest.mark.parametrize(
    "body",
    [
        "return q->mem_ops->mmap(q, vma);",
        "return call_op(q, mmap, q, vma);",
        "int (*f)(void *, struct vm_area_struct *) = q->mem_ops->mmap; return f(q, vma);",
        "return READ_ONCE(q->mem_ops)->mmap(q, vma);",
    ],
)
def test_a_caller_of_a_nested_hook(tmp_path: Path, body: str) -> None:
    text = f"""
static int a_mmap(struct queue *q, struct vm_area_struct *vma)
{{
	{body}
}}
static const struct file_operations a_fops = {{ .mmap = a_mmap }};
static const struct sub_ops b_ops = {{ .mmap = b_mmap }};
"""
    found = tree(tmp_path, {"drivers/a.c": text}).inventory()
    (caller,) = found.callers_of("sub_ops.mmap")
    assert (caller.function, caller.place) == ("a_mmap", "drivers/a.c:4")
    assert (found.hooks[0].deeds, found.hooks[0].nested) == ((Deed.NESTED,), ("sub_ops.mmap",))


BY_HAND = """
static const struct file_operations f = { .%s = f_mmap };
static const struct file_operations other = { .mmap_prepare = other_prepare };
static struct drm_driver d = { .fops = &f };
int by_hand(struct drm_driver *driver, struct vm_area_struct *vma)
{
	return driver->fops->mmap(0, vma);
}
"""


def found_in(path: Path, text: str) -> list[Finding]:
    return findings(tree(path, {"drivers/a.c": text}).inventory())


def test_a_hook_that_is_called_by_hand_and_converted_is_a_call_of_null(tmp_path: Path) -> None:
    (error,) = found_in(tmp_path, BY_HAND % "mmap_prepare")
    assert error.line == (
        "drivers/a.c:7: error: by_hand() calls driver->fops->mmap() by hand, "
        "which is NULL for f (drivers/a.c:2) (null-call)"
    )


def test_a_hook_that_is_called_by_hand_and_not_converted_yet_is_a_warning(tmp_path: Path) -> None:
    (warning,) = found_in(tmp_path, BY_HAND % "mmap")
    assert (warning.rule, warning.grade) == ("null-call", "warning")
    assert "will be NULL once one of these is converted: f (drivers/a.c:2)" in warning.text


def test_the_kernels_own_choice_between_both_members_is_no_finding(tmp_path: Path) -> None:
    assert found_in(tmp_path, "struct file_operations f = { .mmap_prepare = p };\n") == []


def test_a_hook_with_both_members(tmp_path: Path) -> None:
    text = "struct file_operations f = {\n\t.mmap = m,\n\t.mmap_prepare = p,\n};\n"
    (error,) = found_in(tmp_path, text)
    assert (
        error.line
        == "drivers/a.c:2: error: f has both mmap and mmap_prepare (line 3) (both-members)"
    )


def test_members_that_exclude_each_other_are_no_finding(tmp_path: Path) -> None:
    text = (
        "struct file_operations f = {\n#ifdef CONFIG_MMU\n\t.mmap = m,\n"
        "#else\n\t.mmap_prepare = p,\n#endif\n};\n"
    )
    assert found_in(tmp_path, text) == []


def test_conditions_that_do_not_exclude_each_other_are_a_finding(tmp_path: Path) -> None:
    text = (
        "struct file_operations f = {\n#if defined(A) || defined(B)\n\t.mmap = m,\n#endif\n"
        "#if !defined(A)\n\t.mmap_prepare = p,\n#endif\n};\n"
    )
    (error,) = found_in(tmp_path, text)
    assert error.rule == "both-members"


@pytest.mark.parametrize(
    "text",
    [
        "struct file_operations f[] = {\n\t{ .mmap = m },\n\t{ .mmap_prepare = p },\n};\n",
        "struct file_operations f[2] = {\n\t[A] = { .mmap = m },\n\t[B].mmap_prepare = p,\n};\n",
        "int a(void)\n{\n\tstatic struct file_operations f = { .mmap = m };\n}\n"
        "int b(void)\n{\n\tstatic struct file_operations f = { .mmap_prepare = p };\n}\n",
    ],
)
def test_two_objects_of_one_name_may_have_a_member_each(tmp_path: Path, text: str) -> None:
    assert found_in(tmp_path, text) == []


@pytest.mark.parametrize(
    "call",
    [
        "return file->f_op->mmap(file, vma);",
        "return (*file->f_op->mmap)(file, vma);",
        "return vma->vm_file->f_op->mmap(file, vma);",
        "return inode->i_fop->mmap(file, vma);",
        "int (*m)(void *, struct vm_area_struct *) = file->f_op->mmap;\n\treturn m(file, vma);",
    ],
)
def test_a_file_may_have_any_hook(tmp_path: Path, call: str) -> None:
    text = (
        "static struct file_operations f = { .mmap_prepare = p };\n"
        "struct inode {\n\tconst struct file_operations *i_fop;\n};\n"
        "int lower(struct inode *inode, struct file *file, struct vm_area_struct *vma)\n"
        f"{{\n\t{call}\n}}\n"
    )
    (error,) = found_in(tmp_path, text)
    assert (error.rule, error.grade) == ("null-call", "error")
    assert "which is NULL for f (drivers/a.c:1)" in error.text


BEHIND = """
struct info {
	int (*mmap_prepare)(struct info *info, struct vm_area_desc *desc);
};
static struct info i = { .mmap_prepare = i_prepare };
int outer(struct info *info, struct vm_area_struct *vma)
{
	int err = info->mmap_prepare(info, desc);
	return %s;
}
"""


def test_a_caller_that_stayed_behind_its_nested_hook(tmp_path: Path) -> None:
    (error,) = found_in(tmp_path, BEHIND % "err")
    assert (error.rule, error.grade, error.place) == ("caller-behind", "error", "drivers/a.c:8")
    (note,) = found_in(tmp_path / "other", BEHIND % "__compat_vma_mmap(desc, vma)")
    assert (note.rule, note.grade) == ("caller-behind", "note")
