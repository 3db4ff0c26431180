"""A clip becomes a decision: glance at every snippet, choose, look closer at the chosen patches, decide.

Each step is a method of its own, so that a live window calls `glance` and `look` only for what is new and keeps the
results, while `choose` and `decide` run once a decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avgn.contract import STAGES, patch_batch
from avgn.errors import InputError, ProofError, UsageError
from avgn.logmel import log_mel_windows
from avgn.selection import patch_corner, patch_middle, top_k
from runtimes.backends import Arrays, input_buffers
from runtimes.decision import Decision, best, softmax
from runtimes.meter import Meter

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord
    from avgn.snippets import Clip, Picture
    from runtimes.backends import Engine
    from runtimes.live.settings import LiveSettings
    from runtimes.stream import Stream

Floats = NDArray[np.float32]
MIDDLE = (0.5, 0.5)


class Glance(NamedTuple):
    """What a glance at one snippet found: `visual`, `audio`, `context` [d], and where to look (y, x in 0..1)."""

    visual: Floats
    audio: Floats
    context: Floats
    centre: tuple[float, float]
    heard: bool
    seen: bool


class Glances(NamedTuple):
    """Those at T snippets: `visual`, `audio`, `context` [T,d], `centres` [T,2], `heard`, `seen` [T] (0, 1).

    Of a snippet that holds nothing the first three are zeros, and its centre means nothing.
    """

    visual: Floats
    audio: Floats
    context: Floats
    centres: Floats
    heard: Floats
    seen: Floats


def gathered(glances: Sequence[Glance]) -> Glances:
    """Single glances in the order of their snippets."""
    visual, audio, context, centres, heard, seen = zip(*glances, strict=True)
    rows = (np.stack(each) for each in (visual, audio, context))
    return Glances(*rows, *(np.array(each, np.float32) for each in (centres, heard, seen)))


@dataclass(frozen=True, eq=False)
class Choice:
    """What the T snippets came to: `saliency` [T], `tokens` [1,2T,d], the glance's own `logits` [C], the chosen."""

    saliency: Floats
    tokens: Floats
    logits: Floats
    selected: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Look:
    """What the focus net made of a patch: `local` [D], and the middle (y, x in 0..1) of the patch really cut."""

    local: Floats
    centre: tuple[float, float]


