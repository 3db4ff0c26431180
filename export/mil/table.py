"""Every operation that the evaluator knows, by its name in MIL."""

from __future__ import annotations

from export.mil import convolution, elementwise, linear, quantisation, reduction, shape
from export.mil.values import Operation

OPS: dict[str, Operation] = {
    name: operation
    for room in (convolution, linear, elementwise, shape, reduction, quantisation)
    for name, operation in room.OPS.items()
}
