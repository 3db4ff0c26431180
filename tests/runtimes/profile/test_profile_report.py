from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_profile_run import profiled

import device_trees
from avgn.errors import InputError
from runtimes.profile import svg
from runtimes.profile.compare import compare, comparison_sections
from runtimes.profile.html import comparison_html, to_html
from runtimes.profile.markdown import to_markdown
from runtimes.profile.report import OperatorReport, read_report, to_json
from runtimes.profile.run import BACK_TO_BACK, CADENCE, Plan
from runtimes.profile.sections import Section, headline, sections
from simulated import Simulation

HOSTILE = '<script>alert(1)</script>|"&'


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    tree = device_trees.tree_of(tmp_path_factory.mktemp("orin"), "orin_nano_jp6")
    found, _ = profiled(tree, Simulation(), Plan(duration=60, keep_warm=True))
    operators = (OperatorReport("glance", "conv", "Convolution", "jit_avx512", 1.5),)
    return replace(found, operators=operators, operators_note="counted", memory_mb={"peak": 100.0, "loaded": None})


def test_json_comes_back_as_it_was(report, tmp_path):
    (tmp_path / "a.json").write_text(to_json(report))
    assert read_report(tmp_path / "a.json") == report


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 1}', "\xff", '{"version": 1, "x": NaN}']
)
def test_what_is_no_report(text, tmp_path):
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError):
        read_report(tmp_path / "a.json")
    with pytest.raises(InputError):
        read_report(tmp_path / "missing.json")


class Page(HTMLParser):
    """Tags that are open, and all that would be fetched or run."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.outside = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.outside += [value for name, value in attributes if name in ("src", "href", "onload", "action")]
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    page = Page()
    page.feed(text)
    assert page.open == [] and page.outside == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    return page


def test_the_page_stands_alone_and_has_its_charts(report):
    text = to_html(report)
    page = parsed(text)
    assert page.tags.count("svg") >= 5 and "url(" not in text and "@import" not in text
    for word in (
        "VALID",
        "sensors simulated",
        "Orin Nano",
        "VDD_IN",
        "p90",
        "jit_avx512",
        "25W",
        report.subject.digest,
        "0.50",
    ):
        assert word in text
    for chart in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(chart)


def test_names_cannot_bring_in_markup(report):
    subject = replace(report.subject, bundle=HOSTILE, clip=HOSTILE)
    operators = (OperatorReport(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1.0),)
    hostile = replace(report, subject=subject, operators=operators, notes=(HOSTILE,))
    parsed(to_html(hostile))
    text = to_markdown(HOSTILE, headline(hostile), sections(hostile))
    assert "<script" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|") and "|" in line.replace(r"\|", "")


def test_markdown_holds_the_figures(report):
    text = to_markdown("avgn profile", f"{headline(report)}. {report.verdict}", sections(report))
    assert text.startswith("# avgn profile\n") and "VALID" in text
    phase = report.phase(BACK_TO_BACK)
    assert f"| end to end | {phase.total.count} | 10.00 | 10.00 |" in text
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        assert len({line.replace(r"\|", "").count("|") for line in block.splitlines()}) == 1


def test_a_report_of_almost_nothing_can_be_shown(tmp_path):
    found, _ = profiled(device_trees.write(tmp_path, {"empty": ""}), Simulation(), Plan(duration=0.2))
    bare = replace(found, phases=(), graphs={}, operators=())
    for one in (found, bare):
        parsed(to_html(one))
        assert "INVALID" in str(one.verdict) and "unknown" in to_markdown("a", "b", sections(one))


def test_a_comparison_and_what_speaks_against_it(report, tmp_path):
    same = compare(report, report)
    assert same.warnings == () and all(pair.ratio in (1, None) for pair in same.pairs)
    slow, _ = profiled(
        device_trees.tree_of(tmp_path, "thor_jp7"), Simulation(ms=lambda now, pause: 20.0), Plan(duration=5)
    )
    found = compare(report, slow)
    pairs = {pair.name: pair for pair in found.pairs}
    assert pairs["back to back, end to end, p50"].ratio == pytest.approx(2)
    assert pairs["kept warm, end to end, p50"].b is None and pairs["kept warm, end to end, p50"].ratio is None
    assert not any(pair.unit == "mJ" for pair in found.pairs)
    words = "; ".join(found.warnings)
    assert "B is INVALID" in words and "power mode" in words and "different scope" in words and "device" in words
    parsed(comparison_html(found))
    assert len(comparison_sections(found)) == 2
    assert found.as_json()["pairs"][0]["ratio"] == 1


def test_sections_have_as_many_cells_as_columns(report):
    for section in sections(report):
        assert isinstance(section, Section)
        assert all(len(row) == len(section.header) for row in section.rows)
    assert report.phase(CADENCE) is not None


NUMBERS = st.floats(0, 1e9, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, st.one_of(st.none(), st.floats())), max_size=20), NUMBERS, NUMBERS)
def test_charts_of_any_numbers_are_well_formed(points, low, high):
    low, high = sorted((low, high))
    charts = [
        svg.lines([svg.Line(HOSTILE, tuple(points))], "x", HOSTILE),
        svg.stacked([svg.Bar(HOSTILE, (("a", low), (HOSTILE, high)))], "ms"),
        svg.spans([svg.Span(HOSTILE, "a", low, (low + high) / 2, high)], "ms"),
    ]
    for chart in filter(None, charts):
        ElementTree.fromstring(f"<p>{chart}</p>")
        assert "nan" not in chart and "inf" not in chart


@settings(max_examples=100, deadline=None)
@given(NUMBERS, NUMBERS)
def test_ticks_cover_the_range(low, high):
    low, high = sorted((low, high))
    marks = svg.ticks(low, high)
    step = marks[1] - marks[0]
    assert 2 <= len(marks) <= 9 and marks[0] <= low + step * 1e-6 and marks[-1] >= high - step * 1e-6
