"""Several calls of a graph at once, one thread each, for engines that have no such thing of their own.

A small graph gains little from a second thread, and waking threads for each of its operators costs most of that. What a
call computes stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from avgn.contract import patch_batch
from runtimes.backends.loaded import LoadedGraph

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord
    from runtimes.backends import Arrays


def lanes_of(bundle: Bundle, record: GraphRecord, threads: int) -> int:
    """How many calls of a graph run at once: those of a decision, if it makes several, but no more than `threads`."""
    config = bundle.manifest.config
    calls = {"glance": config.snippets}
    if record.graph == "focus":
        calls["focus"] = math.ceil(config.chosen / patch_batch(record.inputs))
    return min(calls.get(record.graph, 1), threads)


class Lanes(LoadedGraph):
    """`graphs` of one thread each, called from a Python thread each: for engines that let go of Python's lock.

    A call alone is the first's. What numpy does with inputs and outputs is done by the caller's thread: it lets go of
    Python's lock at every step, and in threads side by side it took three times as long as one after the other.
    """

    def __init__(self, graphs: Sequence[LoadedGraph]) -> None:
        self._graphs = graphs
        self._pool = ThreadPoolExecutor(len(graphs), thread_name_prefix="avgn")

    def ready(self, inputs: Arrays) -> Any:
        """As any of the graphs would."""
        return self._graphs[0].ready(inputs)

    def call(self, ready: Any) -> Any:
        """On the first."""
        return self._graphs[0].call(ready)

    def told(self, found: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """As any of the graphs would."""
        return self._graphs[0].told(found)

    def call_each(self, ready: Sequence[Any]) -> list[Any]:
        """Call i goes to graph i mod their number. All have ended when it returns or raises the first fault."""
        count = len(self._graphs)
        started = [self._pool.submit(graph.call_each, ready[i::count]) for i, graph in enumerate(self._graphs)]
        wait(started)
        found = [None] * len(ready)
        for i, lane in enumerate(started):
            found[i::count] = lane.result()
        return found
