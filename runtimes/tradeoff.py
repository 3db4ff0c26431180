"""A picture of what `avgn bench` is for: accuracy against the time of a decision."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avgn.errors import InputError, UsageError
from avgn.files import parse_json, write_file
from avgn.manifest import Accuracy
from runtimes.plot import check_plot

if TYPE_CHECKING:
    from avgn.bundle import Bundle
    from runtimes.bench import Bench, Row

DECIDERS = ("avgn classify", "dense, all frames")  # rows that are whole decisions
Measured = Mapping[str, tuple[float, float, float]]  # top-1 and its interval, by `title` of a row


@dataclass(frozen=True)
class Point:
    """A row whose accuracy is known: median milliseconds with the middle half, top-1 with its interval."""

    title: str
    ms: tuple[float, float, float]
    top1: tuple[float, float, float]


def title(row: Row) -> str:
    """What a row is called in the plot and with `--accuracy`, such as `default openvino-int8`, or `dense`."""
    if row.name == DECIDERS[0]:
        return f"{row.bundle} {row.backend}-{row.precision}"
    return f"dense {row.backend}-{row.precision}"


def recorded(bundles: Sequence[Bundle]) -> Measured:
    """What the manifests say; of several data sets the first."""
    found: dict[str, tuple[float, float, float]] = {}
    for bundle in bundles:
        told = bundle.manifest.accuracy
        for one in told if isinstance(told, tuple) else ():
            found.setdefault(f"{bundle.manifest.name} {_folder(one)}", (one.top1, one.low, one.high))
    return found


def evaluated(given: Sequence[str]) -> Measured:
    """Of `TITLE=FILE`, FILE printed by `avgn evaluate --json`. UsageError, InputError for anything else."""
    found = {}
    for text in given:
        name, _, file = text.partition("=")
        if not name or not file:
            raise UsageError(f"accuracy {text!r}: write TITLE=FILE, such as 'dense openvino-fp32=dense.json'.")
        try:
            data = parse_json(Path(file).read_bytes(), file)
            low, high = data["intervals"]["top1"]
            found[name] = (float(data["top1"]), float(low), float(high))
        except (OSError, KeyError, TypeError, ValueError) as fault:
            raise InputError(f"{file}: is not what `avgn evaluate --json` prints ({fault}).") from fault
    return found


def points(bench: Bench, accuracy: Measured) -> list[Point]:
    """The rows that decide and whose accuracy is known."""
    return [
        Point(title(row), (row.spread.p25, row.ms.p50, row.spread.p75), accuracy[title(row)])
        for row in bench.rows
        if row.name in DECIDERS and title(row) in accuracy
    ]


def draw(bench: Bench, accuracy: Measured, path: Path) -> None:
    """Draw them into the file at `path`. UsageError where no accuracy is known, MissingError without matplotlib."""
    check_plot(path)
    from matplotlib.figure import Figure

    found = points(bench, accuracy)
    if not found:
        raise UsageError("no accuracy is known of what was benched: name evaluations with --accuracy TITLE=FILE.")
    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    axes: Any = figure.add_subplot()
    for number, point in enumerate(found):
        low, middle, high = point.ms
        top1, least, most = (100 * value for value in point.top1)
        axes.errorbar(
            middle,
            top1,
            xerr=[[middle - low], [high - middle]],
            yerr=[[top1 - least], [most - top1]],
            fmt="os^vD"[number // 10 % 5],  # there are ten colours
            capsize=3,
            label=point.title,
        )
    axes.set_xscale("log")
    axes.set(xlabel="ms a decision, decoding left out (median, middle half)", ylabel="top-1 % (95 % interval)")
    axes.set_title(f"{bench.machine['cpu']}, {bench.machine['cores']} cores", fontsize=10)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lower().removeprefix("."))
    write_file(path, content.getvalue())


def _folder(one: Accuracy) -> str:
    return f"{one.backend}-{one.precision}"
