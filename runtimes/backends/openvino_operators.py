"""What OpenVINO tells of the operators of a compiled graph: which products they are, and how long they take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from runtimes.backends.operators import Operator

if TYPE_CHECKING:
    import openvino

SETTLING = 3  # runs that are not counted: the first packs weights
PRODUCTS = ("Convolution", "FullyConnected", "MatMul")


class Product(NamedTuple):
    """A convolution or matrix product as compiled."""

    kernel: str  # ends in _I8 where it is computed in int8
    macs: int
    depthwise: bool


def products(compiled: openvino.CompiledModel) -> dict[str, Product]:
    """All of a compiled graph, by name, from the engine's own account of what it executes."""
    found = {}
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind = info["layerType"].astype(str) if "layerType" in info else ""
        if kind in PRODUCTS:
            # weights of a convolution: [C,I,h,w], in groups [G,C/G,I/G,h,w]
            made, weights = tuple(node.get_output_shape(0)), tuple(node.input(1).get_shape())
            convolution = kind == "Convolution"
            each = math.prod(weights) // made[1] if convolution else int(node.input(0).get_shape()[-1])
            depthwise = convolution and len(weights) == len(made) + 1 and weights[2] == 1
            found[node.get_friendly_name()] = Product(
                info["primitiveType"].astype(str), math.prod(made) * each, depthwise
            )
    return found


def operators(compiled: openvino.CompiledModel, request: openvino.InferRequest, calls: int) -> tuple[Operator, ...]:
    """Mean time of each operator over `calls` runs of a `request` whose inputs are bound; `compiled` must count."""
    before = _averages(request, SETTLING)
    after = _averages(request, calls)
    work = products(compiled)
    found = []
    for name, (kind, kernel, average) in after.items():
        # one that took no time that could be told counts as not executed
        earlier = before[name][2] if name in before else 0.0
        ms = mean_since(earlier, SETTLING, average, SETTLING + calls)
        macs, depthwise = work[name][1:] if name in work else (0, False)
        found.append(Operator(name, kind, kernel, ms, macs, depthwise))
    return tuple(found)


def _averages(request: openvino.InferRequest, calls: int) -> dict[str, tuple[str, str, float]]:
    """Kind, kernel and milliseconds of each operator, on average over all runs so far, after `calls` more."""
    for _ in range(calls):
        request.infer()
    found: dict[str, tuple[str, str, float]] = {}
    for node in request.profiling_info:
        if node.status == node.Status.EXECUTED:
            spent = found[node.node_name][2] if node.node_name in found else 0.0
            ms = spent + node.real_time.total_seconds() * 1e3
            found[node.node_name] = node.node_type, node.exec_type, ms
    return found


def mean_since(before: float, ran: int, after: float, now: int) -> float:
    """The mean over the runs from `ran` to `now`, given the means over all runs up to each: what the engine tells."""
    return max(0.0, (after * now - before * ran) / (now - ran))
