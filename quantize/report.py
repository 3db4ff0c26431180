"""What each engine and precision of a bundle costs and gives: size, accuracy, agreement, latency, share of int8.

Accuracy is that of the shipped files, on rendered Scenes. Every answer is kept, by the digest of the variant's files,
so that a report goes on where it stopped, and only what was exported anew is asked anew. Latency is measured each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from avgn.contract import HEAVY, LEAST_INT8
from avgn.data.scenes import SceneRecord
from avgn.errors import InputError, MissingError
from avgn.files import write_file
from avgn.schema import plain
from avgn.training.evaluation import ClipResult
from avgn.training.study import METHOD, Store, measure_alone
from avgn.training.study_figures import Figure, interval

FREE = 0.5  # points of top-1 below fp32 that are no drop
OK, FAILED, NOT_RUN = "ok", "failed", "not run"
Variant = tuple[str, str]  # backend, precision
Decide = Callable[[Path, SceneRecord, int], ClipResult]
Shares = dict[str, float] | str  # of int8 by graph, or why they are not known
Scenes = Sequence[tuple[Path, SceneRecord]]


@dataclass(frozen=True)
class Held:
    """A variant as it lies in the bundle; `absent` says why nothing here runs it ("" where something does)."""

    backend: str
    precision: str
    size: int  # bytes
    digest: str
    absent: str = ""

    @property
    def variant(self) -> Variant:
        """Backend and precision."""
        return self.backend, self.precision


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a decision without decoding, over rounds and clips."""

    p50: float
    p90: float


class Trial(Protocol):
    """A bundle that can be tried. Each call raises an AvgnError, or what the engine raises, where a variant fails."""

    title: str  # the bundle and its run
    labels: Sequence[str]
    held: Sequence[Held]

    def decider(self, variant: Variant) -> Decide:
        """Opens a variant's own files; the function judges one clip."""
        ...

    def int8_shares(self, variant: Variant) -> dict[str, float]:
        """Of an int8 variant by graph, read from the files."""
        ...

    def latencies(self, variants: Sequence[Variant]) -> dict[Variant, Latency]:
        """All of them in interleaved rounds; empty where no rounds are wanted."""
        ...


@dataclass(frozen=True)
class Row:
    """A line of the table. `reference` is the fp32 that it is compared with; None: not measured, or nothing to compare.

    `difference` is top-1 minus the reference's on the same clips. `size_ratio` and `speedup` are against the same
    engine's fp32: bytes of it, and its p50 over this one's.
    """

    backend: str
    precision: str
    size: int
    status: str
    int8: Shares = field(default_factory=dict)
    reference: str | None = None
    top1: Figure | None = None
    difference: Figure | None = None
    agreement: float | None = None
    latency: Latency | None = None
    size_ratio: float | None = None
    speedup: float | None = None


@dataclass(frozen=True)
class Report:
    """All that was found."""

    title: str
    made: str
    clips: int
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        found: dict[str, Any] = plain(self)
        return found


def conduct(
    trial: Trial, scenes: Scenes, made: str, out: Path, watch: Callable[[Scenes, str], Iterable[Any]]
) -> Report:
    """Ask what was not asked yet, compare, and write `report.json` and `report.md` into `out` (the plot: `draw`).

    `made` says on what and how; `watch` shows progress over clips. Raises InputError for no clips; what fails in a
    variant is said in its row.
    """
    if not scenes:
        raise InputError("there is no clip to report on; render some with `avgn scenes`.")
    answers, faults = _answers(trial, scenes, out, watch)
    latencies = trial.latencies([held.variant for held in trial.held if held.variant in answers])
    rows = tuple(
        _row(held, trial.held, faults.get(held.variant, ""), answers, _shares(trial, held.variant), latencies)
        for held in trial.held
    )
    report = Report(trial.title, made, len(scenes), rows)
    write_file(out / "report.json", json.dumps(report.as_json(), indent=1, allow_nan=False) + "\n")
    write_file(out / "report.md", page(report))
    return report


def _answers(
    trial: Trial, scenes: Scenes, out: Path, watch: Callable[[Scenes, str], Iterable[Any]]
) -> tuple[dict[Variant, list[ClipResult]], dict[Variant, str]]:
    """Results of every variant that answers on all clips, and what is to be said of the others."""
    answers: dict[Variant, list[ClipResult]] = {}
    faults: dict[Variant, str] = {}
    clips = [record.file for _, record in scenes]
    for held in trial.held:
        if held.absent:
            faults[held.variant] = f"{NOT_RUN}: {held.absent}"
            continue
        store = Store(out / "answers" / f"{held.backend}-{held.precision}-{held.digest[:16]}.jsonl")
        missing = [pair for pair in scenes if not store.holds(pair[1].file, METHOD)]

        def ask(held: Held = held, store: Store = store, missing: Scenes = missing) -> None:
            if missing:
                watched = watch(missing, f"{held.backend} {held.precision}")
                measure_alone(trial.decider(held.variant), watched, trial.labels, store)
            found = store.results(METHOD, clips)
            if found is not None:
                answers[held.variant] = found

        _try(faults, held.variant, ask)
    return answers, faults


