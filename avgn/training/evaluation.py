"""`avgn evaluate`: how good a bundle or a run is on rendered Scenes, as a user's device would see them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avgn.data.scenes import SceneRecord
from avgn.errors import InputError
from avgn.training.metrics import average_precision, bootstrap, covered, mean_average_precision, mean_of, patch_box

if TYPE_CHECKING:
    from avgn.config import Config
    from runtimes.decision import Decision


@dataclass(frozen=True)
class ClipResult:
    """One clip: NaN where a measure does not apply (no interval inside, no box on a chosen frame)."""

    kind: str
    label: int
    probabilities: tuple[float, ...]
    saliency_ap: float
    patch_hits: tuple[bool, ...]  # one for each chosen frame that shows the label's object
    macs: int
    milliseconds: float  # without decoding

    @property
    def right(self) -> bool:
        """Whether the most probable label is the true one."""
        return int(np.argmax(self.probabilities)) == self.label


def evaluate(
    classify: Callable[[Path, SceneRecord], Decision],
    records: Iterable[tuple[Path, SceneRecord]],
    labels: Sequence[str],
    config: Config,
) -> list[ClipResult]:
    """Classify each clip and compare with the truth; `classify` is given it too, for ablations only.

    Raises InputError for a label that the model does not know.
    """
    results = []
    for path, record in records:
        if record.label not in labels:
            raise InputError(f"{path}: its label {record.label!r} is not one of the model's: {', '.join(labels)}.")
        results.append(judge(classify(path, record), record, labels.index(record.label), config))
    return results


def summary(results: Sequence[ClipResult]) -> dict[str, Any]:
    """The figures of `avgn evaluate --json`: shares in 0..1, None where nothing could be measured."""
    if not results:
        raise InputError("there is no clip to evaluate.")
    kinds = sorted({result.kind for result in results})
    whole = _figures(results)
    spent = [result.milliseconds for result in results]
    levels = np.percentile(spent, (50, 90, 99))
    return {
        **whole,
        "intervals": {name: _interval(results, name) for name in ("top1", "map", "saliency_ap", "patch_hit")},
        "macs_mean": float(np.mean([result.macs for result in results])),
        "latency_ms": {name: float(value) for name, value in zip(("p50", "p90", "p99"), levels, strict=True)},
        "by_kind": {kind: _figures([result for result in results if result.kind == kind]) for kind in kinds},
    }


def judge(decision: Decision, record: SceneRecord, label: int, config: Config) -> ClipResult:
    """Compare a decision with the truth; `label` is the true one's index."""
    times = np.array(decision.times)
    salient, boxes = record.salient(times), record.boxes_at(times)
    hits = []
    for index, centre in zip(decision.selected, decision.centres, strict=True):
        if not np.isnan(boxes[index]).any():
            patch = patch_box(centre, config.patch.size, config.patch.short_side, record.height, record.width)
            y0, x0, y1, x1 = boxes[index].tolist()
            hits.append(covered((y0, x0, y1, x1), patch) >= 0.5)
    return ClipResult(
        record.kind,
        label,
        decision.probabilities,
        average_precision(np.array(decision.saliency), salient) if 0 < salient.sum() < len(salient) else math.nan,
        tuple(hits),
        decision.macs,
        decision.timings_ms["total"] - decision.timings_ms["decode"],
    )


MEASURES: dict[str, Callable[[Sequence[ClipResult]], float]] = {
    "top1": lambda results: float(np.mean([result.right for result in results])),
    "map": lambda results: mean_average_precision(
        np.array([result.probabilities for result in results]), np.array([result.label for result in results])
    ),
    "saliency_ap": lambda results: mean_of([result.saliency_ap for result in results]),
    "patch_hit": lambda results: mean_of([float(hit) for result in results for hit in result.patch_hits]),
}


def _figures(results: Sequence[ClipResult]) -> dict[str, Any]:
    return {"clips": len(results)} | {name: _known(measure(results)) for name, measure in MEASURES.items()}


def _interval(results: Sequence[ClipResult], name: str) -> list[float] | None:
    measure = MEASURES[name]
    if math.isnan(measure(results)):
        return None
    return list(bootstrap(len(results), lambda chosen: measure([results[index] for index in chosen])))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
