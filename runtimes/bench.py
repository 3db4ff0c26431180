"""`avgn bench`: our pipeline, the bare graphs and their parts, and what they are held against, in interleaved rounds.

A table of contestants, so that an alternative is one more row; each round times each of them once, in an order that
rotates, so that a slow moment of the machine hits all alike.

All engines live in one process, each with threads of its own, and threads that have just worked spin for a while before
they sleep. So between two engines there is a pause, and then a call that does not count. To see an engine with no other
beside it, bench it alone (`--backend`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avgn.errors import MissingError, UsageError
from runtimes.backends import LoadedEngine, choose_variant, open_engine
from runtimes.classifier import Classifier
from runtimes.contestant import (
    BARE,
    OURS,
    Contest,
    Contestant,
    Subject,
    Timed,
    Yardstick,
    front_end,
    pipeline,
)
from runtimes.machine import machine, versions
from runtimes.roofline import Ceiling, roofline

if TYPE_CHECKING:
    from avgn.bundle import Bundle

WARM_UP = 3
PAUSE = 0.1  # seconds; the pools of ExecuTorch and PyTorch spin for some milliseconds


class Key(NamedTuple):
    """Which row a measurement belongs to."""

    bundle: str
    name: str
    backend: str
    precision: str


@dataclass(frozen=True)
class Percentiles:
    """Of all rounds and clips, in milliseconds."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Spread:
    """The middle half of the samples, in milliseconds."""

    p25: float
    p75: float


@dataclass(frozen=True)
class Row:
    """A line of the table; `ratio_to_ours` compares medians with `avgn classify` of the first variant.

    `bundle` is empty where no bundle is run.
    """

    name: str
    backend: str
    precision: str
    threads: int
    ms: Percentiles
    macs: int
    ratio_to_ours: float
    spread: Spread
    samples: int
    bundle: str


@dataclass(frozen=True)
class Headline:
    """`avgn classify` (without decoding) over the engine's calls in it: median of all decisions and middle half."""

    bundle: str
    backend: str
    precision: str
    ours_to_bare: float
    spread: Spread


