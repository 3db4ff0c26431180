"""Half an hour of trouble: `python -m runtimes.soak --clips DIR` plays clips with faults on purpose and prints JSON.

The microphone's clock runs 1 % fast all the time; every two minutes each other fault happens once. Told are the growth
of memory after the first minute, threads, what each fault did to the counters, how long recovery took, and the offset
of sound against picture. Simulated, time passes as fast as the machine can; `--realtime` takes as long as it says.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avgn.bundle import default_bundle, open_bundle
from runtimes.backends import open_engine
from runtimes.bench import machine, sample_clip, versions
from runtimes.bench_live import looped
from runtimes.capture.faults import BLOCKED, Fault
from runtimes.capture.folder import clips_tape
from runtimes.capture.replay import ReplaySource
from runtimes.capture.source import Counters
from runtimes.classifier import Classifier
from runtimes.live.decision import LiveDecision, Moment
from runtimes.live.settings import LiveSettings
from runtimes.stream import Stream

Floats = NDArray[np.float64]

DRIFT = 0.01
ROUND = 120.0  # seconds in which each fault happens once
SETTLED = 60.0  # seconds after which memory may no longer grow, and the drift is known
# when in a round (seconds), for how long, how much; and which counter must show it
PLAN: tuple[tuple[float, float, str, float, tuple[str, ...]], ...] = (
    (8, 3, "late_frames", 0.3, ("late_frames",)),
    (18, 1, "burst", 0, ("late_frames", "gaps")),
    (28, 2, "picture_gap", 0, ("gaps",)),
    (38, 1, "sound_gap", 0, ("gaps", "dropped_sound_ms")),
    (46, 0.2, "xrun", 0, ("xruns",)),
    (54, 4, "unplug_camera", 0, ("reconnects",)),
    (66, 4, "unplug_microphone", 0, ("reconnects",)),
    (78, 4, "rate", 16_000, ("rate_changes",)),
    (90, 3, "black", 0, ("black_frames",)),
    (100, 3, "silence", 0, ("silent_ms",)),
    (110, 3, BLOCKED, 0, ("skipped_snippets",)),
)
RETURNING = {"unplug_camera": "picture", "unplug_microphone": "sound", "picture_gap": "picture", "sound_gap": "sound"}


@dataclass(frozen=True)
class FaultReport:
    """One kind of fault: how often it happened, how often a counter showed it, and the slowest recovery in seconds.

    Recovery is from the device's return to the first snippet with its picture or sound; None where nothing was lost.
    """

    name: str
    happened: int
    counted: int
    slowest_recovery: float | None


@dataclass(frozen=True)
class Soak:
    """All that is printed; `most_offset_ms` and the growth of memory are those after the first minute."""

    machine: dict[str, Any]
    versions: dict[str, str]
    realtime: bool
    minutes: float
    decisions: int
    memory_growth_mb: float | None
    memory_mb: tuple[float, ...]
    """The median of each minute."""
    threads_before: int
    threads_after: int
    most_offset_ms: float
    drift_ppm: float
    counters: dict[str, float]
    faults: tuple[FaultReport, ...]


def planned(minutes: float) -> tuple[Fault, ...]:
    """The drift, and the plan again and again as far as it fits into `minutes` with time to recover."""
    found = [Fault("drift", amount=DRIFT)]
    begin = 0.0
    while begin < 60 * minutes:
        for at, lasts, name, amount, _ in PLAN:
            if begin + at + lasts + 5 <= 60 * minutes:
                found.append(Fault(name, begin + at, begin + at + lasts, amount))
        begin += ROUND
    return tuple(found)


COUNTERS = (*(field.name for field in fields(Counters)), "skipped_snippets", "skipped_hops")
COLUMNS = ("time", "picture", "sound", "memory", *COUNTERS)


class _Watch:
    """A row for every moment, in a table made beforehand: what watches memory must not eat it."""

    def __init__(self, rows: int) -> None:
        self._table = np.full((rows, len(COLUMNS)), np.nan)
        self._count = 0
        self.decisions, self.most_offset = 0, 0.0

    def moment(self, moment: Moment) -> None:
        """Note a snippet."""
        there = (moment.picture is not None, moment.level is not None)
        skipped = (moment.skipped.snippets, moment.skipped.hops)
        counts = (getattr(moment.counters, name) for name in COUNTERS[:-2])
        self._table[self._count] = (moment.time, *there, resident(), *counts, *skipped)
        self._count += 1

    def decision(self, decision: LiveDecision) -> None:
        """Note a decision."""
        self.decisions += 1
        if decision.time > SETTLED:
            self.most_offset = max(self.most_offset, abs(decision.av_offset_ms))

    def column(self, name: str) -> Floats:
        """All that was noted under a name of COLUMNS."""
        return self._table[: self._count, COLUMNS.index(name)]


def run_soak(classifier: Classifier, clips: Sequence[Path], minutes: float, realtime: bool = False) -> Soak:
    """Play `clips` with the planned faults through the stream. Raises InputError where there is nothing to play."""
    faults, sound = planned(minutes), classifier.config.sound
    before = threading.active_count()
    source = ReplaySource(clips_tape(looped(clips, 60 * minutes), sound), sound, realtime, faults)
    settings = LiveSettings(duration=60 * minutes)
    watch = _Watch(round(60 * minutes / settings.step) + 2)
    for decision in Stream(classifier, source, settings, [watch.moment]):
        watch.decision(decision)
    return Soak(
        machine=machine(),
        versions=versions(),
        realtime=realtime,
        minutes=minutes,
        decisions=watch.decisions,
        memory_growth_mb=_growth(watch),
        memory_mb=_by_minute(watch),
        threads_before=before,
        threads_after=threading.active_count(),
        most_offset_ms=watch.most_offset,
        drift_ppm=source.drift_ppm,
        counters={name: float(watch.column(name)[-1]) for name in COUNTERS},
        faults=tuple(_reports(faults, watch)),
    )


def _reports(faults: Sequence[Fault], watch: _Watch) -> Iterator[FaultReport]:
    for *_, name, _, shown_by in PLAN:
        of_kind = [fault for fault in faults if fault.name == name]
        if not of_kind:
            continue
        counted = sum(_counted(fault, shown_by, watch) for fault in of_kind)
        recoveries = [_recovery(fault, watch) for fault in of_kind if name in RETURNING]
        yield FaultReport(name, len(of_kind), counted, max(recoveries, default=None))


def _counted(fault: Fault, names: Sequence[str], watch: _Watch) -> bool:
    """Whether one of the counters rose from the fault's begin to a few seconds after its end."""
    times = watch.column("time")
    before, after = np.searchsorted(times, (fault.begin, fault.end + 4)).tolist()
    rose = (watch.column(name)[[max(before - 1, 0), min(after, len(times) - 1)]] for name in names)
    return any(last > first for first, last in rose)


