# SPDX-License-Identifier: GPL-2.0
"""Which hooks a change of a kernel touches, and which recipes reach them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from testbed.intree.recipe import Recipe
from testbed.intree.unreached import unreached
from testbed.inventory.definitions import Definition
from testbed.inventory.hook import Deed, Hook
from testbed.inventory.inventory import Inventory
from testbed.inventory.touched import TouchedHook, touched_hooks

# So many hooks do these that two of them need not be near.
_COMMON = frozenset({Deed.FLAGS, Deed.UNKNOWN, Deed.VM_OPS, Deed.REFUSES})


# The names of functions on the older kernel, and on the newer one, by those of a recipe.
Renamed = tuple[dict[str, str], dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A hook that is touched, or a function in the chains of recipes that is no hook."""

    name: str  # one line for people
    place: str
    touch: str
    recipes: tuple[Recipe, ...] = ()  # that reach it
    why_not: str = ""  # why no recipe does
    nearest: str = ""  # a chain that is reached and does the same, in part
    before: str = ""  # the hook's function on the older kernel, and on the newer one
    after: str = ""
    changes_kind: bool = False


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """All that a change touches."""

    found: tuple[Subject, ...] = ()
    # The functions that no hook has any more, and those that their hooks have now.
    gone: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipes that must run, each once."""
        by_name = {recipe.name: recipe for each in self.found for recipe in each.recipes}
        return tuple(by_name[name] for name in sorted(by_name))

    @property
    def converted(self) -> frozenset[str]:
        """The names of recipes whose chain has a hook that changes its kind."""
        return frozenset(
            recipe.name for each in self.found if each.changes_kind for recipe in each.recipes
        )

    @property
    def renamed(self) -> dict[str, Renamed]:
        """For each recipe the functions of its chain that have another name."""
        found: dict[str, Renamed] = {}
        for subject in self.found:
            for recipe in subject.recipes:
                older, newer = found.setdefault(recipe.name, ({}, {}))
                if subject.before and subject.after:
                    older[subject.after] = subject.before
                    newer[subject.before] = subject.after
                for name in self.gone.keys() & {*recipe.chain}:
                    newer.setdefault(name, self.gone[name])
        return found


def find_subjects(
    before: Inventory,
    after: Inventory,
    changed: Sequence[Definition],
    recipes: Iterable[Recipe],
) -> Subjects:
    """Find what a change touches, and how it is reached.

    Args:
        changed: what both kernels define differently.
    """
    known = tuple(recipes)
    hooks = touched_hooks(before, after, changed)
    reach = _Reach(known, (*before.real, *after.real))
    found = [reach.subject(touched) for touched in hooks]
    found += reach.helpers(changed, {name for each in hooks for name in each.functions})
    remaining = {hook.function for hook in after.real}
    gone = {each.before: each.after for each in hooks if each.after}
    return Subjects(
        found=tuple(found),
        gone={name: now for name, now in gone.items() if name and name not in remaining},
    )


@dataclass(frozen=True)
class _Reach:
    """What recipes reach, of the hooks of two kernels."""

    recipes: tuple[Recipe, ...]
    hooks: tuple[Hook, ...]

    def subject(self, touched: TouchedHook) -> Subject:
        recipes = tuple(each for each in self.recipes if self._reaches(each, touched))
        hook = touched.hook
        return Subject(
            name=touched.line,
            place=hook.place,
            touch=touched.touch,
            recipes=recipes,
            why_not="" if recipes else _why_not(hook),
            nearest="" if recipes else self._nearest(touched),
            before=touched.before,
            after=touched.after,
            changes_kind=touched.changes_kind,
        )

    def helpers(self, changed: Iterable[Definition], known: set[str]) -> Iterator[Subject]:
        """Yield the functions of chains that are touched and are no touched hooks."""
        for each in changed:
            through = tuple(recipe for recipe in self.recipes if each.name in recipe.chain)
            if through and each.name not in known:
                name = f"{each.name}()"
                yield Subject(name=name, place=each.file, touch="in a chain", recipes=through)

    def _reaches(self, recipe: Recipe, touched: TouchedHook) -> bool:
        """Whether a recipe's chain runs a hook. Of a function of many files, a symbol says it."""
        if recipe.hook == touched.hook.tree_name:
            return True  # whatever its function is called: it may be a macro
        named = [name for name in touched.functions if name in recipe.chain]
        if not named or recipe.hook:
            return False
        if len({hook.file for hook in self.hooks if hook.function in named}) == 1:
            return True
        return any(asked.name in touched.hook.symbols[:1] for asked in recipe.symbols)

    def _nearest(self, touched: TouchedHook) -> str:
        """Name the recipe whose chain has most in common with a hook."""
        both = [hook for hook in self.hooks if hook.key == touched.hook.key]
        chain = {*touched.functions, *(name for hook in both for name in hook.chain)}
        deeds = {deed for hook in both for deed in hook.deeds} - _COMMON
        best = max(
            self.recipes,
            key=lambda recipe: (len(chain & {*recipe.chain}), len(deeds & self._deeds(recipe))),
            default=None,
        )
        if best is None:
            return ""
        if shared := [name for name in best.chain if name in chain]:
            return f"{best} runs {', '.join(shared)}"
        if alike := sorted(deeds & self._deeds(best)):
            return f"{best} maps in the same way ({', '.join(alike)})"
        return ""

    def _deeds(self, recipe: Recipe) -> set[Deed]:
        return {
            deed for hook in self.hooks if hook.function in recipe.chain for deed in hook.deeds
        } - _COMMON


def _why_not(hook: Hook) -> str:
    if why := unreached().get(hook.tree_name):
        return why
    if hook.arches and "all" not in hook.arches and not {"x86_64", "arm64"} & {*hook.arches}:
        return f"only {', '.join(hook.arches)} can have it"
    return "no recipe reaches it (docs/drivers.md says how to add one)"
