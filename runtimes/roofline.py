"""How much of the machine each graph uses: multiply-accumulates a second against the measured peak, and why not all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from avgn.contract import STAGES
from runtimes.backends.operators import Operator, operators

if TYPE_CHECKING:
    from runtimes.bench import Row
    from runtimes.contestant import Subject

PEAK = "peak"  # rows of peaks begin with it
NAMED = 3  # kinds of operators that are named
UNKNOWN = "not known: the engine does not tell what its operators cost"


@dataclass(frozen=True)
class Ceiling:
    """A graph under the roof: GMACs a second reached and possible at that precision, their ratio, and where it goes."""

    graph: str
    backend: str
    precision: str
    bundle: str
    gmacs_per_s: float
    peak_gmacs_per_s: float
    share: float
    why: str


@dataclass(frozen=True)
class _Part:
    """A group of operators: those that took `lost_ms` longer than their products would at the peak."""

    name: str
    members: tuple[Operator, ...]
    peak: float  # multiply-accumulates a millisecond

    @property
    def macs(self) -> int:
        return sum(one.macs for one in self.members)

    @property
    def lost_ms(self) -> float:
        return max(0.0, sum(one.ms for one in self.members) - self.macs / self.peak)


def roofline(rows: Sequence[Row], subjects: Sequence[Subject]) -> tuple[Ceiling, ...]:
    """A line for each graph of each subject of which a peak of its precision was measured."""
    peaks: dict[str, float] = {}
    for row in rows:
        if row.name.startswith(PEAK):
            peaks[row.precision] = max(peaks.get(row.precision, 0.0), row.macs / row.ms.p50)
    medians = {(row.bundle, row.backend, row.precision, row.name): row for row in rows}
    lines = []
    for subject in subjects:
        engine, bundle = subject.engine, subject.classifier.bundle.manifest.name
        for graph in STAGES:
            bare = medians.get((bundle, engine.backend, engine.precision, f"bare {graph}"))
            peak = peaks.get(engine.precision)
            if bare is None or not peak:
                continue
            reached, found = bare.macs / bare.ms.p50, operators(engine, graph)
            why = UNKNOWN if found is None else reason(found, peak)
            speeds = reached / 1e6, peak / 1e6
            lines.append(Ceiling(graph, engine.backend, engine.precision, bundle, *speeds, reached / peak, why))
    return tuple(lines)


def reason(found: Sequence[Operator], peak: float) -> str:
    """Where the time beyond that of the bare products goes; `peak` in multiply-accumulates a millisecond."""
    depthwise = tuple(one for one in found if one.depthwise)
    dense = tuple(one for one in found if one.macs and not one.depthwise)
    others = tuple(one for one in found if not one.macs)
    total = max(sum(one.macs for one in found), 1)
    parts = (
        _Part(f"depthwise convolutions ({_macs(depthwise) / total:.0%} of the MACs)", depthwise, peak),
        _Part(f"{len(dense)} products, median {_typical(dense):.2g} MMACs: small shapes", dense, peak),
        _Part(f"{len(others)} operators without products ({_kinds(others)})", others, peak),
    )
    lost = sum(part.lost_ms for part in parts)
    if not lost:
        return "none lost"
    told = (f"{part.lost_ms / lost:.0%} {part.name}" for part in sorted(parts, key=lambda part: -part.lost_ms))
    each = sum(one.ms for one in found) / len(found) * 1e3
    return f"lost: {', '.join(told)}; {len(found)} operators of {each:.0f} us"


def _macs(found: Sequence[Operator]) -> int:
    return sum(one.macs for one in found)


def _typical(found: Sequence[Operator]) -> float:
    return median(one.macs for one in found) / 1e6 if found else 0.0


def _kinds(found: Sequence[Operator]) -> str:
    """The costliest kinds."""
    spent: Counter[str] = Counter()
    for one in found:
        spent[one.kind] += one.ms  # type: ignore[assignment]
    return ", ".join(kind for kind, _ in spent.most_common(NAMED)) or "none"