def _recovery(fault: Fault, watch: _Watch) -> float:
    """Seconds from the fault's end until the device is seen or heard again; infinite where it never was."""
    times = watch.column("time")
    back = times[(times >= fault.end) & (watch.column(RETURNING[fault.name]) > 0)]
    return float(back[0]) - fault.end if len(back) else float("inf")


def resident() -> int:
    """Bytes of memory that the process holds; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    import resource

    return pages * resource.getpagesize()


def _by_minute(watch: _Watch) -> tuple[float, ...]:
    """Medians of the process's memory in MB, of each minute in which there was a snippet."""
    minutes = (watch.column("time") // 60).astype(int)
    return tuple(float(np.median(watch.column("memory")[minutes == minute])) / 1e6 for minute in np.unique(minutes))


def _growth(watch: _Watch) -> float | None:
    """MB from the second minute to the last, by their medians; None where it was too short or nothing is known."""
    times, memory = watch.column("time"), watch.column("memory")
    first, last = (times >= SETTLED) & (times < 2 * SETTLED), times > times[-1] - SETTLED
    if times[-1] < 3 * SETTLED or not memory.all():
        return None
    return float(np.median(memory[last]) - np.median(memory[first])) / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="python -m runtimes.soak", description=__doc__)
    parser.add_argument("--clips", type=Path, nargs="+", help="clips or folders of clips (default: the sample)")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--realtime", action="store_true", help="as long as it says, not as fast as it goes")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    bundle = open_bundle(given.bundle or default_bundle())
    classifier = Classifier(bundle, open_engine(bundle, threads=given.threads))
    found = run_soak(classifier, given.clips or [sample_clip()], given.minutes, given.realtime)
    json.dump(asdict(found), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
