"""`avgn bench`: our pipeline, the bare graphs and their parts, timed side by side in interleaved rounds.

A table of contestants, so that an alternative is one more row; each round times each of them once, in an order that
rotates, so that a slow moment of the machine hits all alike.

All engines live in one process, each with threads of its own, and threads that have just worked spin for a while before
they sleep. So between two engines there is a pause, and then a call that does not count. To see an engine with no other
beside it, bench it alone (`--backend`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import numpy as np

from avgn.errors import UsageError
from avgn.extras import install_line
from avgn.logmel import log_mel_windows
from avgn.media import read_clip
from runtimes.backends import BACKENDS, LoadedEngine, choose_variant, open_engine
from runtimes.classifier import Classifier
from runtimes.machine import machine, versions

if TYPE_CHECKING:
    from avgn.bundle import Bundle

WARM_UP = 3
OURS, BARE = "avgn classify", "bare graphs"
PAUSE = 0.1  # seconds; the pools of ExecuTorch and PyTorch spin for some milliseconds
Timed = dict[str, float]  # milliseconds by row name


@dataclass(frozen=True, eq=False)
class Contestant:
    """What is timed once a round: `measure` gives milliseconds by row name, `macs` multiply-accumulates likewise."""

    backend: str
    precision: str
    threads: int
    macs: dict[str, int]
    measure: Callable[[], Timed]


@dataclass(frozen=True)
class Percentiles:
    """Of all rounds and clips, in milliseconds."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Row:
    """A line of the table; `ratio_to_ours` compares medians with `avgn classify` of the first variant."""

    name: str
    backend: str
    precision: str
    threads: int
    ms: Percentiles
    macs: int
    ratio_to_ours: float


@dataclass(frozen=True)
class Headline:
    """Median over rounds of `avgn classify` (without decoding) over the bare graphs of the same round."""

    backend: str
    precision: str
    ours_to_bare: float


@dataclass(frozen=True)
class Bench:
    """All that `avgn bench --json` prints."""

    machine: dict[str, Any]
    versions: dict[str, str]
    not_run: dict[str, str]  # engine and precision -> why
    clips: tuple[str, ...]
    warm_up: int
    rounds: int
    headline: tuple[Headline, ...]
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return asdict(self)

    def decisions(self) -> dict[tuple[str, str], float]:
        """Median milliseconds of a decision by backend and precision."""
        return {(row.backend, row.precision): row.ms.p50 for row in self.rows if row.name == OURS}


@dataclass(frozen=True, eq=False)
class Subject:
    """What contestants are made from: a variant of the bundle, loaded, and a clip."""

    classifier: Classifier
    engine: LoadedEngine
    clip: Path

    def contestant(self, macs: dict[str, int], measure: Callable[[], Timed]) -> Contestant:
        """One that runs on this subject's engine."""
        return Contestant(self.engine.backend, self.engine.precision, self.engine.threads, macs, measure)


def pipeline(subject: Subject) -> Contestant:
    """`avgn classify` as a user runs it: all that follows decoding, and decoding for itself."""
    macs = subject.classifier.classify(subject.clip).macs

    def measure() -> Timed:
        timings = subject.classifier.classify(subject.clip).timings_ms
        return {OURS: timings["total"] - timings["decode"], "decode": timings["decode"]}

    return subject.contestant({OURS: macs, "decode": 0}, measure)


def bare_graphs(subject: Subject) -> Contestant:
    """The very same calls on prepared inputs, straight on the engine, with nothing in between."""
    classifier, engine = subject.classifier, subject.engine
    macs = {BARE: classifier.classify(subject.clip).macs}  # leaves real inputs in the engine
    calls = {graph: count for graph, count in classifier.meter.calls.items() if count}
    bare = {graph: engine.bare(graph) for graph in calls}

    def measure() -> Timed:
        spent = {graph: _timed(bare[graph], count) for graph, count in calls.items()}
        return {BARE: sum(spent.values()), **{f"bare {graph}": ms / calls[graph] for graph, ms in spent.items()}}

    for graph in calls:
        macs[f"bare {graph}"] = classifier.meter.price(graph)
    return subject.contestant(macs, measure)


def front_end(subject: Subject) -> Contestant:
    """The log-mel of all snippets, which is part of `decode`."""
    sound = subject.classifier.config.sound
    clip = read_clip(subject.clip, subject.classifier.config)

    def measure() -> Timed:
        return {"log-mel": _timed(lambda: log_mel_windows(clip.sound, clip.starts, sound))}

    return Contestant("numpy", "fp32", 1, {"log-mel": 0}, measure)


# An alternative is one entry more: `VARIED` once for each variant of the bundle, `COMMON` once.
VARIED: tuple[Callable[[Subject], Contestant], ...] = (pipeline, bare_graphs)
COMMON: tuple[Callable[[Subject], Contestant], ...] = (front_end,)


