"""The study's pictures: accuracy against multiply-accumulates, and what each replaced part costs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avgn.files import write_file
from avgn.training.study import METHOD

if TYPE_CHECKING:
    from avgn.training.study_figures import Row
    from avgn.training.study_page import Study

_PARTS = ("frames", "patches", "together", "sound")


def draw(study: Study, folder: Path) -> list[tuple[str, str]]:
    """Write the pictures into `folder`; returns (file name, caption) of each. Nothing where nothing was measured."""
    if METHOD not in study.first:
        return []
    drawn = (
        ("ablations-macs.png", "Top-1 against multiply-accumulates a clip", _draw_macs),
        ("ablations-parts.png", "Top-1 with one part replaced, minus the method's", _draw_parts),
    )
    for name, _, work in drawn:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
        work(figure.add_subplot(), study)
        content = io.BytesIO()
        figure.savefig(content, format="png", metadata={"Software": None})
        write_file(folder / name, content.getvalue())
    return [(name, caption) for name, caption, _ in drawn]


def _draw_macs(axes: Any, study: Study) -> None:
    rows, counts = study.first, [way for way in study.tried if way.group == "k"]
    lines = {
        "the method, by k": [*(way.name for way in counts if not way.parts), METHOD],
        "evenly spread frames, their middles, by k": [*(way.name for way in counts if way.parts), "uniform-centre"],
        "early exit": [way.name for way in study.tried if way.group == "exit"],
    }
    for label, names in lines.items():
        found = sorted((rows[name] for name in names if name in rows), key=lambda row: row.macs)
        if found:
            macs, top1 = [row.macs / 1e9 for row in found], [row.whole.top1.value for row in found]
            axes.plot(macs, top1, "o-", label=label, markersize=4)
    points = {"oracle-oracle": "true interval and box", **{other.name: other.name for other in study.others}}
    for name, label in points.items():
        if name in rows:
            axes.errorbar(rows[name].macs / 1e9, rows[name].whole.top1.value, _bars(rows[name]), fmt="s", label=label)
    axes.set(xlabel="GMACs a clip", ylabel="top-1")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _bars(row: Row) -> list[list[float]]:
    top1 = row.whole.top1
    return [[top1.value - top1.low], [top1.high - top1.value]]


def _draw_parts(axes: Any, study: Study) -> None:
    shown = [way.name for way in study.tried if way.group in _PARTS and way.name in study.first]
    for place, name in enumerate(reversed(shown)):
        gain = study.first[name].whole.gain
        bars = [[100 * (gain.value - gain.low)], [100 * (gain.high - gain.value)]]
        axes.errorbar(100 * gain.value, place, xerr=bars, fmt="o", color="#1f77b4", capsize=3)
    axes.axvline(0, color="#d62728", linewidth=1)
    axes.set_yticks(range(len(shown)), list(reversed(shown)), fontsize=8)
    axes.set(xlabel="points of top-1 (95 % interval, paired over clips)")
    axes.grid(alpha=0.3, axis="x")
