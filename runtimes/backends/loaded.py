"""What engines have in common: a loaded graph each, the four of a decision at once, others when first run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from avgn.contract import STAGES

if TYPE_CHECKING:
    from runtimes.backends import Arrays


class LoadedGraph(Protocol):
    """One graph, ready to run."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See `runtimes.backends.Engine`."""
        ...

    def bare(self) -> Callable[[], object]:
        """See `runtimes.backends.LoadedEngine`."""
        ...


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

    def bare(self, graph: str) -> Callable[[], object]:
        """The engine's own call on the inputs of the last `run` (see `runtimes.backends.LoadedEngine`)."""
        return self._graph(graph).bare()

    def _graph(self, name: str) -> G:
        if name not in self._graphs:
            self._graphs[name] = self._load(name)
        return self._graphs[name]