def run_bench(
    bundle: Bundle,
    clips: tuple[Path, ...] = (),
    rounds: int = 30,
    backend: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    others: Sequence[LoadedEngine] = (),
    not_run: dict[str, str] | None = None,
) -> Bench:
    """Time every variant of `bundle` that is wanted and installed, on `clips` (default: the sample of a checkout).

    `others` are engines with the same graphs from outside the bundle, such as PyTorch; `not_run` says which there would
    be, and why not. Raises UsageError for no rounds or no clips, and what the classifier raises.
    """
    if rounds < 1:
        raise UsageError(f"rounds: {rounds} makes no sense, give 1 or more.")
    paths = clips or (sample_clip(),)
    variants = _variants(bundle, backend, precision)
    engines = [*(open_engine(bundle, *variant, threads) for variant in variants), *others]
    classifiers = [Classifier(bundle, engine) for engine in engines]
    samples: dict[tuple[str, str, str], list[float]] = {}
    heads: dict[tuple[str, str, str], Contestant] = {}
    for path in paths:
        subjects = [Subject(*pair, path) for pair in zip(classifiers, engines, strict=True)]
        contestants = [make(subject) for subject in subjects for make in VARIED]
        contestants += [make(subjects[0]) for make in COMMON]
        for contestant, timed in _rounds(contestants, rounds):
            for name, ms in timed.items():
                key = (name, contestant.backend, contestant.precision)
                samples.setdefault(key, []).append(ms)
                heads.setdefault(key, contestant)
    return Bench(
        machine=machine(),
        versions=versions(),
        not_run=_absent(bundle) | (not_run or {}),
        clips=tuple(str(path) for path in paths),
        warm_up=WARM_UP,
        rounds=rounds,
        headline=_headlines(samples),
        rows=_rows(samples, heads),
    )


def sample_clip() -> Path:
    """The clip of a checkout; UsageError where there is none (an installed package)."""
    path = Path(__file__).parents[1] / "samples" / "demo.mp4"
    if not path.is_file():
        raise UsageError(f"the sample {path} is not there: name clips of your own with --clips.")
    return path


def _variants(bundle: Bundle, backend: str, precision: str | None) -> list[tuple[str, str]]:
    """Wanted and installed ones in the manifest's order, at least the one that `open_engine` would take (or refuse)."""
    chosen = choose_variant(bundle.variants(), backend, precision)
    rest = [
        (name, kind)
        for name, kind in bundle.variants()
        if (name, kind) != chosen
        and backend in ("auto", name)
        and precision in (None, kind)
        and name in BACKENDS
        and BACKENDS[name].installed
    ]
    return [chosen, *rest]


def _absent(bundle: Bundle) -> dict[str, str]:
    """The bundle's variants that nothing here runs."""
    why = {}
    for name, kind in bundle.variants():
        if name not in BACKENDS:
            why[f"{name} {kind}"] = "not run: avgn has no runtime for it"
        elif not BACKENDS[name].installed:
            why[f"{name} {kind}"] = f"not run: not installed: {install_line(BACKENDS[name].extra)}"
    return why


def _timed(call: Callable[[], object], times: int = 1) -> float:
    """Milliseconds of `times` calls."""
    began = perf_counter()
    for _ in range(times):
        call()
    return (perf_counter() - began) * 1e3


def _rounds(contestants: list[Contestant], rounds: int) -> Iterator[tuple[Contestant, Timed]]:
    last = contestants[0]
    for number in range(-WARM_UP, rounds):
        turn = number % len(contestants)
        for contestant in contestants[turn:] + contestants[:turn]:
            if (contestant.backend, contestant.precision) != (last.backend, last.precision):
                sleep(PAUSE)
                contestant.measure()
            last, timed = contestant, contestant.measure()
            if number >= 0:
                yield contestant, timed


def _headlines(samples: dict[tuple[str, str, str], list[float]]) -> tuple[Headline, ...]:
    found = []
    for (name, backend, precision), ours in samples.items():
        if name == OURS:
            bare = samples[(BARE, backend, precision)]
            found.append(Headline(backend, precision, float(np.median(np.divide(ours, bare)))))
    return tuple(found)


def _rows(
    samples: dict[tuple[str, str, str], list[float]], heads: dict[tuple[str, str, str], Contestant]
) -> tuple[Row, ...]:
    reference = next(float(np.median(ms)) for (name, *_), ms in samples.items() if name == OURS)
    rows = []
    for key, ms in samples.items():
        name, backend, precision = key
        levels = Percentiles(*np.percentile(ms, (50, 90, 99)).tolist())
        head = heads[key]
        rows.append(Row(name, backend, precision, head.threads, levels, head.macs[name], levels.p50 / reference))
    return tuple(rows)
