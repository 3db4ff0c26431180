"""The classifier with parts of the method replaced, to measure what each is worth; not for devices.

A clip is decoded once, each snippet glanced at once (and once more without sound where an ablation asks for it), and
each patch looked at once, however many ways to decide are tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from avgn.errors import InputError
from avgn.logmel import log_mel_windows
from avgn.selection import top_k
from runtimes.classifier import Choice, Classifier, Glance, Glances, Look, gathered
from runtimes.decision import Decision, softmax

if TYPE_CHECKING:
    from avgn.data.scenes import SceneRecord
    from avgn.snippets import Clip, Picture
    from avgn.training.ablations import Ablation

T = TypeVar("T")
Point = tuple[float, float]


def ablated(classifier: Classifier, ablation: Ablation) -> Callable[[Path, SceneRecord], Decision]:
    """`classifier.classify` under `ablation`, for a clip whose truth is known."""
    rehearsal = Rehearsal(classifier)

    def classify(path: Path, record: SceneRecord) -> Decision:
        rehearsal.open(path, record)
        return rehearsal.decision(ablation)

    return classify


class _Pixels:
    """A picture that is scaled once."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._scaled: NDArray[np.uint8] | None = None

    def squashed(self, size: int) -> NDArray[np.uint8]:
        return self._picture.squashed(size)

    def scaled(self, short_side: int) -> NDArray[np.uint8]:
        if self._scaled is None:
            self._scaled = self._picture.scaled(short_side)
        return self._scaled


@dataclass(eq=False)
class _Known:
    """What has been computed of the clip in hand, each with the milliseconds that it took."""

    clip: Clip
    record: SceneRecord
    file: str
    decode: float  # seconds
    glances: dict[bool, tuple[Glances, float]] = field(default_factory=dict)  # by: deaf
    choices: dict[tuple[bool, bool], tuple[Choice, float]] = field(default_factory=dict)  # by: deaf glances, deaf net
    looks: dict[tuple[int, Point], tuple[Look, float]] = field(default_factory=dict)


