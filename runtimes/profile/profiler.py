"""`avgn profile`: load, run the phases, watch the sensors, and put together the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from avgn.bundle import Bundle
from avgn.contract import STAGES
from avgn.errors import UsageError
from runtimes.backends import LoadedEngine, open_engine
from runtimes.backends.operators import operators
from runtimes.bench import sample_clip
from runtimes.classifier import Classifier
from runtimes.profile.assemble import Seen, assemble
from runtimes.profile.memory import now_mb, peak_mb
from runtimes.profile.report import OperatorReport, Report, Subject
from runtimes.profile.run import Course, Plan, Runner
from runtimes.profile.sensors.snapshot import Sensors, settings_of
from runtimes.profile.sensors.tree import Tree
from runtimes.profile.watch import Watch
from runtimes.profile.workload import SlidingWindow, read_material


@dataclass(frozen=True)
class Request:
    """What to run: variant, clip (default: the sample of a checkout), and which rail's energy to tell."""

    backend: str = "auto"
    precision: str | None = None
    threads: int | None = None
    cache: Path | None = None
    clip: Path | None = None
    snippets_per_decision: int = 2
    rail: str | None = None
    root: Path = Path("/")
    """Sensors are read below this folder."""


def profile(
    bundle: Bundle,
    plan: Plan,
    request: Request | None = None,
    step: Callable[[str, float], None] = lambda name, seconds: None,
) -> tuple[Report, Course]:
    """Profile `bundle`; the report, and the course with its raw samples.

    `step` is told of each phase and the seconds it takes. Raises what `open_engine`, `Classifier` and `read_clip`
    raise, and UsageError for an option that makes no sense.
    """
    request = request or Request()
    clip = request.clip or sample_clip()
    sensors = Sensors(Tree(request.root))
    try:
        _check_rail(sensors, request.rail)
        memory = {"before loading": now_mb()}
        began = perf_counter()
        engine = open_engine(bundle, request.backend, request.precision, request.threads, request.cache)
        classifier = Classifier(bundle, engine)
        load_ms = (perf_counter() - began) * 1e3
        memory["loaded"] = now_mb()
        window = SlidingWindow(classifier, engine, read_material(clip, classifier), request.snippets_per_decision)
        first = sensors.snapshot()
        with Watch(sensors) as watch:
            course = Runner(window, plan, watch, step=step).run()
        last = sensors.snapshot()
        memory |= {"after the run": now_mb(), "peak": peak_mb()}
    finally:
        sensors.stop()
    seen = Seen(watch.readings, first, settings_of(last), request.rail, simulated=not sensors.tree.real)
    found = assemble(course, plan, seen, _subject(bundle, engine, clip, request), load_ms)
    table, note = _operators(engine)
    return replace(found, memory_mb=memory, operators=table, operators_note=note), course


def _check_rail(sensors: Sensors, name: str | None) -> None:
    names = dict.fromkeys(rail.name for rail in sensors.power().rails)
    if name is not None and name not in names:
        raise UsageError(f"rail {name}: this device does not have it; it has {', '.join(names) or 'none'}.")


def _subject(bundle: Bundle, engine: LoadedEngine, clip: Path, request: Request) -> Subject:
    return Subject(
        bundle=bundle.manifest.name,
        digest=bundle.digest(),
        backend=engine.backend,
        precision=engine.precision,
        threads=engine.threads,
        clip=clip.name,
        snippets_per_decision=request.snippets_per_decision,
    )


def _operators(engine: LoadedEngine) -> tuple[tuple[OperatorReport, ...], str]:
    """The table of operators, after all else was measured: counting slows down."""
    rows = []
    for graph in STAGES:
        found = operators(engine, graph)
        if found is None:
            return (), f"not run: {engine.backend} does not tell what an operator costs"
        rows += [OperatorReport(graph, one.name, one.kind, one.kernel, one.ms) for one in found]
    return tuple(rows), "mean of 20 calls of a copy that counts, which is slower than the graph itself"
