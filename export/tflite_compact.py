"""LiteRT's int8 files without what nothing reads: a tenth of them is names of tensors and zero points that are all 0.

Signatures name inputs and outputs by themselves. A layer has a zero point for each channel, as the format wants, but
equal vectors need to lie in the file only once.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

IDENTIFIER = b"TFL3"


class _Sharing(flatbuffers.Builder):
    """A builder that writes equal vectors of numbers once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802  (the library's name)
        """Where `x` lies in the file."""
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def compact(model: Any) -> bytes:
    """The file of a `model` (LiteRT's own object), whose tensors get numbers for names and share equal vectors."""
    for graph in model.subgraphs:
        for number, tensor in enumerate(graph.tensors):
            tensor.name = str(number).encode()
            if tensor.quantization is not None and tensor.quantization.zeroPoint is not None:
                tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint, np.int64)
    builder = _Sharing(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
