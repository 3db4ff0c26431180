"""What engines have in common: a loaded graph each, the four of a decision at once, others when first run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from avgn.contract import STAGES

if TYPE_CHECKING:
    from runtimes.backends import Arrays


class LoadedGraph(Protocol):
    """One graph, ready to run; classes that inherit from it make several calls one after the other."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See `runtimes.backends.Engine`."""
        ...

    def bare(self) -> Callable[[], object]:
        """See `runtimes.backends.LoadedEngine`."""
        ...

    def run_each(self, sets: Sequence[Arrays]) -> list[dict[str, NDArray[Any]]]:
        """See `GraphEngine`."""
        return [self.run(inputs) for inputs in sets]

    def bare_each(self, sets: Sequence[Arrays]) -> Callable[[], object]:
        """See `GraphEngine`; here on the inputs of the last `run`, as often as there are sets."""
        call = self.bare()
        return lambda: [call() for _ in sets]


class SteppedGraph(LoadedGraph):
    """A run in three steps: of several calls at once, all of Python's part comes before and after."""

    _last: Any = None

    @abstractmethod
    def ready(self, inputs: Arrays) -> Any:
        """Checked, and as the engine wants them; InputError as of `run`."""
        ...

    @abstractmethod
    def call(self, ready: Any) -> Any:
        """The engine's own call; MissingError where it fails."""
        ...

    @abstractmethod
    def told(self, outputs: Any) -> dict[str, NDArray[Any]]:
        """What the call gave, as `run` gives it."""
        ...

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All three."""
        self._last = self.ready(inputs)
        return self.told(self.call(self._last))

    def bare(self) -> Callable[[], object]:
        """The second, on the inputs of the last `run`."""
        return lambda: self.call(self._last)

    def bare_each(self, sets: Sequence[Arrays]) -> Callable[[], list[Any]]:
        """The second, on each of `sets`."""
        kept = [self.ready(inputs) for inputs in sets]
        return lambda: [self.call(ready) for ready in kept]


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

    def run_each(self, graph: str, sets: Sequence[Arrays]) -> list[dict[str, NDArray[Any]]]:
        """What `run` gives for each set of inputs, side by side where `graph` was loaded for that."""
        return self._graph(graph).run_each(sets)

    def bare_each(self, graph: str, sets: Sequence[Arrays]) -> Callable[[], object]:
        """What `run_each` asks of the engine for these sets of inputs, which were run before."""
        return self._graph(graph).bare_each(sets)

    def _graph(self, name: str) -> G:
        if name not in self._graphs:
            self._graphs[name] = self._load(name)
        return self._graphs[name]
