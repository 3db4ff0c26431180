"""Percentiles, their 99 % confident bounds, and curves over time, of latencies in milliseconds.

The bound is the early-stopping rule of loadgen's SingleStream (mlcommons/inference, loadgen/early_stopping.cc): of n
samples the t - 1 highest are left out, where t is the largest number with P[Binomial(n, 1 - p) <= t] < 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

CONFIDENCE = 0.99
PERCENTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Levels:
    """Milliseconds. A percentile is the sample at index int(n p) of the sorted ones, so a time that was measured.

    `p90_bound`, `p99_bound`: with 99 % confidence the true percentile is not above; None with too few samples (below
    64 and 662).
    """

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float
    p90_bound: float | None
    p99_bound: float | None


@dataclass(frozen=True)
class Slice:
    """A piece of a phase: seconds from the start of the profile to its middle, and what was measured in it."""

    at: float
    count: int
    p50: float
    p90: float


def levels(values: Sequence[float]) -> Levels | None:
    """Of at least one value; None for none."""
    if not values:
        return None
    ordered = sorted(values)
    p50, p90, p99 = (percentile(ordered, share) for share in PERCENTILES)
    mean = math.fsum(ordered) / len(ordered)
    return Levels(len(ordered), mean, p50, p90, p99, ordered[-1], bound(ordered, 0.9), bound(ordered, 0.99))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value at index int(n p), counted from 0, as loadgen takes it; `ordered` rises and is not empty."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def left_out(count: int, share: float) -> int | None:
    """loadgen's t for `count` samples (t - 1 are left out); None where they are too few for this percentile."""
    log_miss, log_hit = math.log1p(-share), math.log(share)
    total, found = 0.0, None
    for t in range(count + 1):
        log_ways = math.lgamma(count + 1) - math.lgamma(t + 1) - math.lgamma(count - t + 1)
        total += math.exp(log_ways + t * log_miss + (count - t) * log_hit)
        if total >= 1 - CONFIDENCE:
            break
        found = t
    return found or None


def bound(ordered: Sequence[float], share: float) -> float | None:
    """The percentile's upper bound with 99 % confidence; None where there are too few samples."""
    t = left_out(len(ordered), share)
    return None if t is None else ordered[len(ordered) - t]


def curve(times: Sequence[float], values: Sequence[float], begin: float, end: float) -> list[Slice]:
    """Minute by minute; a phase shorter than five minutes in ten equal pieces. Empty pieces are left out."""
    width = slice_width(begin, end)
    pieces: dict[int, list[float]] = {}
    for time, value in zip(times, values, strict=True):
        if begin <= time <= end:
            pieces.setdefault(int((time - begin) / width), []).append(value)
    found = []
    for index, piece in sorted(pieces.items()):
        ordered = sorted(piece)
        middle = begin + (index + 0.5) * width
        found.append(Slice(middle, len(piece), percentile(ordered, 0.5), percentile(ordered, 0.9)))
    return found


def slice_width(begin: float, end: float) -> float:
    """Seconds of a slice of `curve`."""
    return 60.0 if end - begin >= 300 else max(end - begin, 1e-9) / 10


def spread(slices: Sequence[Slice]) -> float | None:
    """How far apart the slices' medians lie, as a share of their median, without the highest and the lowest of ten."""
    if len(slices) < 3:
        return None
    medians = sorted(piece.p50 for piece in slices)
    edge = len(medians) // 10
    middle = median(medians)
    return (medians[-1 - edge] - medians[edge]) / middle if middle > 0 else None