class Rehearsal(Classifier):
    """`open` a clip, then ask for its `decision` in as many ways as wanted.

    `macs` and `timings_ms` are those of the way asked for, as if it ran alone; times are those of the engine's calls
    (and of decoding), without the host's work in between.
    """

    def __init__(self, plain: Classifier) -> None:
        super().__init__(plain.bundle, plain.engine, plain.k, plain.exit_confidence)

    def open(self, path: Path, record: SceneRecord) -> None:
        """Decode the clip at `path`, whose truth is `record`. Raises InputError as `classify` does."""
        from avgn.media import read_clip

        began = perf_counter()
        clip = read_clip(path, self.config)
        pictures = tuple(None if picture is None else _Pixels(picture) for picture in clip.pictures)
        mels = log_mel_windows(clip.sound, clip.starts, self.config.sound)
        for slot, picture in enumerate(pictures):
            self.prepare(slot, picture, mels[slot] if clip.heard[slot] else None)
        self._known = _Known(replace(clip, pictures=pictures), record, str(path), perf_counter() - began)

    def decision(self, ablation: Ablation, k: int | None = None, exit_confidence: float | None = None) -> Decision:
        """The clip's decision under `ablation`, on `k` snippets and with early exit from `exit_confidence` on.

        Left out, both are the classifier's own. Raises InputError where nothing is left to judge by.
        """
        known, clip = self._known, self._known.clip
        deaf = "clip" in ablation.deaf
        if deaf:
            clip = replace(clip, sound=np.zeros_like(clip.sound), heard=np.zeros_like(clip.heard))
        if not (clip.seen.any() or clip.heard.any()):
            raise InputError(f"{known.file}: there is neither picture nor sound to judge by.")
        self.meter.reset()
        glances, glance_ms = self._glances_under(ablation, deaf)
        choice, select_ms = self._choice_under(ablation, deaf, self.k if k is None else k)
        self.meter.calls["glance"], self.meter.calls["select"] = int((clip.seen | clip.heard).sum()), 1
        limit = self.exit_confidence if exit_confidence is None else exit_confidence
        exited = limit is not None and max(softmax(choice.logits)) >= limit
        looks: dict[int, Look] = {}
        logits, focus_ms = choice.logits, 0.0
        if not exited:
            centres: list[Point] = list(map(tuple, glances.centres.tolist()))
            looks, focus_ms = self._looks_at({i: centres[i] for i in choice.selected if clip.seen[i]})
            self.meter.calls["focus"] = math.ceil(len(looks) / self._batch)
            heard = _unheard(glances) if "classify" in ablation.deaf else glances
            logits = self.decide(choice, heard, looks)
        self.meter.ms |= {"glance": glance_ms, "select": select_ms, "focus": focus_ms}
        decision = self._decision(known.file, clip, choice, exited, looks, logits, known.decode, perf_counter())
        total = known.decode * 1e3 + sum(self.meter.ms.values())
        return replace(decision, timings_ms={**decision.timings_ms, "total": total})

    def _glances_under(self, ablation: Ablation, deaf: bool) -> tuple[Glances, float]:
        """The glances that the rest of the method sees, with the time of one glance at each snippet."""
        glances, ms = self._glances(deaf)
        if "patches" in ablation.deaf and not deaf:
            other = self._glances(True)[0]
            glances = glances._replace(context=other.context, centres=other.centres)
        if ablation.patches is not None:
            centres = ablation.patches(self._known.clip.times, self._known.record, self.config.patch)
            unknown = np.isnan(centres).any(1, keepdims=True)
            glances = glances._replace(centres=np.where(unknown, glances.centres, centres))
        return glances, ms

    def _choice_under(self, ablation: Ablation, deaf: bool, k: int) -> tuple[Choice, float]:
        choice, ms = self._choice(deaf, "saliency" in ablation.deaf)
        if "frames" in ablation.deaf:
            choice = replace(choice, saliency=self._choice(deaf, True)[0].saliency)
        selected = top_k(choice.saliency, k)
        if ablation.frames is not None:
            selected = ablation.frames(choice.saliency, k, self._known.clip.times, self._known.record)
        return replace(choice, selected=selected), ms

    def _glances(self, deaf: bool) -> tuple[Glances, float]:
        """Glances at all snippets, with sound or without."""
        known = self._known.glances
        if deaf not in known:
            known[deaf] = self._timed("glance", self._deaf_glances if deaf else self.glance_all)
        return known[deaf]

    def _deaf_glances(self) -> Glances:
        return gathered([self._deaf_glance(slot) for slot in range(self.config.snippets)])

    def _deaf_glance(self, slot: int) -> Glance:
        if not self._there[0, slot]:
            return self.nothing
        inputs = self._snippets[slot]
        deaf = {name: np.zeros_like(inputs[name]) for name in ("mel", "heard")}
        return self.glance_at({**inputs, **deaf}, seen=True, heard=False)

    def _choice(self, deaf: bool, unheard: bool) -> tuple[Choice, float]:
        """AV-TeST on glances with sound or without, itself told of the sound or not."""
        known, key = self._known.choices, (deaf, unheard)
        if key not in known:
            glances = self._glances(deaf)[0]
            known[key] = self._timed("select", lambda: self.choose(_unheard(glances) if unheard else glances))
        return known[key]

    def _looks_at(self, centres: dict[int, Point]) -> tuple[dict[int, Look], float]:
        """Looks by snippet, and the time they took: only those that were not made before are made."""
        known = self._known.looks
        missing = {index: centre for index, centre in centres.items() if (index, centre) not in known}
        if missing:
            middles = {
                index: self._patch_of(self._known.clip, slot, index, centre)
                for slot, (index, centre) in enumerate(missing.items())
            }
            looks, ms = self._timed("focus", lambda: self.look_all(middles))
            known |= {(index, missing[index]): (look, ms / len(looks)) for index, look in looks.items()}
        found = {index: known[index, centre] for index, centre in centres.items()}
        return {index: look for index, (look, _) in found.items()}, sum(ms for _, ms in found.values())

    def _timed(self, graph: str, work: Callable[[], T]) -> tuple[T, float]:
        before = self.meter.ms[graph]
        done = work()
        return done, self.meter.ms[graph] - before


def _unheard(glances: Glances) -> Glances:
    return glances._replace(heard=np.zeros_like(glances.heard))
