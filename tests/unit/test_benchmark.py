# SPDX-License-Identifier: GPL-2.0
"""The output of scripts/bench: relative values, a table, a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmark.cycles import parse_pss
from benchmark.drawing import draw
from benchmark.figures import Figure, Samples, as_json, compare, table_lines
from benchmark.quantities import (
    BOOT,
    BOOTS,
    CLONE_PROBE,
    CLONE_RUNS,
    CLONES,
    PEER,
    PROBE,
    PSS,
    QUANTITIES,
    SHARED,
    Quantity,
)
from benchmark.sessions import Timed, further, timed

from testbed.errors import CommandError
from testbed.results.model import Case, Run, Status
from testbed.results.store import write_run

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def samples() -> Samples:
    made = Samples()
    made.add("x86_64", BOOT, 1.5, 2.5, 1.4)
    made.add("x86_64", PEER, 4.0, 3.0)
    made.add("x86_64", CLONE_PROBE, 0.25)
    made.add("x86_64", CLONE_PROBE, 0.5, 0.25, at_once=2)
    made.add("arm64", BOOT, 2.0)
    return made


def find(figures: list[Figure], arch: str, quantity: Quantity, at_once: int = 1) -> Figure:
    wanted = (arch, quantity, at_once)
    (found,) = (each for each in figures if (each.arch, each.quantity, each.at_once) == wanted)
    return found


def compared(figures: list[Figure], arch: str, quantity: Quantity, at_once: int = 1) -> str:
    return str(compare(find(figures, arch, quantity, at_once), figures) or "")


def test_a_figure_has_the_median_and_the_spread(samples: Samples) -> None:
    boot = find(samples.figures(), "x86_64", BOOT)
    assert (boot.median, boot.low, boot.high) == (1.5, 1.4, 2.5)


def test_figures_are_sorted_by_architecture_and_then_by_the_list(samples: Samples) -> None:
    order = [(each.arch, each.quantity, each.at_once) for each in samples.figures()]
    x86 = [(PEER, 1), (BOOT, 1), (CLONE_PROBE, 1), (CLONE_PROBE, 2)]
    assert order == [*(("x86_64", *each) for each in x86), ("arm64", BOOT, 1)]


def test_a_ratio_compares_the_medians(samples: Samples) -> None:
    assert compared(samples.figures(), "x86_64", BOOT) == "0.43 times virtme-ng, one command"


def test_a_figure_is_compared_only_on_the_same_architecture(samples: Samples) -> None:
    assert compared(samples.figures(), "arm64", BOOT) == ""


def test_several_at_a_time_are_compared_with_one(samples: Samples) -> None:
    assert compared(samples.figures(), "x86_64", CLONE_PROBE, 2) == "1.50 times one at a time"


@pytest.mark.parametrize(("seconds", "shown"), [(0.25, "+150.0 ms"), (0.05, "-50.0 ms")])
def test_an_isolation_shows_its_difference_from_one_vm(seconds: float, shown: str) -> None:
    samples = Samples()
    samples.add("arm64", SHARED, 0.1)
    samples.add("arm64", CLONES, seconds)
    assert compared(samples.figures(), "arm64", CLONES) == f"{shown} vs one VM for all"


def test_each_comparison_names_a_quantity_of_the_same_unit() -> None:
    units = {quantity.what: quantity.unit for quantity in QUANTITIES}
    for quantity in QUANTITIES:
        if quantity.against:
            assert units[quantity.against] is quantity.unit


def test_names_of_quantities_are_unique() -> None:
    assert len({quantity.what for quantity in QUANTITIES}) == len(QUANTITIES)


def test_the_table_has_a_line_for_each_figure(samples: Samples) -> None:
    assert list(table_lines(samples.figures())) == [
        "x86_64                                      median     min     max  samples",
        "  virtme-ng, one command                    3.50 s  3.00 s  4.00 s        2",
        "  boot to first answer                      1.50 s  1.40 s  2.50 s        3"
        "  0.43 times virtme-ng, one command",
        "  clone to first probe result               0.25 s  0.25 s  0.25 s        1"
        "  0.07 times virtme-ng, one command",
        "  clone to first probe result, 2 at a time  0.38 s  0.25 s  0.50 s        2"
        "  1.50 times one at a time",
        "arm64                                       median     min     max  samples",
        "  boot to first answer                      2.00 s  2.00 s  2.00 s        1",
    ]


def test_the_json_has_every_sample_in_seconds_or_bytes(samples: Samples) -> None:
    samples.add("arm64", PROBE, 0.002)
    samples.add("arm64", PSS, 45e6)
    written = json.loads(json.dumps(as_json(samples.figures(), {"load": [1.5]})))
    assert written["load"] == [1.5]
    rows = {(row["arch"], row["what"], row["at_once"]): row for row in written["figures"]}
    assert rows["x86_64", BOOT.what, 1]["samples"] == [1.5, 2.5, 1.4]
    assert rows["x86_64", CLONE_PROBE.what, 2]["against"]["value"] == pytest.approx(1.5)
    assert rows["arm64", BOOT.what, 1]["against"] is None
    assert rows["arm64", PROBE.what, 1]["unit"] == "seconds"
    assert rows["arm64", PSS.what, 1]["unit"] == "bytes"
    assert rows["arm64", PSS.what, 1]["median"] == 45e6


def bars(picture: ElementTree.Element) -> list[float]:
    found = picture.iter(f"{SVG}rect")
    return [float(each.attrib["width"]) for each in found if "bar" in each.get("class", "")]


def whiskers(picture: ElementTree.Element) -> list[tuple[float, float]]:
    """Return the ends of the horizontal lines."""
    found = [each.attrib for each in picture.iter(f"{SVG}line")]
    return [(float(at["x1"]), float(at["x2"])) for at in found if at["y1"] == at["y2"]]


def texts(picture: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in picture.iter(f"{SVG}text")]


def test_bars_end_at_the_median_and_whiskers_at_the_extremes() -> None:
    samples = Samples()
    samples.add("arm64", PEER, 1.0, 2.0, 4.0)
    samples.add("arm64", BOOT, 1.0)
    picture = ElementTree.fromstring(draw(samples.figures(), "title"))
    # The first bar is in the legend. The longest whisker fills the scale.
    _, peer, boot = bars(picture)
    assert (peer, boot) == (150, 75)
    (low, high), (alone, end) = whiskers(picture)
    assert high - low == 3 * (low - (alone - 75))
    assert alone == end


def test_each_group_has_its_own_scale() -> None:
    samples = Samples()
    samples.add("arm64", BOOT, 2.0)
    samples.add("arm64", CLONE_RUNS, 0.05)
    picture = ElementTree.fromstring(draw(samples.figures(), "title"))
    _, boot, clone = bars(picture)
    assert boot == clone
    assert {BOOT.group, CLONE_RUNS.group, "2.00 s", "50.0 ms"} <= set(texts(picture))


def test_architectures_are_next_to_each_other_in_different_colours(samples: Samples) -> None:
    picture = ElementTree.fromstring(draw(samples.figures(), "title"))
    classes = [each.get("class") for each in picture.iter(f"{SVG}rect")]
    # The background, the legend, then virtme-ng, the boots of both, and the clones.
    assert classes == ["ground", "bar0", "bar1", "bar0", "bar0", "bar1", "bar0", "bar0"]
    assert {"x86_64", "arm64"} <= set(texts(picture))


def test_the_picture_fits_its_frame(samples: Samples) -> None:
    picture = ElementTree.fromstring(draw(samples.figures(), "title"))
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for each in picture.iter(f"{SVG}line"):
        assert 0 < float(each.attrib["x2"]) < width
        assert 0 < float(each.attrib["y2"]) < height


def test_the_picture_has_colours_for_light_and_for_dark_pages(samples: Samples) -> None:
    text = draw(samples.figures(), "title")
    light, dark = text.split("prefers-color-scheme: dark")
    assert all(part.count(".bar0") == 1 for part in (light, dark))


def test_a_title_is_escaped(samples: Samples) -> None:
    picture = ElementTree.fromstring(draw(samples.figures(), "<b> & more"))
    assert "<b> & more" in texts(picture)


def test_the_time_of_a_further_test_excludes_start_and_end() -> None:
    assert further(Timed(4.0, 1), Timed(16.0, 61)) == pytest.approx(0.2)


def test_a_session_counts_the_tests_that_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def fake_run(argv: list[str], **_: object) -> None:
        seen.append(argv)
        folder = Path(argv[argv.index("--results") + 1]) / "latest"
        folder.mkdir()
        cases = [Case(test=str(status), status=status) for status in (Status.PASS, Status.SKIP)]
        write_run(folder, Run(name="", command="", started="", cases=(*cases, cases[0])))

    monkeypatch.setattr("benchmark.sessions.run", fake_run)
    assert timed(["pytest", "--isolation", "boot"], "a or b").tests == 2
    ((program, *words),) = seen
    assert Path(program) == Path(sys.executable).with_name("pytest")
    assert words[:2] == ["--isolation", "boot"]
    assert words[-2:] == ["-k", "a or b"]


def test_a_session_of_all_tests_passes_no_expression(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_run(argv: list[str], **_: object) -> None:
        assert "-k" not in argv
        raise CommandError("pytest ended with status 1", argv=argv, status=1, logs=())

    monkeypatch.setattr("benchmark.sessions.run", fake_run)
    with pytest.raises(CommandError):
        timed(["pytest"], "")


def test_pss_is_the_line_of_that_name() -> None:
    rollup = "55d0-7ffc ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss: 10 kB\nPss_Anon: 7 kB\n"
    assert parse_pss(rollup) == 10240


def test_boots_and_clones_are_compared_with_the_same_quantity() -> None:
    assert BOOTS.against == CLONES.against == SHARED.what
