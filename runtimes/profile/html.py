"""A report as one HTML file that needs nothing else: style and charts are inside, nothing is fetched, no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from runtimes.profile.charts import draw
from runtimes.profile.compare import Comparison, comparison_sections
from runtimes.profile.report import Report
from runtimes.profile.run import BACK_TO_BACK, CADENCE
from runtimes.profile.sections import Section, headline, milliseconds, number, sections

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --page: #f6f7f9; --card: #fff; --edge: #dde2e8;
  --good: #1a7f4b; --bad: #b3261e; --c0: #3a6fd8; --c1: #e07b39; --c2: #3a9d7c; --c3: #b0579f; --c4: #c9a227;
  --c5: #cc4b4b; --c6: #6d7f92; --c7: #7d6ad1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa5b4; --page: #14181e; --card: #1d232b;
  --edge: #333c48; --good: #4cc38a; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 0 0 8px; }
p { margin: 0 0 10px; color: var(--soft); overflow-wrap: anywhere; } .small { font-size: 13px; }
section, header { background: var(--card); border: 1px solid var(--edge); border-radius: 8px; padding: 18px 20px;
  margin: 0 0 16px; overflow-x: auto; }
.verdict { display: inline-block; font-weight: 600; padding: 3px 10px; border-radius: 6px; color: var(--card);
  background: var(--bad); margin: 8px 0 2px; overflow-wrap: anywhere; } .verdict.good { background: var(--good); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin-top: 14px; }
.cards div { border: 1px solid var(--edge); border-radius: 6px; padding: 10px 12px; }
.cards b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
.cards span { color: var(--soft); font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--edge); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } .text { text-align: left; overflow-wrap: anywhere; }
td.no { color: var(--bad); font-weight: 600; }
svg { width: 100%; height: auto; display: block; margin: 6px 0; } svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--edge); stroke-width: 1; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0; margin: 0 0 12px;
  font-size: 13px; color: var(--soft); }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px; }
summary { cursor: pointer; color: var(--soft); font-size: 13px; }
@media print { body { background: #fff; } section, header { break-inside: avoid; border: none; } }
"""
_FOLDED = ("Over time", "Operators")  # long tables below a chart or of details


def to_html(report: Report) -> str:
    """The page of a report."""
    return page("avgn profile", _header(report), sections(report), lambda name: draw(name, report))


def comparison_html(found: Comparison) -> str:
    """The page of two reports side by side."""
    header = f"<header><h1>Two profiles</h1><p>A: {escape(found.a)}</p><p>B: {escape(found.b)}</p></header>"
    return page("Two profiles", header, comparison_sections(found))


def page(title: str, header: str, found: Sequence[Section], chart: Callable[[str], str] = lambda name: "") -> str:
    """A page of a header (HTML) and sections; `chart` draws by name."""
    body = "".join(_section(section, chart(section.chart) if section.chart else "") for section in found)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{header}{body}</main></body></html>\n"
    )


def badge(verdict: str) -> str:
    """A verdict in colour."""
    good = "verdict good" if verdict == "VALID" else "verdict"
    return f'<div class="{good}">{escape(verdict)}</div>'


def _header(report: Report) -> str:
    cards = []
    for name in (BACK_TO_BACK, CADENCE):
        phase = report.phase(name)
        if phase and phase.total:
            cards += [(milliseconds(phase.total.p50), f"p50, {name}"), (milliseconds(phase.total.p90), f"p90, {name}")]
    cadence = report.phase(CADENCE)
    if cadence:
        cards.append((f"{cadence.focus_calls / cadence.decisions:.2f}", "focus calls a decision"))
        energy = cadence.energy.net_mj if cadence.energy else None
        cards.append((f"{number(energy)} mJ" if energy is not None else "unknown", "energy a decision, above idle"))
    peak = report.memory_mb.get("peak")
    if peak is not None:
        cards.append((f"{peak:.0f} MiB", "peak memory"))
    shown = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in cards)
    return (
        f"<header><h1>avgn profile</h1><p>{escape(headline(report))}</p>{badge(str(report.verdict))}"
        f'<div class="cards">{shown}</div></header>'
    )


def _section(section: Section, chart: str) -> str:
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    table = _table(section) if section.rows else ""
    if table and section.title in _FOLDED:
        table = f"<details><summary>the numbers</summary>{table}</details>"
    return f"<section><h2>{escape(section.title)}</h2>{text}{chart}{table}</section>"


def _table(section: Section) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        made = []
        for column, cell in enumerate(cells):
            classes = ["text"] * (column < section.numbers) + ["no"] * (cell == "NO")
            name = f' class="{" ".join(classes)}"' if classes else ""
            made.append(f"<{tag}{name}>{escape(cell)}</{tag}>")
        return f"<tr>{''.join(made)}</tr>"

    head = row(section.header, "th") if any(section.header) else ""
    return f"<table>{head}{''.join(row(cells, 'td') for cells in section.rows)}</table>"
