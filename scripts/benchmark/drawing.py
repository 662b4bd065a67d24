# SPDX-License-Identifier: GPL-2.0
"""Figures as an SVG picture: bars to the median, whiskers from the minimum to the maximum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmark.figures import Figure, compare

# In SVG user units, which are pixels unless the picture is scaled.
_WIDTH = 940
_MARGIN = 16
_LEFT = 320  # where bars begin
_BAR = 300  # the longest whisker
_ROW = 24
_THICK = 12
_TICK = 5  # half of a whisker's end
_HEADING = 34
_TEXT_DROP = 4  # from a row's middle to its text's base line

# For light and for dark pages. Whiskers are visible on them, and the colour-blind can distinguish
# the hues.
_COLOURS = (("#4a90d9", "#3a78bd"), ("#dd8436", "#b9682a"), ("#6fa558", "#4f8340"))

_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #222; }
text.heading { font-weight: 600; }
text.note { fill: #666; font-size: 12px; }
line { stroke: #222; stroke-width: 1.2; }
rect.ground { fill: #fff; }
"""
_DARK = """\
text { fill: #ddd; }
text.note { fill: #999; }
line { stroke: #ddd; }
rect.ground { fill: #16181c; }
"""


@dataclass(frozen=True)
class _Row:
    figure: Figure
    colour: int
    scale: float  # of its group: user units for one second or byte
    comparison: str


def draw(figures: Sequence[Figure], title: str) -> str:
    """Return an SVG document. Each group of quantities has its own scale, which begins at 0."""
    arches = list(dict.fromkeys(figure.arch for figure in figures))
    body = [_text(_MARGIN, 28, title, "heading"), *_legend(arches)]
    top = 64
    for group in dict.fromkeys(figure.quantity.group for figure in figures):
        top += _HEADING
        body.append(_text(_MARGIN, top - 12, group, "heading"))
        for row in _rows(group, figures, arches):
            body += _draw_row(row, top + _ROW / 2)
            top += _ROW
    return _document([*body], top + _MARGIN, title)


def _rows(group: str, figures: Sequence[Figure], arches: Sequence[str]) -> list[_Row]:
    """Return the rows of a group. The architectures of a quantity are next to each other."""
    mine = [figure for figure in figures if figure.quantity.group == group]
    longest = max(figure.high for figure in mine)
    labels = list(dict.fromkeys(figure.label for figure in mine))
    mine.sort(key=lambda figure: (labels.index(figure.label), arches.index(figure.arch)))
    return [
        _Row(
            figure,
            arches.index(figure.arch) % len(_COLOURS),
            _BAR / longest if longest > 0 else 0.0,
            str(compare(figure, figures) or ""),
        )
        for figure in mine
    ]


def _draw_row(row: _Row, middle: float) -> Iterator[str]:
    figure, base = row.figure, middle + _TEXT_DROP
    low, median, high = (
        _LEFT + max(0.0, value) * row.scale for value in (figure.low, figure.median, figure.high)
    )
    yield _text(_LEFT - 8, base, figure.label, "end")
    yield (
        f'<rect class="bar{row.colour}" x="{_LEFT}" y="{middle - _THICK / 2:.1f}" '
        f'width="{median - _LEFT:.1f}" height="{_THICK}"/>'
    )
    yield _line(low, middle, high, middle)
    for end in (low, high):
        yield _line(end, middle - _TICK, end, middle + _TICK)
    yield _text(high + 8, base, figure.quantity.unit.show(figure.median))
    if row.comparison:
        yield _text(_WIDTH - _MARGIN, base, row.comparison, "note end")


def _legend(arches: Sequence[str]) -> Iterator[str]:
    left = _MARGIN
    for number, arch in enumerate(arches):
        colour = number % len(_COLOURS)
        yield f'<rect class="bar{colour}" x="{left}" y="42" width="{_THICK}" height="{_THICK}"/>'
        yield _text(left + _THICK + 6, 53, arch)
        left += _THICK + 26 + 8 * len(arch)
    yield _text(left, 53, "bar: median; line: minimum to maximum", "note")


def _document(body: Sequence[str], height: float, title: str) -> str:
    light, dark = (
        "".join(f".bar{n} {{ fill: {pair[i]}; }}\n" for n, pair in enumerate(_COLOURS))
        for i in (0, 1)
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_WIDTH}" '
        f'height="{height:.0f}" viewBox="0 0 {_WIDTH} {height:.0f}">',
        f"<title>{escape(title)}</title>",
        f"<style>\n.end {{ text-anchor: end; }}\n{_STYLE}{light}"
        f"@media (prefers-color-scheme: dark) {{\n{_DARK}{dark}}}\n</style>",
        '<rect class="ground" width="100%" height="100%"/>',
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
