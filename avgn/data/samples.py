"""One clip as training sees it, and how clips become a batch. Data sets yield `Sample`s of numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avgn.network.avgn import Batch


class Truth(NamedTuple):
    """What is known of B clips."""

    label: Tensor  # [B] int64
    salient: Tensor  # [B,T] 1 where the label's object or sound is present
    boxes: Tensor  # [B,T,4] y0, x0, y1, x1 in 0..1 of the label's object; NaN where it is not in the picture


@dataclass(frozen=True, eq=False)
class Sample:
    """One clip: arrays as in `avgn.network.avgn.Batch` without the batch axis, pictures as uint8."""

    frames: NDArray[np.uint8]  # [T,3,G,G]
    pictures: NDArray[np.uint8]  # [T,3,H,W]
    mel: NDArray[np.float32]  # [T,1,M,F]
    heard: NDArray[np.bool_]  # [T]
    seen: NDArray[np.bool_]  # [T]
    label: int
    salient: NDArray[np.bool_]  # [T]; all true where not known
    boxes: NDArray[np.float32]  # [T,4]; NaN where not known


@dataclass(frozen=True, eq=False)
class Glimpse:
    """One salient moment, for warming up encoders on single pictures and sounds."""

    frame: NDArray[np.uint8]  # [3,G,G]
    patch: NDArray[np.uint8]  # [3,P,P] around the object
    mel: NDArray[np.float32]  # [1,M,F]
    label: int
    seen: bool  # the label's object is in the picture
    heard: bool  # the label's sound is in the sound


class ClipSource(Protocol):
    """An endless source of training clips: the same index always gives the same clip."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the model's answers."""
        ...

    def sample(self, index: int) -> Sample:
        """Clip `index` >= 0."""
        ...


@runtime_checkable
class GlimpseSource(Protocol):
    """A source that knows where the label's object and sound are."""

    def glimpse(self, index: int) -> Glimpse:
        """Glimpse `index` >= 0."""
        ...


def collate(samples: Sequence[Sample]) -> tuple[Batch, Truth]:
    """Stack clips; pictures stay uint8 until `on_device`."""
    batch = Batch(
        *(
            torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))
            for name in ("frames", "pictures", "mel")
        ),
        *(
            torch.from_numpy(np.stack([getattr(sample, name) for sample in samples])).float()
            for name in ("heard", "seen")
        ),
    )
    truth = Truth(
        torch.tensor([sample.label for sample in samples]),
        torch.from_numpy(np.stack([sample.salient for sample in samples])).float(),
        torch.from_numpy(np.stack([sample.boxes for sample in samples])).float(),
    )
    return batch, truth


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch and scale its frames to 0..1; the network itself converts the few pictures that it looks at.

    Frames that are real numbers are maps of a frozen encoder (see `avgn.training.cached`) and stay what they are.
    """
    moved = Batch(*(value.to(device, non_blocking=True) for value in batch))
    pixels = moved.frames.dtype == torch.uint8
    return moved._replace(frames=unit_range(moved.frames) if pixels else moved.frames.float(), mel=moved.mel.float())


def unit_range(pixels: Tensor) -> Tensor:
    """uint8 0..255 -> float 0..1."""
    return pixels.float() / 255
