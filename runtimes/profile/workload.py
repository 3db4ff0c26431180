"""What is profiled: a window of T snippets that slides over a clip, as a live stream's does, one decision a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from avgn.contract import STAGES
from avgn.errors import UsageError
from runtimes.backends import input_buffers
from runtimes.classifier import Classifier
from runtimes.live.played import PlayedWindow
from runtimes.live.settings import LiveSettings

if TYPE_CHECKING:
    from avgn.snippets import Clip
    from runtimes.backends import LoadedEngine

# `prepare`: pixels and log-mel of the new snippets; `crop`: patches of the newly chosen; then the graphs.
STEPS = ("prepare", "glance", "select", "crop", "focus", "classify")
VARIETY = 3  # windows of different snippets that the clip is cut into


@dataclass(frozen=True)
class Decided:
    """Milliseconds of one decision by step (those that ran), and how often the focus net was called."""

    total_ms: float
    steps_ms: Mapping[str, float]
    focus_calls: int


class Workload(Protocol):
    """What the profiler drives."""

    def cold(self) -> Decided:
        """The very first decision, with one call of each graph."""
        ...

    def decide(self) -> Decided:
        """Take in what is new and decide."""
        ...

    def bare(self) -> Mapping[str, Callable[[], object]]:
        """One call of each graph, with nothing around it where the engine can."""
        ...

    def warm(self) -> None:
        """One call of the focus net for nothing, to keep clocks from falling."""
        ...


class SlidingWindow:
    """A live stream's window over a clip: each `decide` takes in `new` more of its snippets, again and again from its
    start, and judges the last T.

    So the focus net is called as often as real content makes a live stream call it.
    """

    def __init__(self, classifier: Classifier, engine: LoadedEngine, clip: Clip, new: int = 2) -> None:
        if new < 1:
            raise UsageError(f"snippets per decision: {new} makes no sense, give 1 or more.")
        self._classifier, self._engine, self._new = classifier, engine, new
        self._window = PlayedWindow(classifier, clip, LiveSettings().step)
        self._spare: dict[str, NDArray[Any]] | None = None

    def cold(self) -> Decided:
        """Each graph once: the first snippet alone, and a look at it however sure the glance is."""
        return self._decide(1, may_exit=False)

    def decide(self) -> Decided:
        """See the class."""
        return self._decide(self._new)

    def _decide(self, new: int, may_exit: bool = True) -> Decided:
        began = perf_counter()
        self._window.take(new)
        answer = self._window.decide(may_exit)
        total = (perf_counter() - began) * 1e3
        spent = {step: answer.timings_ms[step] for step in STEPS}
        return Decided(total, {step: ms for step, ms in spent.items() if ms > 0}, answer.new_focus)

    def bare(self) -> dict[str, Callable[[], object]]:
        """See `Workload`; the inputs are those of the last decisions."""
        return {graph: self._engine.bare(graph) for graph in STAGES}

    def warm(self) -> None:
        """Run `focus` on inputs of its own."""
        if self._spare is None:
            record = self._classifier.bundle.record("focus", self._engine.backend, self._engine.precision)
            self._spare = input_buffers(self._engine, record)[0]
        self._engine.run("focus", self._spare)


def read_material(path: Path, classifier: Classifier) -> Clip:
    """`VARIETY` windows of snippets of the file at `path`, so that the window's content changes as it slides."""
    from avgn.media import read_clip

    config = classifier.config
    return read_clip(path, replace(config, snippets=min(VARIETY * config.snippets, 512)))
