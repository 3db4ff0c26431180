"""The report as a picture: top-1 against latency, and against size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from avgn.files import write_file
from quantize.report import Report, Row

PLOT = "report.png"
_MARKS = {"fp32": "o", "fp16": "s", "int8": "^"}


def draw(report: Report, folder: Path) -> Path | None:
    """Write the picture into `folder`; None where nothing was measured. Needs matplotlib."""
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row.top1 is not None]
    if not rows:
        return None
    figure = Figure(figsize=(11, 4.5), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colours = {name: f"C{place}" for place, name in enumerate(dict.fromkeys(row.backend for row in rows))}
    for row in rows:
        if row.latency is not None:
            _mark(left, row, row.latency.p50, colours[row.backend])
        _mark(right, row, row.size / 1e6, colours[row.backend])
    left.set(xlabel="milliseconds of a decision, p50", ylabel="top-1")
    right.set(xlabel="MB")
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    right.legend(fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    write_file(folder / PLOT, content.getvalue())
    return folder / PLOT


def _mark(axes: Any, row: Row, x: float, colour: str) -> None:
    assert row.top1 is not None
    bars = [[row.top1.value - row.top1.low], [row.top1.high - row.top1.value]]
    mark = _MARKS.get(row.precision, "d")
    axes.errorbar(x, row.top1.value, bars, fmt=mark, color=colour, capsize=3, label=f"{row.backend} {row.precision}")
