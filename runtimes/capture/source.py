"""What the live runtime sees of camera and microphone: one snippet at a time, and how they are.

A source may be live or a replay; who reads it cannot tell. All times are seconds on the source's one monotonic clock,
which starts near 0. Sound lies on that clock's own grid: sample i is heard at i / rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avgn.snippets import Picture


class Clock(Protocol):
    """Seconds that never go back. Replays and tests run on simulated ones, where waiting takes no time."""

    def now(self) -> float:
        """Seconds since the clock was made."""
        ...

    def wait_until(self, time: float) -> None:
        """Return at `time`, or at once where it has passed."""
        ...


class State(StrEnum):
    """How the camera, the microphone or both together are."""

    OFF = "off"
    """Not asked for."""
    STARTING = "starting"
    RUNNING = "running"
    PICTURE_ONLY = "picture_only"
    """Of both together: the microphone was asked for and gives nothing."""
    SOUND_ONLY = "sound_only"
    """Of both together: the camera was asked for and gives nothing."""
    SILENT = "silent"
    """The device runs, but all it gives is black pictures or digital silence. It still counts as seen or heard."""
    LOST = "lost"
    """Was there and is gone (unplugged, stream broken): retried."""
    BUSY = "busy"
    """Held by another program: retried."""
    MISSING = "missing"
    """No such device, or what reads it is not installed: retried."""
    ENDED = "ended"
    """A file or replay is over, or the source was closed."""


GIVING = (State.RUNNING, State.SILENT)


@dataclass(frozen=True)
class DeviceStatus:
    """How one device is, since when, and in one sentence what is wrong with it ("" where nothing is)."""

    state: State = State.OFF
    since: float = 0.0
    fault: str = ""


@dataclass(frozen=True)
class Status:
    """How camera and microphone are."""

    picture: DeviceStatus = DeviceStatus()
    sound: DeviceStatus = DeviceStatus()

    @property
    def state(self) -> State:
        """Both in one word: starting, running, picture_only, sound_only, lost (neither gives anything) or ended."""
        wanted = [device for device in (self.picture, self.sound) if device.state is not State.OFF]
        states = {device.state for device in wanted}
        if states <= {State.ENDED}:
            return State.ENDED
        if all(device.state in GIVING for device in wanted):
            return State.RUNNING
        if self.picture.state in GIVING:
            return State.PICTURE_ONLY
        if self.sound.state in GIVING:
            return State.SOUND_ONLY
        return State.STARTING if State.STARTING in states else State.LOST


@dataclass(frozen=True)
class Counters:
    """What came and what was lost since the start. Frames between two snippets are not drops: none asked for them.

    A frame or sound is dropped where it was overwritten before the reader's time had passed it (a blocked reader),
    or where the device says or shows that it lost it.
    """

    frames: int = 0
    dropped_frames: int = 0
    late_frames: int = 0
    """Arrived a tenth of a second after they were due, by the device's timestamps and those of the last two seconds."""
    black_frames: int = 0
    sound_ms: float = 0.0
    dropped_sound_ms: float = 0.0
    silent_ms: float = 0.0
    xruns: int = 0
    """Overflows that the sound system flagged."""
    gaps: int = 0
    """Holes in sound or picture that came without the device being lost."""
    reconnects: int = 0
    rate_changes: int = 0
    """Changes of sample rate or picture size."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as it arrived. `number` counts the frames of the source from 0; pixels are made only when asked."""

    time: float
    number: int
    picture: Picture


@dataclass(frozen=True, eq=False)
class Snippet:
    """What there was to see and hear at `time`, by the rules of `avgn.snippets`."""

    time: float
    frame: Frame | None
    """The frame on display at `time`: the newest at or before it; None where it is too old to be on display."""
    sound: NDArray[np.float32]
    """[S] mono at the configured rate, -1..1: centred on `time`, then moved inside the sound there is; a window that is
    asked for now ends with the newest sound. Zeros where there is none."""
    start: int
    """First sample of `sound` on the clock's grid, a multiple of `hop`."""
    heard: bool
    frame_age: float
    """Seconds from the frame's arrival to `time`; infinite where none has ever come."""
    sound_age: float
    """Seconds from the end of the newest sound to `time`, at least 0; infinite where none has ever come."""
    av_offset: float
    """Measured lag in seconds of the sound's timeline behind the picture's clock (negative: ahead); 0 unless heard."""

    @property
    def seen(self) -> bool:
        """Whether there is a frame."""
        return self.frame is not None

    @property
    def picture(self) -> Picture | None:
        """The frame's picture."""
        return None if self.frame is None else self.frame.picture


class Source(Protocol):
    """Camera and microphone, live or replayed. Everything but `start` and `close` may be called from any one thread.

    Nothing here waits for a device. On a simulated clock, what has arrived by `clock.now()` is taken in by `snapshot`,
    so a loop of `clock.wait_until(next)` and `snapshot(next)` gives the same snippets every time.
    """

    @property
    def clock(self) -> Clock:
        """The clock of all times."""
        ...

    @property
    def status(self) -> Status:
        """How the devices are; `status.state` is `State.ENDED` once there is nothing more to come."""
        ...

    @property
    def counters(self) -> Counters:
        """What came and what was lost."""
        ...

    @property
    def drift_ppm(self) -> float:
        """How much faster (+) the microphone's sample clock runs than ours, in parts per million, as estimated."""
        ...

    def start(self) -> None:
        """Begin to listen and look. A device that is not there is retried, not an error."""
        ...

    def snapshot(self, time: float) -> Snippet:
        """The snippet at `time`, mostly `clock.now()`. Call with rising times: what lies before is let go."""
        ...

    def close(self) -> None:
        """Let go of devices, threads and files. May be called twice."""
        ...
