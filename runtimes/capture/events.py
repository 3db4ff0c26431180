"""What a camera and a microphone bring, piece by piece: devices, recordings and faults all speak this."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avgn.snippets import Picture
from runtimes.capture.source import State

Kind = Literal["picture", "sound"]
KINDS: tuple[Kind, ...] = ("picture", "sound")


@dataclass(frozen=True, eq=False)
class FrameEvent:
    """A frame that arrived at `time`."""

    time: float
    picture: Picture
    size: tuple[int, int]
    """Width and height as stored."""
    date: float | None = None
    """When it was taken by the device's own clock, seconds from any zero; None where it does not say."""
    lost: int = 0
    """Frames before it that could not be decoded, or were left out to catch up."""


@dataclass(frozen=True, eq=False)
class SoundEvent:
    """A block of sound whose last sample had arrived at `time`."""

    time: float
    samples: NDArray[np.float32]
    """[n] mono, -1..1, at the device's rate."""
    rate: int
    overflow: bool = False
    """Whether the sound system says that sound was lost before this block."""
    after_gap: bool = False
    """Whether there is a known gap before this block."""


@dataclass(frozen=True)
class DeviceEvent:
    """A device's state changed at `time`; `fault` is one sentence, "" where all is well."""

    time: float
    kind: Kind
    state: State
    fault: str = ""


Event = FrameEvent | SoundEvent | DeviceEvent
Sink = Callable[[Event], None]


@dataclass(frozen=True)
class Tape:
    """What was or shall be brought, in order of time, the two devices apart; None where there is no such device."""

    picture: Iterable[Event] | None
    sound: Iterable[Event] | None