class Classifier:
    """Decides what a clip shows. Reuses its buffers: one thread at a time.

    `engine` runs the bundle's graphs (`runtimes.backends.open_engine`). `k` focuses on fewer snippets than the bundle's
    own. From `exit_confidence` on (a probability; above 1 never) the glance's answer stands and nothing is focused on;
    left out, the bundle says whether and when. Raises UsageError for options out of range.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        k: int | None = None,
        exit_confidence: float | None = None,
    ) -> None:
        self.bundle = bundle
        self.config = bundle.manifest.config
        self.labels = bundle.manifest.labels
        self.k = self.config.chosen if k is None else k
        if not 1 <= self.k <= self.config.chosen:
            raise UsageError(f"k: {k} is out of range; this bundle focuses on 1 to {self.config.chosen} snippets.")
        self.exit_confidence = bundle.manifest.exit_confidence if exit_confidence is None else exit_confidence
        if self.exit_confidence is not None and not self.exit_confidence > 0:
            raise UsageError(f"exit confidence: {self.exit_confidence} is not a probability above 0.")
        self.engine = engine
        records = _records(bundle, engine)
        self.meter = Meter(engine, {graph: record.macs for graph, record in records.items()})
        # filled again and again, so that an engine needs to bind them only once
        self._snippets = input_buffers(engine, records["glance"], self.config.snippets)
        self._there = np.zeros((2, self.config.snippets), np.float32)  # pictures and sounds of each: 0 or 1
        self._batch = patch_batch(records["focus"].inputs)  # patches of one call of focus
        self._patches = input_buffers(engine, records["focus"], math.ceil(self.config.chosen / self._batch))
        self._inputs = {graph: input_buffers(engine, records[graph])[0] for graph in ("select", "classify")}
        blank = np.zeros(self.config.saliency.width, np.float32)
        self.nothing = Glance(blank, blank, blank, MIDDLE, heard=False, seen=False)

    def with_engine(self, engine: Engine) -> Classifier:
        """The same classifier on another engine: the bundle's other variants, or PyTorch for comparison."""
        return Classifier(self.bundle, engine, self.k, self.exit_confidence)

    def classify(self, path: str | Path) -> Decision:
        """Decide what the file at `path` shows. Raises InputError where nothing can be seen or heard in it."""
        from avgn.media import read_clip

        began = perf_counter()
        return self.classify_clip(read_clip(path, self.config), str(path), began)

    def classify_clip(self, clip: Clip, file: str = "", began: float | None = None) -> Decision:
        """Decide what `clip` (of config.snippets snippets) shows; `began` is when the work on it started."""
        began = perf_counter() if began is None else began
        if not (clip.seen.any() or clip.heard.any()):
            raise InputError(f"{file or 'clip'}: there is neither picture nor sound to judge by.")
        self.meter.reset()
        mels = log_mel_windows(clip.sound, clip.starts, self.config.sound)
        for slot, picture in enumerate(clip.pictures):
            self.prepare(slot, picture, mels[slot] if clip.heard[slot] else None)
        decode = perf_counter() - began
        glances = self.glance_all()
        choice = self.choose(glances)
        looks: dict[int, Look] = {}
        exited = self.exits(choice)
        if exited:
            logits = choice.logits
        else:
            preparing = perf_counter()
            there = [index for index in choice.selected if clip.seen[index]]
            centres = glances.centres.tolist()
            middles = {index: self._patch_of(clip, slot, index, centres[index]) for slot, index in enumerate(there)}
            decode += perf_counter() - preparing
            looks = self.look_all(middles)
            logits = self.decide(choice, glances, looks)
        return self._decision(file, clip, choice, exited, looks, logits, decode, began)

    def stream(
        self,
        camera: str | None = None,
        mic: str | None = None,
        settings: LiveSettings | None = None,
        record: str | Path | None = None,
    ) -> Stream:
        """Decisions on what a camera and a microphone give, as it happens: iterate over it (`runtimes.stream`).

        `camera`, `mic`, `record` (a folder) and what is raised: see `runtimes.capture.open_live`.
        """
        from runtimes.capture import open_live
        from runtimes.stream import Stream

        return Stream(self, open_live(camera, mic, self.config.sound, record), settings)

    def prepare(self, slot: int, picture: Picture | None, mel: Floats | None) -> None:
        """Lay out snippet `slot` (0..T-1) for `glance`: its picture, its log-mel [1,M,F]; None for what is missing."""
        inputs = self._snippets[slot]
        if picture is None:
            inputs["frame"][0] = 0
        else:
            _unit_range(picture.squashed(self.config.frame.size), inputs["frame"][0])
        inputs["mel"][0] = 0 if mel is None else mel
        inputs["heard"][0] = mel is not None
        self._there[:, slot] = picture is not None, mel is not None

    def glance(self, slot: int) -> Glance:
        """Glance at the snippet that was laid out in `slot`."""
        seen, heard = map(bool, self._there[:, slot].tolist())
        return self.glance_at(self._snippets[slot], seen, heard) if seen or heard else self.nothing

    def glance_at(self, inputs: Arrays, seen: bool, heard: bool) -> Glance:
        """Run `glance` on its graph's `inputs`."""
        found = self.meter.run("glance", inputs)
        self._check_finite(found, "glance", "centre")
        y, x = found["centre"][0].tolist()
        return Glance(found["visual"][0], found["audio"][0], found["context"][0], (y, x), heard, seen)

    def glance_all(self) -> Glances:
        """Glance at each snippet of a clip that holds anything; one at least does."""
        seen, heard = self._there.copy()
        present = [slot for slot, there in enumerate(zip(seen.tolist(), heard.tolist(), strict=True)) if any(there)]
        found = self.meter.run_each("glance", [self._snippets[slot] for slot in present])
        self._check_finite(found, "glance", "centre")
        if len(present) < len(seen):
            found = {name: _spread(rows, present, len(seen)) for name, rows in found.items()}
        return Glances(found["visual"], found["audio"], found["context"], found["centre"], heard, seen)

    def choose(self, glances: Glances) -> Choice:
        """Score the window's T snippets and choose the k most salient."""
        inputs = self._inputs["select"]
        for name in ("visual", "audio", "heard", "seen"):
            inputs[name][0] = getattr(glances, name)
        found = self.meter.run("select", inputs)
        self._check_finite(found, "select", "saliency", "logits")
        saliency = found["saliency"][0]
        return Choice(saliency, found["tokens"], found["logits"][0], top_k(saliency, self.k))

    def exits(self, choice: Choice) -> bool:
        """Whether the glance alone is sure enough."""
        limit = self.exit_confidence
        return limit is not None and max(softmax(choice.logits)) >= limit

    def prepare_patch(self, slot: int, picture: Picture, centre: tuple[float, float]) -> tuple[float, float]:
        """Lay out patch `slot` (0..k-1) for `look_all`, [3,P,P] RGB 0..1, nearest to `centre`; returns its middle."""
        size, pixels = self.config.patch.size, picture.scaled(self.config.patch.short_side)
        height, width = pixels.shape[:2]
        top, left = patch_corner(centre, height, width, size)
        cut = pixels[top : top + size, left : left + size].transpose(2, 0, 1)
        _unit_range(cut, self._patches[slot // self._batch]["patch"][slot % self._batch])
        return patch_middle((top, left), height, width, size)

    def look_all(self, middles: Mapping[int, tuple[float, float]]) -> dict[int, Look]:
        """Run the focus net on the patches laid out in slots 0, 1, ...; `middles` of each, by snippet."""
        if not middles:
            return {}
        found = self.meter.run_each("focus", self._patches[: math.ceil(len(middles) / self._batch)])["local"]
        # a last batch may have room to spare
        return {index: Look(local, middle) for (index, middle), local in zip(middles.items(), found, strict=False)}

    def decide(self, choice: Choice, glances: Glances, looks: Mapping[int, Look]) -> Floats:
        """Fuse all that was found into logits [C]; `looks` by snippet, none where a chosen one has no picture."""
        inputs = self._inputs["classify"]
        for name in ("context", "local", "when", "used"):
            inputs[name].fill(0)
        inputs["tokens"][:] = choice.tokens  # another array would have to be bound anew
        inputs["heard"][0], inputs["seen"][0] = glances.heard, glances.seen
        for slot, index in enumerate(choice.selected):
            inputs["when"][0, slot] = index
            inputs["used"][0, slot] = 1
            if index in looks:
                inputs["context"][0, slot] = glances.context[index]
                inputs["local"][0, slot] = looks[index].local
        found = self.meter.run("classify", inputs)
        self._check_finite(found, "classify", "logits")
        logits: Floats = found["logits"][0]
        return logits

    def _patch_of(self, clip: Clip, slot: int, index: int, centre: Sequence[float]) -> tuple[float, float]:
        picture = clip.pictures[index]
        assert picture is not None, "a snippet that was seen has a picture"
        return self.prepare_patch(slot, picture, (centre[0], centre[1]))

    def _decision(
        self,
        file: str,
        clip: Clip,
        choice: Choice,
        exited: bool,
        looks: Mapping[int, Look],
        logits: Floats,
        decode: float,
        began: float,
    ) -> Decision:
        probabilities = softmax(logits)
        top = best(probabilities, self.labels)
        selected = () if exited else choice.selected
        total = perf_counter() - began
        return Decision(
            file=file,
            label=top[0].label,
            score=top[0].score,
            top=top,
            saliency=tuple(choice.saliency.tolist()),
            times=tuple(clip.times.tolist()),
            selected=selected,
            centres=tuple(looks[index].centre if index in looks else MIDDLE for index in selected),
            heard=bool(clip.heard.any()),
            seen=bool(clip.seen.any()),
            exited=exited,
            macs=self.meter.macs,
            backend=self.engine.backend,
            precision=self.engine.precision,
            timings_ms={"decode": decode * 1e3, **self.meter.ms, "total": total * 1e3},
            probabilities=probabilities,
        )

    def _check_finite(self, found: Arrays, graph: str, *outputs: str) -> None:
        for output in outputs:
            if not all(map(math.isfinite, found[output].ravel().tolist())):
                raise ProofError(
                    f"{self.bundle.path}: {graph} ({self.engine.backend} {self.engine.precision}) gave a {output} that "
                    f"is not finite; check the graph with `avgn info` and export it again."
                )


def _records(bundle: Bundle, engine: Engine) -> dict[str, GraphRecord]:
    """What the manifest says of each graph; an engine from outside the bundle shares shapes and MACs with the first."""
    variants = bundle.variants()
    variant = (engine.backend, engine.precision)
    if not variants:
        raise InputError(f"{bundle.path}: has no backend and precision with all of {', '.join(STAGES)}; export them.")
    return {graph: bundle.record(graph, *(variant if variant in variants else variants[0])) for graph in STAGES}


def _spread(rows: Floats, places: Sequence[int], count: int) -> Floats:
    """Rows [n, ...] at n places among `count`, zeros elsewhere."""
    found = np.zeros((count, *rows.shape[1:]), np.float32)
    found[places] = rows
    return found


def _unit_range(pixels: NDArray[np.uint8], out: Floats) -> None:
    """0..255 as 0..1, into `out`."""
    np.multiply(pixels, np.float32(1 / 255), out=out, dtype=np.float32)
