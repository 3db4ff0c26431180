"""Small charts as SVG text: lines over time, stacked bars, ranges. Colours are CSS variables of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP, FOOT = 860, 64, 34, 14, 40
Scale = Callable[[float], float]
_LOWEST, _HIGHEST = 1e-9, 1e12  # beyond is no measurement, and neither is NaN
COLOURS = 8  # --c0 to --c7 of the page


@dataclass(frozen=True)
class Line:
    """Points in the order of x; None breaks the line."""

    name: str
    points: tuple[tuple[float, float | None], ...]
    dashed: bool = False
    colour: int = 0


@dataclass(frozen=True)
class Bar:
    """A bar of named parts, one after the other."""

    name: str
    parts: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Span:
    """From `low` to `high`, with a mark at `middle`; spans of one row share its `name`."""

    name: str
    series: str
    low: float
    middle: float
    high: float


def lines(series: Sequence[Line], x_label: str, y_label: str, height: int = 260, zero: bool = True) -> str:
    """Lines over a common x axis; the y axis begins at 0 if `zero`."""
    points = [point for line in series for piece in _pieces(line) for point in piece]
    if not points:
        return ""
    xs = ticks(min(x for x, _ in points), max(x for x, _ in points))
    low, high = min(y for _, y in points), max(y for _, y in points)
    ys = ticks(0.0, high) if zero and low >= 0 else ticks(low - 1, high + 1)
    to_x, to_y = _scale(xs, LEFT, WIDTH - RIGHT), _scale(ys, height - FOOT, TOP)
    body = [_grid_y(ys, to_y), *(_label(to_x(x), height - FOOT + 16, plain(x), "middle") for x in xs)]
    for line in series:
        style = ' stroke-dasharray="5 4"' if line.dashed else ""
        for piece in _pieces(line):
            path = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in piece)
            colour = f"var(--c{line.colour % COLOURS})"
            if len(piece) == 1:
                x, y = piece[0]
                body.append(f'<circle cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="3" fill="{colour}"/>')
            body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{style}/>')
    body.append(_label(WIDTH - RIGHT, height - 6, x_label, "end"))
    body.append(_label(6, TOP + 2, y_label, "start", turned=height))
    return _svg(height, body, f"{y_label} over {x_label}") + legend([(line.name, line.colour) for line in series])


def stacked(bars: Sequence[Bar], unit: str) -> str:
    """Horizontal bars whose parts add up."""
    longest = max((sum(value for _, value in bar.parts) for bar in bars), default=0.0)
    if longest < _LOWEST:
        return ""
    marks = ticks(0.0, longest * 1.05)
    left, row = 130, 40
    height = TOP + row * len(bars) + FOOT
    to_x = _scale(marks, left, WIDTH - RIGHT)
    names = list(dict.fromkeys(name for bar in bars for name, _ in bar.parts))
    body = [_grid_x(marks, to_x, height, unit)]
    for place, bar in enumerate(bars):
        y, at = TOP + row * place + 6, 0.0
        body.append(_label(left - 8, y + 18, bar.name, "end"))
        for name, value in bar.parts:
            x, wide = to_x(at), to_x(at + value) - to_x(at)
            tip = f"<title>{escape(name)} {value:.2f} {escape(unit)}</title>"
            colour = f"var(--c{names.index(name) % COLOURS})"
            body.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="26" fill="{colour}">{tip}</rect>')
            at += value
        body.append(_label(to_x(at) + 6, y + 18, f"{at:.1f}", "start"))
    return _svg(height, body, "parts of a decision") + legend([(name, index) for index, name in enumerate(names)])


def spans(found: Sequence[Span], unit: str) -> str:
    """Ranges on a logarithmic axis, a row for each name, a colour for each series."""
    found = [span for span in found if span.low >= _LOWEST]
    if not found:
        return ""
    least = math.floor(math.log10(min(one.low for one in found)))
    most = math.ceil(math.log10(max(one.high for one in found)))
    marks = [10.0**power for power in range(least, max(most, least + 1) + 1)]
    names, series = (list(dict.fromkeys(getattr(one, key) for one in found)) for key in ("name", "series"))
    left, row = 130, 12 * len(series) + 10
    height = TOP + row * len(names) + FOOT
    wide = (WIDTH - RIGHT - left) / (math.log10(marks[-1]) - least)

    def to_x(value: float) -> float:
        return left + (math.log10(value) - least) * wide

    body = [_grid_x(marks, to_x, height, unit)]
    body += [_label(left - 8, TOP + row * (place + 0.5) + 4, name, "end") for place, name in enumerate(names)]
    for one in found:
        index = series.index(one.series)
        y, colour = TOP + row * names.index(one.name) + 5 + 12 * index, f"var(--c{index % COLOURS})"
        low, middle, high = to_x(one.low), to_x(one.middle), to_x(one.high)
        tip = f"<title>{escape(one.series)}: {one.low:.3f}, {one.middle:.3f}, {one.high:.3f} {escape(unit)}</title>"
        wide_enough = f'width="{max(high - low, 3):.1f}" height="9" rx="2"'
        body.append(f'<rect x="{low:.1f}" y="{y}" {wide_enough} fill="{colour}">{tip}</rect>')
        body.append(f'<rect x="{middle - 1:.1f}" y="{y - 1}" width="2" height="11" fill="var(--ink)"/>')
    return _svg(height, body, "ranges") + legend([(name, index) for index, name in enumerate(series)])


def legend(names: Sequence[tuple[str, int]]) -> str:
    """Names with their colours."""
    items = [f'<li><i style="background:var(--c{colour % COLOURS})"></i>{escape(name)}</li>' for name, colour in names]
    return f'<ul class="legend">{"".join(items)}</ul>'


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers that cover low..high."""
    span = max(high - low, abs(high) * 1e-6, _LOWEST)
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def plain(value: float) -> str:
    """A number without needless digits."""
    return f"{value:.10g}"


def _pieces(line: Line) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in line.points:
        if y is None or not abs(y) < _HIGHEST:
            pieces.append([])
        else:
            pieces[-1].append((x, y))
    return [piece for piece in pieces if piece]


def _scale(marks: Sequence[float], first: float, last: float) -> Scale:
    """A straight map from the first and last mark to two places."""
    rate = (last - first) / (marks[-1] - marks[0])
    return lambda value: first + (value - marks[0]) * rate


def _grid_y(marks: Sequence[float], to_y: Scale) -> str:
    return "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{to_y(mark):.1f}" y2="{to_y(mark):.1f}" class="grid"/>'
        + _label(LEFT - 8, to_y(mark) + 4, plain(mark), "end")
        for mark in marks
    )


def _grid_x(marks: Sequence[float], to_x: Scale, height: int, unit: str) -> str:
    foot = height - FOOT
    return "".join(
        f'<line x1="{to_x(mark):.1f}" x2="{to_x(mark):.1f}" y1="{TOP}" y2="{foot + 4}" class="grid"/>'
        + _label(to_x(mark), foot + 20, f"{plain(mark)} {unit}" if mark == marks[-1] else plain(mark), "middle")
        for mark in marks
    )


def _label(x: float, y: float, text: str, anchor: str, turned: int = 0) -> str:
    turn = f' transform="rotate(-90 {x + 6:.1f} {turned / 2:.1f})"' if turned else ""
    if turned:
        x, y, anchor = x + 6, turned / 2, "middle"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'


def _svg(height: int, body: Sequence[str], title: str) -> str:
    inside = "".join(body)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{inside}</svg>'
