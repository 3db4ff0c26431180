"""The study of a method's parts: every way of deciding, on every clip, kept line by line so that it can go on later.

`ways` says which ways there are; `measure` has each clip opened once and decided in all of them; `Store` keeps the
answers. What they come to is in `avgn.training.study_figures`, how it is told in `study_page` and `study_plots`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avgn.data.scenes import SceneRecord
from avgn.errors import InputError
from avgn.files import parse_json, write_file
from avgn.schema import build, plain
from avgn.training.ablations import ABLATIONS, combined
from avgn.training.evaluation import ClipResult, judge

if TYPE_CHECKING:
    from avgn.config import Config
    from runtimes.ablated import Rehearsal

METHOD = "method"
AT_ONCE = 1e-9  # an exit confidence that every answer of the glance reaches
_MORE = (2, 3, 4, 6, 8, 12, 16, 24, 32)
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Way:
    """One way of deciding: parts replaced (names of ABLATIONS), on `k` snippets (None: the model's own k)."""

    name: str
    group: str
    says: str
    parts: tuple[str, ...] = ()
    k: int | None = None
    exit_confidence: float = math.inf  # never, whatever the bundle says: ways must differ in one thing only


GROUPS = {
    METHOD: "The method",
    "frames": "Which frames",
    "patches": "Which patches",
    "together": "Frames and patches together",
    "sound": "Without sound",
    "k": "How many frames",
    "exit": "Early exit",
}
_PARTS = {
    "frames": ("frames-uniform", "frames-random", "frames-oracle"),
    "patches": ("patches-centre", "patches-random", "patches-oracle"),
    "sound": ("frames-deaf", "sound-off-saliency", "patches-deaf", "sound-off-classify", "sound-off"),
}
_TOGETHER = {
    "uniform-centre": ("frames-uniform", "patches-centre"),
    "random-random": ("frames-random", "patches-random"),
    "oracle-oracle": ("frames-oracle", "patches-oracle"),
}
_SHIFTED = (METHOD, "frames-uniform", "patches-centre", "uniform-centre", "oracle-oracle", "sound-off", "glance-alone")


_THE_METHOD = Way(METHOD, METHOD, "AV-TeST chooses the frames, AESPA and π the patches; everything is heard.")


def ways(chosen: int) -> tuple[Way, ...]:
    """All ways of a model that focuses on `chosen` snippets, the method itself first."""
    return (
        _THE_METHOD,
        *(Way(name, group, ABLATIONS[name].says, (name,)) for group, names in _PARTS.items() for name in names),
        *(Way(name, "together", _says(parts), parts) for name, parts in _TOGETHER.items()),
        *_on_other_counts(chosen, range(1, chosen)),
        Way("glance-alone", "exit", "The glance's own answer, always.", exit_confidence=AT_ONCE),
        *(Way(f"exit={limit}", "exit", f"The glance's answer where it is at least {limit} sure.", exit_confidence=limit)
          for limit in CONFIDENCES),
    )  # fmt: skip


def more_ways(chosen: int, most: int) -> tuple[Way, ...]:
    """The method, then choices of more than `chosen` snippets, up to `most`: for models opened with so many slots."""
    return (_THE_METHOD, *_on_other_counts(chosen, [k for k in _MORE if chosen < k <= most]))


def _on_other_counts(chosen: int, counts: Sequence[int]) -> tuple[Way, ...]:
    return (
        *(Way(f"k={k}", "k", f"Focuses on {k} instead of {chosen}.", k=k) for k in counts),
        *(Way(f"uniform-centre k={k}", "k", f"{k} evenly spread, their middles.", _TOGETHER["uniform-centre"], k)
          for k in counts),
    )  # fmt: skip


def shifted_ways(chosen: int) -> tuple[Way, ...]:
    """The few ways that are tried on clips unlike those that were trained on."""
    return tuple(way for way in ways(chosen) if way.name in _SHIFTED)


def _says(parts: Sequence[str]) -> str:
    return combined(parts).says


@dataclass(frozen=True)
class Answer:
    """One line of a store: one clip in one way, without times; None where a measure does not apply."""

    clip: str
    way: str
    kind: str
    label: int
    probabilities: tuple[float, ...]
    saliency_ap: float | None
    patch_hits: tuple[bool, ...]
    macs: int

    @classmethod
    def of(cls, clip: str, way: str, found: ClipResult) -> Answer:
        """What to keep of a result."""
        probabilities = tuple(round(value, 6) for value in found.probabilities)
        saliency = None if math.isnan(found.saliency_ap) else round(found.saliency_ap, 6)
        return cls(clip, way, found.kind, found.label, probabilities, saliency, found.patch_hits, found.macs)

    def result(self) -> ClipResult:
        """The result that was kept."""
        ap = math.nan if self.saliency_ap is None else self.saliency_ap
        return ClipResult(self.kind, self.label, self.probabilities, ap, self.patch_hits, self.macs, math.nan)


class Store:
    """Answers of one model on one set of clips, as JSON lines; what a killed process left half-written is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers: dict[tuple[str, str], Answer] = {}
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        if len(whole) != len(lines):
            write_file(path, b"".join(whole))
        for number, line in enumerate(whole, 1):
            where = f"{path}:{number}"
            answer = build(Answer, parse_json(line, where), where)
            self._answers[answer.clip, answer.way] = answer

    def holds(self, clip: str, way: str) -> bool:
        """Whether that clip was decided in that way already."""
        return (clip, way) in self._answers

    def add(self, answers: Sequence[Answer]) -> None:
        """Keep the answers of one clip."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:  # appended: a whole file for each clip would be too much
            file.write("".join(json.dumps(plain(answer), allow_nan=False) + "\n" for answer in answers))
        self._answers |= {(answer.clip, answer.way): answer for answer in answers}

    def results(self, way: str, clips: Iterable[str]) -> list[ClipResult] | None:
        """The results of `clips`, in their order; None where that way was not tried on all of them."""
        names = list(clips)
        if not names or not all(self.holds(clip, way) for clip in names):
            return None
        return [self._answers[clip, way].result() for clip in names]


def measure(
    rehearsal: Rehearsal,
    scenes: Iterable[tuple[Path, SceneRecord]],
    labels: Sequence[str],
    config: Config,
    tried: Sequence[Way],
    store: Store,
) -> None:
    """Decide each clip in each of the ways `tried` that `store` does not hold yet.

    Raises InputError for a label that the model does not know.
    """
    for path, record in scenes:
        label = index_of(record, labels, path)
        missing = [way for way in tried if not store.holds(record.file, way.name)]
        if missing:
            rehearsal.open(path, record)
            answers = []
            for way in missing:
                decision = rehearsal.decision(combined(way.parts), way.k, way.exit_confidence)
                answers.append(Answer.of(record.file, way.name, judge(decision, record, label, config)))
            store.add(answers)


def measure_alone(
    decide: Callable[[Path, SceneRecord, int], ClipResult],
    scenes: Iterable[tuple[Path, SceneRecord]],
    labels: Sequence[str],
    store: Store,
) -> None:
    """The same for a model without parts to replace: `decide` takes a clip, its truth and its label's index."""
    for path, record in scenes:
        label = index_of(record, labels, path)
        if not store.holds(record.file, METHOD):
            store.add([Answer.of(record.file, METHOD, decide(path, record, label))])


def index_of(record: SceneRecord, labels: Sequence[str], path: Path) -> int:
    """Index of the clip's label among the model's. Raises InputError where it is none of them."""
    if record.label not in labels:
        raise InputError(f"{path}: its label {record.label!r} is not one of the model's: {', '.join(labels)}.")
    return list(labels).index(record.label)
