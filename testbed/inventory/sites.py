# SPDX-License-Identifier: GPL-2.0
"""The places of a file that give a member its hook."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from testbed.inventory.csyntax import (
    Assigned,
    Declared,
    Parsed,
    Place,
    called_name,
    function_name,
    text_of,
)
from testbed.inventory.deeds import Functions
from testbed.inventory.hook import Hook, Shape
from testbed.inventory.macros import Hidden, Hiding, arguments_at, hiding, use_pattern
from testbed.inventory.structs import Member, Structs
from testbed.inventory.words import Use, member_words

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")

# A use of a macro ends within so many bytes.
_LONGEST_USE = 2000


@dataclass
class Sites:
    """Looks for the hooks of files, by what is known of the tree."""

    members: Mapping[tuple[str, str], Member]
    macros: Mapping[str, Hiding]  # of headers
    structs: Structs
    functions: Functions
    unread: list[str] = field(default_factory=list)

    def hooks(self, parsed: Parsed) -> Iterator[Hook]:
        """Yield the hooks of a file."""
        names = {name for _, name in self.members}
        for word in member_words(parsed.text.text, names):
            if word.use is Use.GIVEN:
                place = parsed.member(word.start, word.end)
                if place is not None:
                    yield from self._given(parsed, word.start, word.name, place)
                else:
                    self._unclear(parsed, word.start)
        yield from self._hidden(parsed, names)

    def _given(self, parsed: Parsed, offset: int, member: str, place: Place) -> Iterator[Hook]:
        file = parsed.text.file
        if isinstance(place.at, Declared):
            struct = self.structs.follow(place.at.struct, place.at.fields, file)
            name, within, shape = place.at.name, "", Shape.INITIALISER
            name, part = ".".join((name, *place.at.fields)), place.at.part
        else:
            struct = self.structs.pointed(place.at.holder, file)
            name, within = text_of(place.at.holder), function_name(place.at.function)
            shape, part = Shape.ASSIGNMENT, ""
        if self._holds_hook(struct, member, place.value, file):
            yield Hook(
                struct=struct,
                member=member,
                name=name,
                function=self._function(place.value, file),
                file=file,
                line=parsed.text.line(offset),
                shape=shape,
                converted=self._converted(struct, member),
                within=within,
                part=part,
                guard=parsed.text.guard(offset),
                held=tuple(self._held(parsed, name)) if isinstance(place.at, Declared) else (),
            )

    def _hidden(self, parsed: Parsed, names: set[str]) -> Iterator[Hook]:
        known = self.macros
        if not parsed.text.file.endswith(".h") and parsed.text.macros:
            # A macro of a C file is not known elsewhere.
            known = {**known, **hiding(parsed.text.macros, names, known)}
        used = [name for name in known if name.encode() in parsed.text.text]
        pattern = use_pattern(used)
        for match in pattern.finditer(parsed.text.text) if pattern is not None else ():
            macro = known[match[0].decode()]
            after = parsed.text.text[match.end() : match.end() + _LONGEST_USE].decode(
                errors="replace"
            )
            if macro.macro.parameters is None or after.lstrip().startswith("("):
                for hidden in macro.used(arguments_at(after)):
                    yield from self._used(parsed, match.start(), match.end(), macro, hidden)

    def _used(
        self, parsed: Parsed, start: int, end: int, macro: Hiding, hidden: Hidden
    ) -> Iterator[Hook]:
        file, struct, name, part = parsed.text.file, hidden.struct, hidden.name, ""
        if not struct:
            at = parsed.declared(start, end)
            if at is None:
                self._unclear(parsed, start)
                return
            struct = self.structs.follow(at.struct, at.fields, file)
            name, part = ".".join((at.name, *at.fields)), at.part
        yield Hook(
            struct=struct,
            member=hidden.member,
            name=name,
            function=self._function(hidden.value, file),
            file=file,
            line=parsed.text.line(start),
            shape=Shape.MACRO,
            converted=self._converted(struct, hidden.member),
            macro=macro.macro.name,
            part=part,
            guard=parsed.text.guard(start),
            held=tuple(self._held(parsed, name)),
        )

    def _holds_hook(self, struct: str, member: str, value: str, file: str) -> bool:
        """Whether a member holds a hook: by its struct, or else by the function that it is given.

        The struct is not clear if its definition is not in the tree, or hidden by a macro.
        """
        if (struct, member) in self.members:
            return True
        if self.structs.has(struct, member, file):
            return False
        return any(self.functions.find(name, file) for name in _IDENTIFIER.findall(value))

    def _converted(self, struct: str, member: str) -> bool:
        known = self.members.get((struct, member))
        return known.converted if known is not None else "prepare" in member

    def _function(self, value: str, file: str) -> str:
        """Return `NULL`, the first function of a value that is known, or the value."""
        words: list[str] = _IDENTIFIER.findall(value)
        known = [word for word in words if self.functions.find(word, file)]
        if known:
            return known[0]
        return "NULL" if words == ["NULL"] or value == "0" else value.lstrip("&")

    def _held(self, parsed: Parsed, name: str) -> Iterator[str]:
        """Yield the members and functions of the file that are given the object's address."""
        seen = set()
        if not name.isidentifier():
            return
        for match in re.finditer(rf"&\s*({name})\b".encode(), parsed.text.text):
            at = parsed.given_to(match.start(1), match.end(1))
            if at is None:
                found = called_name(parsed.node(match.start(1), match.end(1)))
            elif isinstance(at, Declared):
                outer = self.structs.follow(at.struct, at.fields[:-1], parsed.text.file)
                found = f"{outer}.{at.fields[-1]}" if outer and at.fields else ""
            else:
                found = self._assigned_to(at, parsed.text.file)
            if found and found not in seen:
                seen.add(found)
                yield found

    def _assigned_to(self, at: Assigned, file: str) -> str:
        outer = self.structs.pointed(at.holder.child_by_field_name("argument"), file)
        member = text_of(at.holder.child_by_field_name("field"))
        return f"{outer}.{member}" if outer and member else ""

    def _unclear(self, parsed: Parsed, offset: int) -> None:
        text = parsed.text
        end = text.text.find(b"\n", offset)
        line = text.text[text.text.rfind(b"\n", 0, offset) + 1 : end].decode(errors="replace")
        self.unread.append(f"{text.file}:{text.line(offset)}: cannot be parsed: {line.strip()}")
