"""What each operator of a graph costs, from engines that can tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtimes.backends import Engine


@dataclass(frozen=True)
class Operator:
    """An operator as it was run: its kind in the graph, the kernel that ran it, mean milliseconds of a call.

    `macs`: multiply-accumulates of a convolution or matrix product, 0 for all else; `depthwise`: a channel at a time.
    """

    name: str
    kind: str
    kernel: str
    ms: float
    macs: int = 0
    depthwise: bool = False


def operators(engine: Engine, graph: str, calls: int = 20) -> tuple[Operator, ...] | None:
    """The operators of `graph` on the inputs of its last run, the costliest first; None where the engine cannot tell.

    An engine that can has a method `operators(graph, calls)`. Counting slows a graph down: it is done on a copy.
    """
    count: Callable[[str, int], tuple[Operator, ...]] | None = getattr(engine, "operators", None)
    if count is None:
        return None
    return tuple(sorted(count(graph, calls), key=lambda one: -one.ms))
