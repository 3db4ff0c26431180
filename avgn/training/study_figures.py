"""What a study's answers come to: figures of each way over runs and clips, and whether the method's claims hold.

Several runs are seeds of one recipe: a row gives the mean of their top-1 with the least and the most. Intervals are
bootstrap ones over clips, of the mean over runs; differences are paired, with the method on the same clips and runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avgn.training.evaluation import MEASURES, ClipResult
from avgn.training.study import METHOD

REPEATS = 2000
Results = Sequence[Sequence[ClipResult]]  # by run, then by clip
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A number between its bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """What is measured over some clips, each with its bootstrap interval; None where nothing could be measured."""

    clips: int
    top1: Figure
    gain: Figure  # top-1 minus the method's
    saliency_ap: Figure | None
    patch_hit: Figure | None


@dataclass(frozen=True)
class Row:
    """One way on one set of clips; `least` and `most` are top-1 of the worst and the best run."""

    name: str
    runs: int
    least: float
    most: float
    map: float
    macs: float
    whole: Figures
    by_kind: dict[str, Figures]


def make_row(name: str, results: Results, method: Results) -> Row:
    """Figures of one way; `method` are the method's own results on the same clips."""
    kinds = np.array([result.kind for result in results[0]])
    sums, theirs = _sums(results), _sums(method)["top1"][0]
    each = [MEASURES["top1"](run) for run in results]
    return Row(
        name,
        len(results),
        min(each),
        max(each),
        float(np.mean([MEASURES["map"](run) for run in results])),
        float(np.mean([result.macs for run in results for result in run])),
        _figures(sums, theirs, np.full(len(kinds), True)),
        {str(kind): _figures(sums, theirs, kinds == kind) for kind in sorted(set(kinds))},
    )


def _sums(results: Results) -> dict[str, tuple[Floats, Floats]]:
    """Of each measure, clip by clip and averaged over runs: sum [n] and how many it is of [n]."""

    def averaged(pairs: Callable[[ClipResult], tuple[float, float]]) -> tuple[Floats, Floats]:
        table = np.array([[pairs(result) for result in run] for run in results], np.float64).mean(0)
        return table[:, 0], table[:, 1]

    return {
        "top1": averaged(lambda result: (float(result.right), 1.0)),
        "saliency_ap": averaged(
            lambda result: (0.0, 0.0) if math.isnan(result.saliency_ap) else (result.saliency_ap, 1.0)
        ),
        "patch_hit": averaged(lambda result: (float(sum(result.patch_hits)), float(len(result.patch_hits)))),
    }


def _figures(sums: Mapping[str, tuple[Floats, Floats]], method: Floats, there: NDArray[np.bool_]) -> Figures:
    found = {name: interval(total[there], count[there]) for name, (total, count) in sums.items()}
    right, ones = sums["top1"]
    gain = interval((right - method)[there], ones[there])
    top1 = found["top1"]
    assert top1 is not None and gain is not None, "every clip has an answer"
    return Figures(int(there.sum()), top1, gain, found["saliency_ap"], found["patch_hit"])


def interval(total: Floats, count: Floats) -> Figure | None:
    """Sum over sum of clips [n], with its 95 % percentile interval over clips drawn with replacement; None for none."""
    if not count.sum():
        return None
    drawn = np.random.default_rng(0).integers(0, len(total), (REPEATS, len(total)))
    with np.errstate(invalid="ignore"):
        low, high = np.nanpercentile(total[drawn].sum(1) / count[drawn].sum(1), (2.5, 97.5))
    return Figure(float(total.sum() / count.sum()), float(low), float(high))


@dataclass(frozen=True)
class Claim:
    """Something that the method is said to do: a figure of the rows, and the goal that it is held to.

    The figure must reach the goal; a goal of 0 it must exceed.
    """

    says: str
    goal: float
    figure: Callable[[Mapping[str, Row]], Figure | None]


