"""The charts of a report, by the name that its sections call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtimes.profile.report import Heat, PhaseReport, Report
from runtimes.profile.run import BACK_TO_BACK, CADENCE, KEPT_WARM
from runtimes.profile.svg import Bar, Line, Span, lines, spans, stacked
from runtimes.profile.workload import STEPS

_ORDER = (BACK_TO_BACK, CADENCE, KEPT_WARM)


def draw(name: str, report: Report) -> str:
    """SVG of a chart; empty where there is nothing to draw."""
    return CHARTS[name](report) if name in CHARTS else ""


def _steps(report: Report) -> str:
    """Where a decision's time goes: the mean of each step over all decisions, also those without it."""
    return stacked([Bar(phase.name, tuple(_parts(phase))) for phase in _phases(report)], "ms")


def _parts(phase: PhaseReport) -> list[tuple[str, float]]:
    parts = []
    for name in STEPS:
        found = phase.steps.get(name)
        parts.append((name, found.mean * found.count / phase.decisions if found else 0.0))
    whole = phase.total.mean if phase.total else 0.0
    return [*parts, ("host between", max(0.0, whole - sum(value for _, value in parts)))]


def _pause(report: Report) -> str:
    """p50 (mark: p90) to p99 of each step by phase."""
    found = []
    for name in ("end to end", *STEPS):
        for phase in _phases(report):
            one = phase.total if name == "end to end" else phase.steps.get(name)
            if one:
                found.append(Span(name, phase.name, one.p50, one.p90, one.p99))
    return spans(found, "ms") + '<p class="small">Each bar runs from p50 over p90 (mark) to p99.</p>'


def _time(report: Report) -> str:
    series = []
    for index, phase in enumerate(_phases(report)):
        p50 = tuple((piece.at, piece.p50) for piece in phase.slices)
        p90 = tuple((piece.at, piece.p90) for piece in phase.slices)
        series += [Line(f"{phase.name}, p50", p50, colour=index), Line(f"{phase.name}, p90 (dashed)", p90, True, index)]
    return lines(series, "seconds since the start", "ms end to end")


def _heat(report: Report) -> str:
    """What the sensors said over time, a chart for each that said anything."""
    heat = report.heat
    charts = (
        ("hottest sensor", heat.celsius, "°C", 5, False),
        (f"{report.energy.rail}", heat.watts, "W", 3, True),
        ("fastest core", heat.cpu_mhz, "MHz, processor", 0, True),
        ("GPU", heat.gpu_mhz, "MHz, GPU", 2, True),
    )
    return "".join(_sensor(heat, *chart) for chart in charts)


def _sensor(heat: Heat, name: str, values: Sequence[float | None], unit: str, colour: int, zero: bool) -> str:
    if all(value is None for value in values):
        return ""
    line = Line(name, tuple(zip(heat.at, values, strict=True)), colour=colour)
    return lines([line], "seconds since the start", unit, height=180, zero=zero)


def _phases(report: Report) -> list[PhaseReport]:
    return [phase for name in _ORDER if (phase := report.phase(name))]


CHARTS: dict[str, Callable[[Report], str]] = {"steps": _steps, "pause": _pause, "time": _time, "heat": _heat}
