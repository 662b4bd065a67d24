# SPDX-License-Identifier: GPL-2.0
"""A small kernel tree, for the tests of the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.inventory.hook import Hook
from testbed.inventory.inventory import Inventory, take_inventory
from testbed.inventory.treefiles import FolderFiles

FS_H = """
struct file_operations {
	int (*mmap) (struct file *, struct vm_area_struct *);
	unsigned (*mmap_capabilities)(struct file *);
	int (*mmap_prepare)(struct vm_area_desc *);
};
struct file {
	const struct file_operations *f_op;
};
struct drm_driver {
	const struct file_operations *fops;
};
struct sub_ops {
	int (*mmap)(void *priv, struct vm_area_struct *vma);
};
struct queue {
	const struct sub_ops *mem_ops;
	struct sub_ops own;
	struct { const struct sub_ops *ops; } inner;
};
static inline int vfs_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (file->f_op->mmap_prepare)
		return compat_vma_mmap(file, vma);
	return file->f_op->mmap(file, vma);
}
#define DEFINE_GEM_FOPS(name) \\
	static const struct file_operations name = {\\
		GEM_FOPS, \\
	}
#define GEM_FOPS \\
	.mmap = gem_mmap
#define call_op(q, op, args...) \\
	((q)->mem_ops->op ? (q)->mem_ops->op(args) : 0)
"""

BASE = {
    "Makefile": "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n",
    "Kconfig": 'source "drivers/Kconfig"\n',
    "mm/util.c": "",
    "include/linux/fs.h": FS_H,
    "drivers/Kconfig": 'config A\n\tbool "a"\n',
    "drivers/Makefile": "obj-$(CONFIG_A) += a.o\n",
}


@dataclass(frozen=True)
class Tree:
    """A kernel tree with some files."""

    path: Path

    def inventory(self) -> Inventory:
        return take_inventory(FolderFiles(self.path), "a tree", "7.3.4")


def tree(path: Path, files: Mapping[str, str]) -> Tree:
    """Make a kernel tree of a few headers and these files."""
    for name, text in {**BASE, **files}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return Tree(path)


def driver(path: Path, text: str) -> tuple[Hook, ...]:
    """Return the hooks of a tree whose driver has this text."""
    found = tree(path, {"drivers/a.c": text}).inventory()
    assert found.unread == ()
    return found.hooks


def only(path: Path, text: str) -> Hook:
    """Return the only hook of a driver with this text."""
    (hook,) = driver(path, text)
    return hook