@dataclass(frozen=True)
class Verdict:
    """`found` is None where the rows do not tell."""

    says: str
    goal: float
    found: Figure | None

    @property
    def told(self) -> str:
        """`holds` or `does not hold` where the whole interval says so; else open, whatever the estimate is."""
        if self.found is None:
            return "not run"
        if self._reaches(self.found.low):
            return "holds"
        if not self._reaches(self.found.high):
            return "does not hold"
        return f"open (the estimate {'reaches' if self._reaches(self.found.value) else 'does not reach'} it)"

    def _reaches(self, value: float) -> bool:
        return value >= self.goal if self.goal else value > 0


def _loss(way: str, kind: str | None = None) -> Callable[[Mapping[str, Row]], Figure | None]:
    """By how much top-1 falls where the method decides in this way instead."""

    def figure(rows: Mapping[str, Row]) -> Figure | None:
        found = _of(rows.get(way), kind)
        return None if found is None else Figure(0 - found.gain.value, 0 - found.gain.high, 0 - found.gain.low)

    return figure


def _of(row: Row | None, kind: str | None) -> Figures | None:
    return None if row is None else row.whole if kind is None else row.by_kind.get(kind)


def _quality(measure: str, kind: str) -> Callable[[Mapping[str, Row]], Figure | None]:
    def figure(rows: Mapping[str, Row]) -> Figure | None:
        found = _of(rows.get(METHOD), kind)
        return None if found is None else getattr(found, measure)

    return figure


def _cost_ratio(rows: Mapping[str, Row]) -> Figure | None:
    if DENSE not in rows or METHOD not in rows:
        return None
    ratio = rows[DENSE].macs / rows[METHOD].macs
    return Figure(ratio, ratio, ratio)


DENSE = "dense"
CLAIMS = (
    Claim("Frames by AV-TeST beat evenly spread ones.", 0.0, _loss("frames-uniform")),
    Claim("Frames by AV-TeST beat random ones.", 0.0, _loss("frames-random")),
    Claim("AV-TeST needs the sound to choose.", 0.0, _loss("frames-deaf")),
    Claim("AV-TeST needs the sound to choose, on `both`.", 0.0, _loss("frames-deaf", "both")),
    Claim("Patches by AESPA and π beat the middle of the frame.", 0.0, _loss("patches-centre")),
    Claim("AESPA and π need the sound.", 0.0, _loss("patches-deaf")),
    Claim("AESPA and π need the sound, on `both`.", 0.0, _loss("patches-deaf", "both")),
    Claim("5 points above evenly spread frames and their middles, at the same MACs.", 0.05, _loss("uniform-centre")),
    Claim("Sound is worth 5 points on `both`.", 0.05, _loss("sound-off", "both")),
    Claim("Sound is worth 5 points on `heard`.", 0.05, _loss("sound-off", "heard")),
    Claim("Focusing beats the glance's own answer.", 0.0, _loss("glance-alone")),
    Claim("Saliency AP of 0.85 on `both`.", 0.85, _quality("saliency_ap", "both")),
    Claim("Saliency AP of 0.85 on `seen`.", 0.85, _quality("saliency_ap", "seen")),
    Claim("Patch hit rate of 0.85 on `both`.", 0.85, _quality("patch_hit", "both")),
    Claim("Patch hit rate of 0.85 on `seen`.", 0.85, _quality("patch_hit", "seen")),
    Claim(
        "Within 1 point of the dense model, whatever either was trained on (the rows below tell).",
        -0.01,
        _loss(DENSE),
    ),
    Claim("A quarter of the dense model's MACs at most (dense over ours).", 4.0, _cost_ratio),
)


def verdicts(rows: Mapping[str, Row]) -> list[Verdict]:
    """Each claim held against the rows of one set of clips (other models' rows among them)."""
    return [Verdict(claim.says, claim.goal, claim.figure(rows)) for claim in CLAIMS]
