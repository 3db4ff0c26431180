"""Several calls of a graph at once, one thread each, for engines that have no such thing of their own.

A small graph gains little from a second thread, and waking threads for each of its operators costs most of that. What a
call computes stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from avgn.contract import patch_batch
from runtimes.backends.loaded import LoadedGraph, SteppedGraph

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord
    from runtimes.backends import Arrays

R = TypeVar("R")


def lanes_of(bundle: Bundle, record: GraphRecord, threads: int) -> int:
    """How many calls of a graph run at once: those of a decision, if it makes several, but no more than `threads`."""
    config = bundle.manifest.config
    calls = {"glance": config.snippets}
    if record.graph == "focus":
        calls["focus"] = math.ceil(config.chosen / patch_batch(record.inputs))
    return min(calls.get(record.graph, 1), threads)


class Lanes(LoadedGraph):
    """`graphs` of one thread each, called from a Python thread each: for engines that let go of Python's lock."""

    def __init__(self, graphs: Sequence[SteppedGraph]) -> None:
        self._graphs = graphs
        self._pool = ThreadPoolExecutor(len(graphs), thread_name_prefix="avgn")

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """On the first."""
        return self._graphs[0].run(inputs)

    def bare(self) -> Callable[[], object]:
        """Of the first."""
        return self._graphs[0].bare()

    def run_each(self, sets: Sequence[Arrays]) -> list[dict[str, NDArray[Any]]]:
        """Set i goes to graph i mod their number. All calls have ended when it returns or raises.

        What numpy does with inputs and outputs is done here: it lets go of Python's lock at every step, and in threads
        side by side it took three times as long as one after the other.
        """
        parts, count = self.bare_each(sets)(), len(self._graphs)
        return [self._graphs[0].told(parts[i % count][i // count]) for i in range(len(sets))]

    def bare_each(self, sets: Sequence[Arrays]) -> Callable[[], list[list[Any]]]:
        """The engine's own calls, shared out."""
        count = len(self._graphs)
        shares = [graph.bare_each(sets[i::count]) for i, graph in enumerate(self._graphs)]
        return lambda: self._all(shares)

    def _all(self, jobs: Sequence[Callable[[], R]]) -> list[R]:
        """Each job in a thread of its own; the first fault is raised when all have ended."""
        started: list[Future[R]] = [self._pool.submit(job) for job in jobs]
        wait(started)
        return [job.result() for job in started]
