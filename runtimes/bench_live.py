"""How the live runtime keeps up: `python -m runtimes.bench_live --clips DIR` plays clips in real time and prints JSON.

Age of the answer, drops, processor time, focus calls and the cost of a hop beside that of the whole window judged from
scratch. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from math import ceil
from pathlib import Path
from statistics import fmean
from time import perf_counter, process_time, sleep
from typing import TYPE_CHECKING, Any

import numpy as np

from avgn.bundle import default_bundle, open_bundle
from avgn.errors import InputError, UsageError
from avgn.media import read_clip, read_timeline
from runtimes.backends import open_engine
from runtimes.bench import Percentiles, machine, sample_clip, versions
from runtimes.capture.folder import clips_tape
from runtimes.capture.replay import ReplaySource
from runtimes.classifier import Classifier
from runtimes.live.gate import IdleSettings
from runtimes.live.settings import LiveSettings
from runtimes.stream import Stream

if TYPE_CHECKING:
    from runtimes.decision import Decision
    from runtimes.live.decision import LiveDecision

WARM_UP, WHOLE_WINDOWS = 3, 20  # judged from scratch, for comparison


@dataclass(frozen=True)
class HopCost:
    """Means of one hop and of the whole window judged from scratch, one a hop's time as well, and their ratio."""

    hop: float
    window: float
    ratio: float


@dataclass(frozen=True)
class LiveBench:
    """All that is printed. Ages are those of the newest frame and sound when the answer was there."""

    machine: dict[str, Any]
    versions: dict[str, str]
    backend: str
    precision: str
    threads: int
    settings: dict[str, Any]
    seconds: float
    decisions: int
    age_frame_ms: Percentiles
    age_sound_ms: Percentiles
    dropped_frames: int
    dropped_sound_ms: float
    skipped_snippets: int
    skipped_hops: int
    """Left out since the window was full."""
    skipped_at_start: int
    """Snippets left out before that, while engine and decoder met their first work."""
    cpu_percent_of_one_core: float
    """Processor time of the whole process, decoding of the clips included, over the time that passed."""
    k: int
    focus_per_hop: float
    focus_share_of_k: float
    macs: HopCost
    ms: HopCost
    parts_ms: dict[str, dict[str, float]]
    """Where `ms` goes, of `hop` and `window`: the keys of `timings_ms`; the rest of `total` is the host's own code."""


def looped(paths: Sequence[Path], seconds: float) -> list[Path]:
    """`paths` (folders stand for what is in them) again and again, for `seconds` or more. InputError: nothing to play.

    Only the first round is looked into: what is no clip is left out.
    """
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    lengths = {}
    for file in files:
        try:
            lengths[file] = read_timeline(file).duration
        except InputError:
            continue
    if not sum(lengths.values()):
        raise InputError(f"{', '.join(map(str, paths))}: there is no clip to play.")
    rounds = ceil(seconds / sum(lengths.values()))
    turns = cycle(lengths)
    return [next(turns) for _ in range(rounds * len(lengths))]


def run_live(classifier: Classifier, threads: int, clips: Sequence[Path], settings: LiveSettings) -> LiveBench:
    """Play `clips` in real time, for `settings.duration`, through the stream; then judge whole windows."""
    if settings.duration is None:
        raise UsageError("the benchmark needs a duration.")
    paths = looped(clips, settings.duration)
    source = ReplaySource(clips_tape(paths, classifier.config.sound), classifier.config.sound, realtime=True)
    stream = Stream(classifier, source, settings)
    full = classifier.config.snippets * settings.step
    decisions: list[LiveDecision] = []
    began, spent, start = perf_counter(), process_time(), stream.skipped
    for decision in stream:
        if decision.time <= full:  # filling the window is another matter
            began, spent, start = perf_counter(), process_time(), decision.skipped
        else:
            decisions.append(decision)
    passed, spent = perf_counter() - began, process_time() - spent
    if not decisions:
        raise UsageError(f"duration: {settings.duration:g} s do not fill the window; give more than {full + 1:g} s.")
    counters, new = source.counters, [decision.new_focus for decision in decisions]
    whole = whole_windows(classifier, paths, settings.step * settings.hop)
    parts = {"hop": _parts(decisions), "window": _parts(whole)}
    macs = [fmean(decision.macs for decision in found) for found in (decisions, whole)]
    return LiveBench(
        machine=machine(),
        versions=versions(),
        backend=classifier.engine.backend,
        precision=classifier.engine.precision,
        threads=threads,
        settings=asdict(settings),
        seconds=passed,
        decisions=len(decisions),
        age_frame_ms=_levels([decision.age_ms.frame for decision in decisions]),
        age_sound_ms=_levels([decision.age_ms.sound for decision in decisions]),
        dropped_frames=counters.dropped_frames,
        dropped_sound_ms=counters.dropped_sound_ms,
        skipped_snippets=stream.skipped.snippets - start.snippets,
        skipped_hops=stream.skipped.hops - start.hops,
        skipped_at_start=start.snippets,
        cpu_percent_of_one_core=100 * spent / passed,
        k=classifier.k,
        focus_per_hop=fmean(new),
        focus_share_of_k=fmean(new) / classifier.k,
        macs=_beside(*macs),
        ms=_beside(parts["hop"]["total"], parts["window"]["total"]),
        parts_ms=parts,
    )


def whole_windows(classifier: Classifier, paths: Sequence[Path], every: float) -> list[Decision]:
    """T snippets judged from scratch, a few times, decoding left out.

    One in `every` seconds, as a stream would: after a pause the caches are cold and the engine's threads asleep, and
    each window, like each hop, pays for waking them.
    """
    clips = [read_clip(path, classifier.config) for path in dict.fromkeys(paths[:WHOLE_WINDOWS])]
    turns, due, found = cycle(clips), perf_counter(), []
    for _ in range(WARM_UP + WHOLE_WINDOWS):
        sleep(max(0.0, due - perf_counter()))
        due = perf_counter() + every
        found.append(classifier.classify_clip(next(turns)))
    return found[WARM_UP:]


def _beside(hop: float, window: float) -> HopCost:
    return HopCost(hop, window, hop / window)


def _parts(decisions: Sequence[Decision] | Sequence[LiveDecision]) -> dict[str, float]:
    """Mean milliseconds by part."""
    return {name: fmean(decision.timings_ms[name] for decision in decisions) for name in decisions[0].timings_ms}


def _levels(ages: Sequence[float | None]) -> Percentiles:
    known = [age for age in ages if age is not None]
    return Percentiles(*np.percentile(known or [float("nan")], (50, 90, 99)).tolist())


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="python -m runtimes.bench_live", description=__doc__)
    parser.add_argument("--clips", type=Path, nargs="+", help="clips or folders of clips (default: the sample)")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--snippets", type=float, default=4.0)
    parser.add_argument("--decisions", type=float, default=2.0)
    parser.add_argument("--no-rest", action="store_true", help="never rest, so that every snippet is glanced at")
    given = parser.parse_args(arguments)
    bundle = open_bundle(given.bundle or default_bundle())
    classifier = Classifier(bundle, open_engine(bundle, given.backend, given.precision, given.threads))
    settings = LiveSettings(
        snippets_per_second=given.snippets,
        decisions_per_second=given.decisions,
        idle=None if given.no_rest else IdleSettings(),
        duration=given.seconds,
    )
    found = run_live(classifier, given.threads, given.clips or [sample_clip()], settings)
    json.dump(asdict(found), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