def _try(faults: dict[Variant, str], variant: Variant, work: Callable[[], object]) -> None:
    """Do `work`; what it raises becomes what is said of the variant: one engine's fault must not lose the others."""
    try:
        work()
    except Exception as fault:  # engines raise anything
        faults[variant] = f"{NOT_RUN if isinstance(fault, MissingError) else FAILED}: {_told(fault)}"


def _shares(trial: Trial, variant: Variant) -> Shares:
    """What the files of an int8 variant hold, or why that is not known."""
    if variant[1] != "int8":
        return {}
    try:
        return trial.int8_shares(variant)
    except Exception as fault:  # so do readers of files
        return f"{NOT_RUN}: {_told(fault)}"


def _told(fault: Exception) -> str:
    return f"{(str(fault).splitlines() or [type(fault).__name__])[0]:.200}".rstrip(".")


def _row(
    held: Held,
    every: Sequence[Held],
    fault: str,
    answers: Mapping[Variant, list[ClipResult]],
    shares: Shares,
    latencies: Mapping[Variant, Latency],
) -> Row:
    own = (held.backend, "fp32")
    sizes = {other.variant: other.size for other in every}
    latency, theirs = latencies.get(held.variant), latencies.get(own)
    row = Row(
        held.backend,
        held.precision,
        held.size,
        fault,
        shares,
        latency=latency,
        size_ratio=held.size / sizes[own] if sizes.get(own) else None,
        speedup=theirs.p50 / latency.p50 if latency and theirs else None,
    )
    found = answers.get(held.variant)
    return row if found is None else _judged(row, found, answers)


def _judged(row: Row, found: Sequence[ClipResult], answers: Mapping[Variant, Sequence[ClipResult]]) -> Row:
    """`row` with its accuracy, against the same engine's fp32, else the first fp32 that answered."""
    right, ones = _right(found), np.ones(len(found))
    top1 = interval(right, ones)
    floats = [variant for variant in answers if variant[1] == "fp32"]
    reference = min(floats, key=lambda variant: variant[0] != row.backend, default=None)
    if reference is None:
        return replace(row, top1=top1, status=row.status or f"{OK}, compared with nothing: no fp32 runs here")
    other = answers[reference]
    difference = interval(right - _right(other), ones)
    same = float(np.mean([_chosen(mine) == _chosen(theirs) for mine, theirs in zip(found, other, strict=True)]))
    assert difference is not None, "there are clips"
    status = row.status or _status(row, difference.value)
    name = " ".join(reference)
    return replace(row, reference=name, top1=top1, difference=difference, agreement=same, status=status)


def _status(row: Row, difference: float) -> str:
    if isinstance(row.int8, str):
        return f"int8 not proven ({row.int8})"
    for graph, share in row.int8.items():
        if graph in HEAVY and share < LEAST_INT8:
            return f"{FAILED}: only {share:.0%} of {graph} is int8"
    drop = -100 * difference
    return OK if drop <= FREE + 1e-9 else f"accuracy drop {drop:.1f} points"


def _right(results: Sequence[ClipResult]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([result.right for result in results], np.float64)


def _chosen(result: ClipResult) -> int:
    return int(np.argmax(result.probabilities))


_HEAD = """# {title}: engines and precisions

{made}

Top-1 of the shipped files on {clips} clips, with a 95 % bootstrap interval over clips. `difference` is in points
against fp32 on the same clips (the same engine's where it runs, else the first that does), `same label` the share of
clips that have its label. A status of `accuracy drop` is one of more than {free} points. Milliseconds are those of a
decision without decoding; `faster` is p50 of the same engine's fp32 over p50. `int8` is the share of the
multiply-accumulates that the files do in int8, of each quantised graph. Sizes hold all graphs of a variant, in brackets
their part of the same engine's fp32.

| engine | precision | MB | top-1 | difference | same label | p50 ms | p90 ms | faster | int8 | status |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def page(report: Report) -> str:
    """The Markdown page."""
    head = _HEAD.format(title=report.title, made=report.made, clips=report.clips, free=FREE)
    return head + "".join(f"| {' | '.join(cells(row))} |\n" for row in report.rows)


def cells(row: Row) -> tuple[str, ...]:
    """A line of the table as text."""
    reduced = row.precision != "fp32"
    part = f" ({row.size_ratio:.0%})" if row.size_ratio and reduced else ""
    compared = row.difference is not None and row.reference != f"{row.backend} {row.precision}"
    return (
        row.backend,
        row.precision,
        f"{row.size / 1e6:.1f}{part}",
        "" if row.top1 is None else f"{row.top1.value:.3f} ({row.top1.low:.3f} to {row.top1.high:.3f})",
        _points(row.difference) if row.difference and compared else "",
        f"{row.agreement:.1%}" if row.agreement is not None and compared else "",
        "" if row.latency is None else f"{row.latency.p50:.1f}",
        "" if row.latency is None else f"{row.latency.p90:.1f}",
        f"{row.speedup:.2f}" if row.speedup and reduced else "",
        row.int8 if isinstance(row.int8, str) else ", ".join(f"{name} {part:.1%}" for name, part in row.int8.items()),
        row.status.replace("|", "/"),
    )


def _points(figure: Figure) -> str:
    return f"{100 * figure.value:+.1f} ({100 * figure.low:+.1f} to {100 * figure.high:+.1f})"
