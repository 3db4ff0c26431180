"""What engines have in common: a loaded graph each, the four of a decision at once, others when first run.

A run has three steps: inputs are made ready, the engine is called, its outputs are told. The second is the engine's own
time, which `avgn bench` takes by itself; of several calls at once all of Python's part comes before and after.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from avgn.contract import STAGES

if TYPE_CHECKING:
    from runtimes.backends import Arrays


class LoadedGraph(ABC):
    """One graph, ready to run."""

    last: Any = None
    """What the last call was given: `ready` made it."""

    @abstractmethod
    def ready(self, inputs: Arrays) -> Any:
        """Checked, and as the engine wants them; InputError as of `runtimes.backends.Engine.run`."""
        ...

    def ready_each(self, sets: Sequence[Arrays]) -> list[Any]:
        """`ready` of each set of inputs."""
        return [self.ready(inputs) for inputs in sets]

    @abstractmethod
    def call(self, ready: Any) -> Any:
        """The engine's own call; MissingError where it fails."""
        ...

    def call_each(self, ready: Sequence[Any]) -> list[Any]:
        """`call` for each, in this order: one after the other, or side by side."""
        return [self.call(one) for one in ready]

    @abstractmethod
    def told(self, found: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """What calls (one or more) gave, by name and joined along the first axis: the caller's own copies."""
        ...

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See `runtimes.backends.Engine`."""
        self.last = self.ready(inputs)
        return self.told([self.call(self.last)])

    def bare(self) -> Callable[[], object]:
        """See `runtimes.backends.LoadedEngine`."""
        return lambda: self.call(self.last)


G = TypeVar("G", bound=LoadedGraph)


class GraphEngine(Generic[G]):
    """A `runtimes.backends.LoadedEngine` of graphs that `load` prepares by name."""

    backend: str

    def __init__(self, precision: str, threads: int, load: Callable[[str], G]) -> None:
        self.precision, self.threads = precision, threads
        self._load = load
        self._graphs = {graph: load(graph) for graph in STAGES}

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run `graph` once (see `runtimes.backends.Engine`)."""
        return self._graph(graph).run(inputs)

    def run_each(self, graph: str, sets: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """See `runtimes.backends.LoadedEngine`; side by side where `graph` was loaded for that."""
        return self.told(graph, self.asked(graph, sets)())

    def asked(self, graph: str, sets: Sequence[Arrays]) -> Callable[[], list[Any]]:
        """See `runtimes.backends.LoadedEngine`."""
        loaded = self._graph(graph)
        ready = loaded.ready_each(sets)
        loaded.last = ready[-1] if ready else loaded.last
        return lambda: loaded.call_each(ready)

    def told(self, graph: str, found: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """See `runtimes.backends.LoadedEngine`."""
        return self._graph(graph).told(found) if found else {}

    def bare(self, graph: str) -> Callable[[], object]:
        """See `runtimes.backends.LoadedEngine`."""
        return self._graph(graph).bare()

    def _graph(self, name: str) -> G:
        if name not in self._graphs:
            self._graphs[name] = self._load(name)
        return self._graphs[name]


def joined(parts: Sequence[Mapping[str, NDArray[Any]]], names: Iterable[str] = ()) -> dict[str, NDArray[Any]]:
    """Copies of arrays by name (`names` or all), those of all `parts`, at least one, joined along the first axis."""
    return {name: np.concatenate([part[name] for part in parts]) for name in names or parts[0]}
