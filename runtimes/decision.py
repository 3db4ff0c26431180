"""What the runtime answers: a label, how sure it is, and how it came to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avgn.health import clip_warnings
from avgn.schema import plain

TOP = 5


@dataclass(frozen=True)
class Scored:
    """A label and its probability."""

    label: str
    score: float


@dataclass(frozen=True)
class Decision:
    """The answer for one file; the fields but the last, in this order, are the JSON of `avgn classify --json`.

    `score` is the softmax probability of `label`, `top` the five best. `saliency` and `times` (seconds) have one number
    a snippet; `selected` are the snippets that were focused on, in time order, and `centres` the middles (y, x in 0..1)
    of the patches really cut: (0.5, 0.5) for a snippet without a picture. `heard` and `seen`: any sound, any picture at
    all. `exited`: answered by the glance alone. `macs`: multiply-accumulates of the graphs that were really run.
    `timings_ms`: `decode` is everything from the file to what the graphs take in (frames, log-mel, patches); `glance`,
    `select`, `focus` and `classify` are the engine's calls; `total` is all of it and the host's work in between.
    """

    file: str
    label: str
    score: float
    top: tuple[Scored, ...]
    saliency: tuple[float, ...]
    times: tuple[float, ...]
    selected: tuple[int, ...]
    centres: tuple[tuple[float, float], ...]
    heard: bool
    seen: bool
    exited: bool
    macs: int
    backend: str
    precision: str
    timings_ms: dict[str, float]
    probabilities: tuple[float, ...] = ()
    """[C] of all labels, in the bundle's order; not part of the JSON."""

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for `json.dumps`; `warnings` are signs of trouble (`avgn.health`)."""
        data: dict[str, Any] = plain(self)
        del data["probabilities"]
        return data | {"warnings": self.warnings}

    @property
    def warnings(self) -> list[str]:
        """What in this decision is a known sign of trouble, one sentence each."""
        return clip_warnings(self.saliency)


def softmax(logits: NDArray[np.float32]) -> tuple[float, ...]:
    """Probabilities of `logits` [C], in float64 and without overflow."""
    values = logits.tolist()  # of so few numbers numpy's first call after a graph takes longer than all this
    largest = max(values)
    powers = [math.exp(value - largest) for value in values]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)


def best(probabilities: Sequence[float], labels: tuple[str, ...]) -> tuple[Scored, ...]:
    """The (up to) five most probable labels, best first, ties to the earlier label."""
    order = sorted(range(len(labels)), key=probabilities.__getitem__, reverse=True)[:TOP]
    return tuple(Scored(labels[index], probabilities[index]) for index in order)
