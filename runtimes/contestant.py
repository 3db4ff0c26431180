"""What `avgn bench` times: contestants, and what they are made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from avgn.contract import STAGES
from avgn.logmel import log_mel_windows
from avgn.media import read_clip
from runtimes.meter import Meter

if TYPE_CHECKING:
    from runtimes.backends import Arrays, LoadedEngine
    from runtimes.classifier import Classifier

OURS, DECODE, BARE, FRONT_END = "avgn classify", "decode", "bare graphs", "log-mel"
Timed = dict[str, float]  # milliseconds by row name


@dataclass(frozen=True, eq=False)
class Contestant:
    """What is timed once a round: `measure` gives milliseconds by row name, `macs` multiply-accumulates likewise.

    `every`: only each so many rounds, without warm-up, for what is slow and warms up by itself (a child process).
    """

    backend: str
    precision: str
    threads: int
    macs: dict[str, int]
    measure: Callable[[], Timed]
    bundle: str = ""
    every: int = 1


@dataclass(frozen=True, eq=False)
class Subject:
    """What contestants are made from: a variant of a bundle, loaded, and a clip."""

    classifier: Classifier
    engine: LoadedEngine
    clip: Path

    def contestant(self, macs: dict[str, int], measure: Callable[[], Timed], every: int = 1) -> Contestant:
        """One that runs on this subject's engine."""
        engine, name = self.engine, self.classifier.bundle.manifest.name
        return Contestant(engine.backend, engine.precision, engine.threads, macs, measure, name, every)


@dataclass(frozen=True, eq=False)
class Contest:
    """All subjects on one clip, and how it is run: what yardsticks are made from. `threads`: as asked for."""

    subjects: Sequence[Subject]
    rounds: int
    threads: int | None

    @property
    def clip(self) -> Path:
        """The clip that all run on."""
        return self.subjects[0].clip

    @property
    def rarely(self) -> int:
        """`every` of what takes seconds: about three times in all rounds."""
        return max(1, self.rounds // 3)


# Contestants from outside the pipeline. MissingError where this machine lacks what it needs: then its row is `not run`.
Yardstick = Callable[[Contest], list[Contestant]]


def timed(call: Callable[[], object], times: int = 1) -> float:
    """Milliseconds of `times` calls."""
    began = perf_counter()
    for _ in range(times):
        call()
    return (perf_counter() - began) * 1e3


class TimedEngine:
    """An engine whose own calls are timed, in milliseconds by graph."""

    def __init__(self, engine: LoadedEngine) -> None:
        self.backend, self.precision = engine.backend, engine.precision
        self._engine = engine
        self.spent: Timed = {}

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See `runtimes.backends.Engine`."""
        return self.run_each(graph, [inputs])

    def run_each(self, graph: str, sets: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """See `runtimes.meter.Meter`."""
        calls = self._engine.asked(graph, sets)
        began = perf_counter()
        found = calls()
        self.spent[graph] = self.spent.get(graph, 0.0) + (perf_counter() - began) * 1e3
        return self._engine.told(graph, found)


def timed_twin(subject: Subject) -> tuple[Classifier, TimedEngine]:
    """The subject's classifier, with the same buffers (which the engine has bound), on its engine with a clock."""
    engine, twin = TimedEngine(subject.engine), copy(subject.classifier)
    twin.meter = Meter(engine, {graph: twin.meter.price(graph) for graph in STAGES})
    return twin, engine


def pipeline(subject: Subject) -> Contestant:
    """`avgn classify` as a user runs it: all that follows decoding, decoding for itself, and the engine's own calls.

    These are timed in the same decision, so what it takes longer is our own code around them and nothing else. What an
    engine does only after many clips is done at once.
    """
    twin, engine = timed_twin(subject)
    if hasattr(subject.engine, "in_batches"):
        subject.engine.in_batches("glance")
    macs = twin.classify(subject.clip).macs
    calls = {graph: count for graph, count in twin.meter.calls.items() if count}

    def measure() -> Timed:
        engine.spent.clear()
        timings = twin.classify(subject.clip).timings_ms
        parts = {f"bare {graph}": engine.spent[graph] / count for graph, count in calls.items()}
        bare = sum(engine.spent.values())
        return {OURS: timings["total"] - timings["decode"], DECODE: timings["decode"], BARE: bare, **parts}

    prices = {f"bare {graph}": twin.meter.price(graph) for graph in calls}
    return subject.contestant({OURS: macs, DECODE: 0, BARE: macs, **prices}, measure)


def front_end(subject: Subject) -> Contestant:
    """The log-mel of all snippets, which is part of `decode`."""
    sound = subject.classifier.config.sound
    clip = read_clip(subject.clip, subject.classifier.config)

    def measure() -> Timed:
        return {FRONT_END: timed(lambda: log_mel_windows(clip.sound, clip.starts, sound))}

    return Contestant("numpy", "fp32", 1, {FRONT_END: 0}, measure)
