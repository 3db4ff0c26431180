"""Pictures on their way to the graphs and to the screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avgn.snippets import Picture

# A picture costs its viewer about as many bytes as it is worth: 0 the best, 31 the worst that the codec has.
_QUALITY = 7


@dataclass(frozen=True, eq=False)
class Remembered:
    """A `Picture` that squashes once: the gate and the glance want the same pixels."""

    picture: Picture
    _squashed: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    def squashed(self, size: int) -> NDArray[np.uint8]:
        """The whole frame, upright, squashed to a square: [3, size, size] RGB."""
        if size not in self._squashed:
            self._squashed[size] = self.picture.squashed(size)
        return self._squashed[size]

    def scaled(self, short_side: int) -> NDArray[np.uint8]:
        """The whole frame, upright, with square pixels: [H, W, 3] RGB where min(H, W) == short_side."""
        return self.picture.scaled(short_side)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """`pixels` [H, W, 3] RGB as a JPEG file (an odd last row or column is left out)."""
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), "rgb24")
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"qmin": str(_QUALITY), "qmax": str(_QUALITY)}
    packets = [*encoder.encode(frame.reformat(format="yuvj420p", threads=1)), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
