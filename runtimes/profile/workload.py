"""What is profiled: a window of T snippets that slides over a clip, as a live stream's does, one decision a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from avgn.contract import STAGES
from avgn.errors import UsageError
from avgn.logmel import log_mel_windows
from runtimes.backends import input_buffers
from runtimes.classifier import Classifier, Glance, Look

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
    """Each `decide` glances at `new` more snippets of the clip (again and again from its start), chooses among the
    last T, focuses on those chosen that have not been focused on yet, and decides.

    So the focus net is called as often as real content makes a live stream call it.
    """

    def __init__(self, classifier: Classifier, engine: LoadedEngine, clip: Clip, new: int = 2) -> None:
        if new < 1:
            raise UsageError(f"snippets per decision: {new} makes no sense, give 1 or more.")
        self._classifier, self._engine, self._clip, self._new = classifier, engine, clip, new
        window = classifier.config.snippets
        self._glances: deque[Glance] = deque([classifier.nothing] * window, maxlen=window)
        self._looks: dict[int, Look] = {}
        self._next = 0  # the number of the next snippet since the start
        self._spare: dict[str, NDArray[Any]] | None = None

    def cold(self) -> Decided:
        """Each graph once: the first snippet alone, and a look at it whether it is chosen or not."""
        return self._decide(1, always=(len(self._glances) - 1,))

    def decide(self) -> Decided:
        """See the class."""
        return self._decide(self._new)

    def _decide(self, new: int, always: tuple[int, ...] = ()) -> Decided:
        """Decide after `new` snippets; `always` are places of the window to focus on in any case."""
        classifier, began = self._classifier, perf_counter()
        classifier.meter.reset()
        prepare = sum(self._take_in() for _ in range(new))
        choice = classifier.choose(self._glances)
        first = self._next - len(self._glances)  # the number of the window's oldest snippet
        crop = 0.0
        if always or not classifier.exits(choice):
            crop = self._look(first, always or choice.selected)
            seen = {index: self._looks[first + index] for index in choice.selected if first + index in self._looks}
            classifier.decide(choice, self._glances, seen)
        total = (perf_counter() - began) * 1e3
        calls = classifier.meter.calls
        graphs = {graph: classifier.meter.ms[graph] for graph in STAGES if calls[graph]}
        host = {"prepare": prepare * 1e3, **({"crop": crop * 1e3} if calls["focus"] else {})}
        spent = host | graphs
        return Decided(total, {step: spent[step] for step in STEPS if step in spent}, calls["focus"])

    def bare(self) -> dict[str, Callable[[], object]]:
        """See `Workload`; the inputs are those of the last decisions."""
        return {graph: self._engine.bare(graph) for graph in STAGES}

    def warm(self) -> None:
        """Run `focus` on inputs of its own."""
        if self._spare is None:
            record = self._classifier.bundle.record("focus", self._engine.backend, self._engine.precision)
            self._spare = input_buffers(self._engine, record)[0]
        self._engine.run("focus", self._spare)

    def _take_in(self) -> float:
        """Glance at the next snippet; seconds that laying it out took."""
        classifier, clip = self._classifier, self._clip
        index, slot = self._next % len(clip.pictures), self._next % len(self._glances)
        began = perf_counter()
        mel = None
        if clip.heard[index]:
            only = slice(index, index + 1)
            mel = log_mel_windows(clip.sound[only], clip.starts[only], classifier.config.sound)[0]
        classifier.prepare(slot, clip.pictures[index], mel)
        prepared = perf_counter() - began
        self._glances.append(classifier.glance(slot))
        self._next += 1
        self._looks.pop(self._next - 1 - len(self._glances), None)
        return prepared

    def _look(self, first: int, selected: tuple[int, ...]) -> float:
        """Focus on what is chosen and has not been looked at; seconds that cutting the patches took."""
        began = perf_counter()
        fresh = [index for index in selected if self._glances[index].seen and first + index not in self._looks]
        middles = {}
        for slot, index in enumerate(fresh):
            picture = self._clip.pictures[(first + index) % len(self._clip.pictures)]
            assert picture is not None, "a snippet that was seen has a picture"
            middles[index] = self._classifier.prepare_patch(slot, picture, self._glances[index].centre)
        spent = perf_counter() - began
        if middles:
            looks = self._classifier.look_all(middles)
            self._looks.update({first + index: look for index, look in looks.items()})
        return spent


def read_material(path: Path, classifier: Classifier) -> Clip:
    """`VARIETY` windows of snippets of the file at `path`, so that the window's content changes as it slides."""
    from avgn.media import read_clip

    config = classifier.config
    return read_clip(path, replace(config, snippets=min(VARIETY * config.snippets, 512)))
