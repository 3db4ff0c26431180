"""An engine that counts: milliseconds and multiply-accumulates of the graphs that were really run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from avgn.contract import STAGES
from runtimes.backends.loaded import joined

if TYPE_CHECKING:
    from runtimes.backends import Arrays, Engine


class Meter:
    """Wraps an engine; `reset` before a decision, then read `ms` (by graph), `calls` and `macs`.

    `macs` of the constructor: multiply-accumulates of one call of each graph.
    """

    def __init__(self, engine: Engine, macs: Mapping[str, int]) -> None:
        self.engine = engine
        self._macs = macs
        self.reset()

    def reset(self) -> None:
        """Start counting afresh."""
        self.ms = dict.fromkeys(STAGES, 0.0)
        self.calls = dict.fromkeys(STAGES, 0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates since the last reset."""
        return sum(count * self._macs[graph] for graph, count in self.calls.items())

    def price(self, graph: str) -> int:
        """Multiply-accumulates of one call of a graph."""
        return self._macs[graph]

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run a graph on the engine and count it."""
        began = perf_counter()
        outputs = self.engine.run(graph, inputs)
        self.ms[graph] += (perf_counter() - began) * 1e3
        self.calls[graph] += 1
        return outputs

    def run_each(self, graph: str, sets: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """Run a graph on each set of inputs, with nothing in between: an engine's threads would fall asleep.

        Outputs are joined along the first axis. `ms` is the time until all are done, however many run at once.
        """
        run_each = getattr(self.engine, "run_each", None)
        if run_each is None:
            return joined([self.run(graph, inputs) for inputs in sets])
        began = perf_counter()
        outputs: dict[str, NDArray[Any]] = run_each(graph, sets)
        self.ms[graph] += (perf_counter() - began) * 1e3
        self.calls[graph] += len(sets)
        return outputs
