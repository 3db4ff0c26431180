"""What is measured: accuracy, mean average precision, saliency and patch quality, and how sure one can be of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]


def average_precision(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Non-interpolated AP: the mean over the positives of the precision at each; ties to the earlier; NaN for none."""
    order = np.argsort(-scores, kind="stable")
    hits = positive[order]
    if not hits.any():
        return float("nan")
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def mean_average_precision(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """mAP as AR-Net and AdaFocus define it: softmax `probabilities` [n,C], non-interpolated AP, mean over all C.

    `labels` [n]. A class without a clip counts 0, as in their code.
    """
    classes = range(probabilities.shape[1])
    each = [average_precision(probabilities[:, index], labels == index) for index in classes]
    return float(np.nan_to_num(each).mean())


def patch_box(centre: tuple[float, float], size: int, short_side: int, height: int, width: int) -> Box:
    """The patch (y0, x0, y1, x1 in 0..1) of `size` pixels at `centre`, in a frame scaled to `short_side`."""
    scale = short_side / min(height, width)
    half_y, half_x = size / (height * scale) / 2, size / (width * scale) / 2
    return centre[0] - half_y, centre[1] - half_x, centre[0] + half_y, centre[1] + half_x


def covered(box: Box, patch: Box) -> float:
    """Share of `box` that lies inside `patch`."""
    height = max(0.0, min(box[2], patch[2]) - max(box[0], patch[0]))
    width = max(0.0, min(box[3], patch[3]) - max(box[1], patch[1]))
    area = (box[2] - box[0]) * (box[3] - box[1])
    return height * width / area if area > 0 else 0.0


def bootstrap(
    count: int, statistic: Callable[[NDArray[np.int64]], float], repeats: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of `statistic` (of indices into `count` clips), over clips drawn with replacement."""
    random = np.random.default_rng(seed)
    values = [statistic(random.integers(0, count, count)) for _ in range(repeats)]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def mean_of(values: Sequence[float]) -> float:
    """Mean of what is known; NaN where nothing is."""
    known = np.array([value for value in values if not np.isnan(value)])
    return float(known.mean()) if len(known) else float("nan")
