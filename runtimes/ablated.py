"""The classifier with parts of the method replaced, to measure what each is worth; not for devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtimes.classifier import Choice, Classifier, Floats, Glance, Look
from runtimes.decision import Decision

if TYPE_CHECKING:
    from avgn.data.scenes import SceneRecord
    from avgn.snippets import Clip
    from avgn.training.ablations import Ablation


def ablated(classifier: Classifier, ablation: Ablation) -> Callable[[Path, SceneRecord], Decision]:
    """`classifier.classify` under `ablation`, for a clip whose truth is known.

    `macs` and `timings_ms` are those of the ablated method: where a part is deafened by asking a graph a second time,
    that second call is left out, for it alone would do. `classifier` itself is used for such calls.
    """
    return _Ablated(classifier, ablation).classify_scene


class _Ablated(Classifier):
    """`classify_scene` is the way in: the other steps need the truth of the clip in hand."""

    def __init__(self, plain: Classifier, ablation: Ablation) -> None:
        super().__init__(plain.bundle, plain.engine, plain.k, plain.exit_confidence)
        self._plain = plain  # its meter counts what ours shall not
        self._ablation = ablation
        self._deaf = ablation.deaf

    def classify_scene(self, path: Path, record: SceneRecord) -> Decision:
        self._record = record
        return self.classify(path)

    def classify_clip(self, clip: Clip, file: str = "", began: float | None = None) -> Decision:
        if "clip" in self._deaf:
            clip = replace(clip, sound=np.zeros_like(clip.sound), heard=np.zeros_like(clip.heard))
        self._times = clip.times
        self._plain.meter.reset()
        decision = super().classify_clip(clip, file, began)
        total = decision.timings_ms["total"] - sum(self._plain.meter.ms.values())
        return replace(decision, timings_ms={**decision.timings_ms, "total": total})

    def glance_all(self) -> list[Glance]:
        glances = super().glance_all()
        if "patches" in self._deaf:
            unheard = [self._deaf_glance(slot) for slot in range(len(glances))]
            glances = [
                replace(glance, context=deaf.context, centre=deaf.centre)
                for glance, deaf in zip(glances, unheard, strict=True)
            ]
        if self._ablation.patches is not None:
            centres = self._ablation.patches(self._times, self._record, self.config.patch).tolist()
            glances = [
                glance if np.isnan(centre).any() else replace(glance, centre=tuple(centre))
                for glance, centre in zip(glances, centres, strict=True)
            ]
        return glances

    def _deaf_glance(self, slot: int) -> Glance:
        if not self._there[slot][0]:
            return self.nothing
        inputs = self._snippets[slot]
        deaf = {name: np.zeros_like(inputs[name]) for name in ("mel", "heard")}
        return self._plain.glance_at({**inputs, **deaf}, seen=True, heard=False)

    def choose(self, glances: Sequence[Glance]) -> Choice:
        choice = super().choose(_unheard(glances) if "saliency" in self._deaf else glances)
        if "frames" in self._deaf:
            deaf = self._plain.choose(_unheard(glances))
            choice = replace(choice, saliency=deaf.saliency, selected=deaf.selected)
        if self._ablation.frames is not None:
            chosen = self._ablation.frames(choice.saliency, self.k, self._times, self._record)
            choice = replace(choice, selected=chosen)
        return choice

    def decide(self, choice: Choice, glances: Sequence[Glance], looks: Mapping[int, Look]) -> Floats:
        return super().decide(choice, _unheard(glances) if "classify" in self._deaf else glances, looks)


def _unheard(glances: Sequence[Glance]) -> list[Glance]:
    return [replace(glance, heard=False) for glance in glances]
