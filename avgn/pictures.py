"""A decoded frame as a picture: upright, square pixels, RGB; converted by swscale when asked and not before."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from threading import get_ident
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from avgn.errors import InputError

# Bilinear in swscale averages over the source when it shrinks. The exact flags cost nothing and make pixels the same
# on every processor. Planar RGB keeps the full chroma, which packed RGB halves, and is the faster path as well.
_SCALING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_UPRIGHT = (1, 0, 0, 1)
_WIDEST = 16.0


@lru_cache(maxsize=16)
def _scaler(thread: int, width: int, height: int) -> VideoReformatter:
    """A thread's own scaler to one size: a new one would make its tables anew, a third of the work on a small picture.

    Not frame.reformat, whose scaler would be shared by all threads that show or record this frame. Where frames change
    their form, swscale sees it and starts afresh.
    """
    return VideoReformatter()


def turned(pixels: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Apply the display matrix (a, b, c, d) to `pixels` [..., H, W]: (x, y) is shown at (ax + cy, bx + dy).

    Only quarter turns and mirrors exist in practice; any other angle is shown as the nearest of these.
    """
    a, b, c, d = matrix
    if abs(a) + abs(d) >= abs(b) + abs(c):
        mirrored, flipped = a < 0, d < 0
    else:
        pixels, mirrored, flipped = np.swapaxes(pixels, -1, -2), c < 0, b < 0
    return pixels[..., :: -1 if flipped else 1, :: -1 if mirrored else 1]


def lies(matrix: tuple[int, int, int, int]) -> bool:
    """True where the display matrix swaps width and height."""
    a, b, c, d = matrix
    return abs(a) + abs(d) < abs(b) + abs(c)


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of the frame's display matrix, 16.16 fixed point; the identity where it has none."""
    # not frame.side_data, which would be kept by the frame it keeps: such rings are freed late, megabytes each
    data: Any = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    if data is None or data.buffer_size < 36:
        return _UPRIGHT
    a, b, _, c, d = np.frombuffer(data, dtype=np.int32)[:5].tolist()
    return (a, b, c, d) if any((a, b, c, d)) else _UPRIGHT


def display_size(width: int, height: int, aspect: Fraction | None) -> tuple[float, float]:
    """Width and height with square pixels, given the aspect of one pixel; absurd aspects are brought to 16:1."""
    pixel = float(aspect) if aspect is not None and aspect > 0 else 1.0
    wide = min(max(width * pixel, height / _WIDEST), height * _WIDEST)
    return wide, float(height)


@dataclass(frozen=True, eq=False)
class FramePicture:
    """A `Picture` that keeps the decoder's own frame (mostly YUV). `aspect` is width over height of one pixel.

    Both methods raise InputError for a pixel format that cannot be converted.
    """

    frame: av.VideoFrame
    aspect: Fraction | None = None

    def squashed(self, size: int) -> NDArray[np.uint8]:
        """The whole frame, upright, squashed to a square: [3, size, size] RGB."""
        return np.ascontiguousarray(turned(self._pixels(size, size), display_matrix(self.frame)))

    def scaled(self, short_side: int) -> NDArray[np.uint8]:
        """The whole frame, upright, with square pixels: [H, W, 3] RGB where min(H, W) == short_side.

        Planes lie apart in memory: of most pictures only a patch is wanted, and all else were interleaved for nothing.
        """
        wide, high = display_size(self.frame.width, self.frame.height, self.aspect)
        scale = short_side / min(wide, high)
        pixels = turned(self._pixels(round(wide * scale), round(high * scale)), display_matrix(self.frame))
        return np.moveaxis(pixels, 0, -1)

    def _pixels(self, width: int, height: int) -> NDArray[np.uint8]:
        """[3, height, width] RGB, as stored (not turned)."""
        try:
            scaler = _scaler(get_ident(), width, height)
            planar = scaler.reformat(self.frame, width, height, "gbrp", interpolation=_SCALING, threads=1)
        except (av.FFmpegError, ValueError, MemoryError) as fault:
            raise InputError(f"a frame of pixel format {self.frame.format.name} cannot be shown ({fault}).") from fault
        planes: Any = planar.planes
        green, blue, red = (
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width] for plane in planes
        )
        return np.stack((red, green, blue))