@dataclass(frozen=True)
class Bench:
    """All that `avgn bench --json` prints."""

    machine: dict[str, Any]
    versions: dict[str, str]
    not_run: dict[str, str]  # engine and precision, or yardstick -> why
    clips: tuple[str, ...]
    warm_up: int
    rounds: int
    headline: tuple[Headline, ...]
    rows: tuple[Row, ...]
    roofline: tuple[Ceiling, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return asdict(self)

    def decisions(self, bundle: str) -> dict[tuple[str, str], float]:
        """Median milliseconds of a decision by backend and precision of a bundle."""
        return {
            (row.backend, row.precision): row.ms.p50 for row in self.rows if row.name == OURS and row.bundle == bundle
        }


@dataclass(frozen=True)
class Options:
    """How a bench is run; UsageError where that makes no sense. `threads`: None leaves it to each engine."""

    rounds: int = 15
    backend: str = "auto"
    precision: str | None = None
    threads: int | None = None
    clips: tuple[Path, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"rounds: {self.rounds} makes no sense, give 1 or more.")


# For each variant of the bundles, and once.
VARIED: tuple[Callable[[Subject], Contestant], ...] = (pipeline,)
COMMON: tuple[Callable[[Subject], Contestant], ...] = (front_end,)


def run_bench(
    bundles: Sequence[Bundle],
    how: Options | None = None,
    others: Sequence[LoadedEngine] = (),
    yardsticks: Mapping[str, Yardstick] | None = None,
    not_run: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Time every variant of `bundles` that is wanted and installed, on clips (default: the sample of a checkout).

    `others` are engines with the graphs of the first bundle from outside it, such as PyTorch; `yardsticks` are made on
    the first clip; `not_run` says what else there would be, and why not; `tell` hears what is being done. Raises
    UsageError where no bundle has what is wanted, and what the classifier raises.
    """
    how = how or Options()
    names = [bundle.manifest.name for bundle in bundles]
    if len(set(names)) < len(names):
        raise UsageError(
            f"two of the bundles {', '.join(names)} have the same name; their rows could not be told apart."
        )
    paths = how.clips or (sample_clip(),)
    tell("opening the engines")
    engines, absent = _opened(bundles, how)
    classifiers = [Classifier(bundle, engine) for bundle, engine in engines]
    classifiers += [Classifier(bundles[0], engine) for engine in others]
    loaded = [*(engine for _, engine in engines), *others]
    samples: dict[Key, list[float]] = {}
    heads: dict[Key, Contestant] = {}
    absent |= not_run or {}
    for path in paths:
        subjects = [Subject(*pair, path) for pair in zip(classifiers, loaded, strict=True)]
        contestants = [make(subject) for subject in subjects for make in VARIED]
        contestants += [make(subjects[0]) for make in COMMON]
        if path is paths[0]:
            held, missing = _held_against(yardsticks or {}, Contest(subjects, how.rounds, how.threads), tell)
            contestants += held
            absent |= missing
        engines_in_turn = [_engine(one) for one in contestants]
        contestants.sort(key=lambda one: engines_in_turn.index(_engine(one)))  # fewer changes, fewer pauses
        for contestant, timed in _rounds(contestants, how.rounds, absent, tell):
            for name, ms in timed.items():
                key = Key(contestant.bundle, name, contestant.backend, contestant.precision)
                samples.setdefault(key, []).append(ms)
                heads.setdefault(key, contestant)
    rows = _rows(samples, heads)
    return Bench(
        machine=machine(),
        versions=versions(),
        not_run=absent,
        clips=tuple(str(path) for path in paths),
        warm_up=WARM_UP,
        rounds=how.rounds,
        headline=_headlines(samples),
        rows=rows,
        roofline=roofline(rows, subjects),
    )


def time_decisions(
    bundle: Bundle,
    variants: Sequence[tuple[str, str]],
    clips: Sequence[Path],
    rounds: int,
    threads: int | None = None,
) -> dict[tuple[str, str], Percentiles]:
    """Milliseconds of a decision without decoding, of each of `variants`, in interleaved rounds on each clip."""
    engines = [open_engine(bundle, *variant, threads) for variant in variants]
    classifiers = [Classifier(bundle, engine) for engine in engines]
    samples: dict[tuple[str, str], list[float]] = {}
    for path in clips:
        contestants = [pipeline(Subject(*pair, path)) for pair in zip(classifiers, engines, strict=True)]
        for contestant, timed in _rounds(contestants, rounds, {}):
            samples.setdefault((contestant.backend, contestant.precision), []).append(timed[OURS])
    return {variant: Percentiles(*np.percentile(ms, (50, 90, 99)).tolist()) for variant, ms in samples.items()}


def sample_clip() -> Path:
    """The clip of a checkout; UsageError where there is none (an installed package)."""
    path = Path(__file__).parents[1] / "samples" / "demo.mp4"
    if not path.is_file():
        raise UsageError(f"the sample {path} is not there: name clips of your own with --clips.")
    return path


def _opened(bundles: Sequence[Bundle], how: Options) -> tuple[list[tuple[Bundle, LoadedEngine]], dict[str, str]]:
    """Every variant that is wanted, in the manifest's order, and why some are not here; MissingError: none is."""
    found: list[tuple[Bundle, LoadedEngine]] = []
    absent: dict[str, str] = {}
    last: MissingError | None = None
    for bundle in bundles:
        choose_variant(bundle.variants(), how.backend, how.precision)  # refuses what no variant fits
        for name, kind in bundle.variants():
            if how.backend in ("auto", name) and how.precision in (None, kind):
                try:
                    found.append((bundle, open_engine(bundle, name, kind, how.threads)))
                except MissingError as fault:
                    last, absent[f"{name} {kind}"] = fault, f"not run: {fault}"
    if not found and last is not None:
        raise last
    return found, absent


def _held_against(
    yardsticks: Mapping[str, Yardstick], contest: Contest, tell: Callable[[str], None]
) -> tuple[list[Contestant], dict[str, str]]:
    """The contestants of all yardsticks that can be had here, and why not the others."""
    made: list[Contestant] = []
    absent = {}
    for name, make in yardsticks.items():
        tell(f"preparing {name}")
        try:
            made += make(contest)
        except MissingError as fault:
            absent[name] = f"not run: {fault}"
    return made, absent


def _rounds(
    contestants: list[Contestant], rounds: int, absent: dict[str, str], tell: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Contestant, Timed]]:
    """Each measurement that counts; a contestant that fails for lack of something is out, and `absent` says why."""
    last = contestants[0]
    out: set[Contestant] = set()
    for number in range(-WARM_UP, rounds):
        tell("warming up" if number < 0 else f"round {number + 1} of {rounds}")
        turn = number % len(contestants)
        for contestant in contestants[turn:] + contestants[:turn]:
            rare = contestant.every > 1
            if contestant in out or (rare and (number < 0 or number % contestant.every)):
                continue
            if changes := _engine(contestant) != _engine(last):
                sleep(PAUSE)
            last = contestant
            try:
                for _ in range(1 + (changes and not rare)):
                    timed = contestant.measure()
            except MissingError as fault:
                out.add(contestant)
                absent[", ".join(contestant.macs)] = f"not run: {fault}"
                continue
            if number >= 0:
                yield contestant, timed


def _engine(contestant: Contestant) -> tuple[str, str, str]:
    return contestant.bundle, contestant.backend, contestant.precision


def _headlines(samples: Mapping[Key, list[float]]) -> tuple[Headline, ...]:
    found = []
    for key, ours in samples.items():
        if key.name == OURS:
            ratios = np.divide(ours, samples[key._replace(name=BARE)])
            p25, p50, p75 = np.percentile(ratios, (25, 50, 75)).tolist()
            found.append(Headline(key.bundle, key.backend, key.precision, p50, Spread(p25, p75)))
    return tuple(found)


def _rows(samples: Mapping[Key, list[float]], heads: Mapping[Key, Contestant]) -> tuple[Row, ...]:
    reference = next(float(np.median(ms)) for key, ms in samples.items() if key.name == OURS)
    rows = []
    for key, ms in samples.items():
        head = heads[key]
        p25, p50, p75, p90, p99 = np.percentile(ms, (25, 50, 75, 90, 99)).tolist()
        rows.append(
            Row(
                name=key.name,
                backend=key.backend,
                precision=key.precision,
                threads=head.threads,
                ms=Percentiles(p50, p90, p99),
                macs=head.macs[key.name],
                ratio_to_ours=p50 / reference,
                spread=Spread(p25, p75),
                samples=len(ms),
                bundle=key.bundle,
            )
        )
    return tuple(rows)
