"""Which snippets and which patch: the host code that every engine shares (accelerators get top-k wrong)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def top_k(saliency: NDArray[np.float32], k: int) -> tuple[int, ...]:
    """Indices of the k highest of `saliency` [T] (no NaN), ties to the earlier snippet, sorted by time: min(k, T)."""
    values = saliency.tolist()  # numpy sorts so few numbers more slowly
    return tuple(sorted(sorted(range(len(values)), key=values.__getitem__, reverse=True)[:k]))


def patch_corner(centre: tuple[float, float], height: int, width: int, size: int) -> tuple[int, int]:
    """Top-left pixel (top, left) of the `size` x `size` patch whose middle is nearest to `centre` (y, x in 0..1).

    The patch is moved inside the picture. Corners are whole pixels: the network's bilinear crop at the same centre
    differs by half a pixel at most.
    """
    top = min(max(round(centre[0] * height - size / 2), 0), height - size)
    left = min(max(round(centre[1] * width - size / 2), 0), width - size)
    return top, left


def patch_middle(corner: tuple[int, int], height: int, width: int, size: int) -> tuple[float, float]:
    """Middle (y, x in 0..1) of the patch really cut at `corner`."""
    return (corner[0] + size / 2) / height, (corner[1] + size / 2) / width
