"""Frames of a camera, dated when they arrive: the last ones are kept, what is wrong with them is counted."""

from __future__ import annotations

from avgn.snippets import Picture
from runtimes.capture.clock import DeviceClock
from runtimes.capture.events import FrameEvent
from runtimes.capture.ring import FrameRing
from runtimes.capture.sound_line import Count
from runtimes.capture.source import Frame

# Frames that are kept: a second of a usual camera.
KEPT = 32
# Seconds after which a frame is late.
LATE = 0.1
# A hole of more seconds than this, and than three frames, is a gap.
_HOLE, _FRAMES = 0.5, 3.0
# No sensor in a room is this dark in every part of its picture.
_BLACK, _LOOK_EVERY = 16, 0.25


class PictureLine:
    """The frames of one camera."""

    def __init__(self, count: Count) -> None:
        self.ring = FrameRing(KEPT)
        self._count = count
        self._number = 0
        self._clock, self._dated = DeviceClock(), 0.0
        self._last: float | None = None
        self.period = 0.0
        """Seconds from frame to frame, on average of late."""
        self._size: tuple[int, int] | None = None
        self._looked, self._black = -_LOOK_EVERY, False

    @property
    def newest(self) -> float | None:
        """When the newest frame arrived; None before there is any."""
        return self._last

    def break_off(self) -> None:
        """Say that the device is gone; its clock may start anew, and the hole is known."""
        self._clock, self._last = DeviceClock(), None

    def take(self, event: FrameEvent) -> bool:
        """Keep a frame; returns whether it is black."""
        gap, late = self._gap(event.time), self._is_late(event)
        resized = self._size is not None and self._size != event.size
        self._size = event.size
        black = self._is_black(event)
        self._count(
            frames=1,
            dropped_frames=event.lost,
            late_frames=int(late),
            black_frames=int(black),
            gaps=int(gap),
            rate_changes=int(resized),
        )
        dropped = self.ring.dropped
        self.ring.push(Frame(event.time, self._number, event.picture))
        self._count(dropped_frames=self.ring.dropped - dropped)
        self._number += 1
        return black

    def _gap(self, time: float) -> bool:
        last, self._last = self._last, time
        if last is None:
            return False
        hole = time - last
        gap = self.period > 0 and hole > max(_HOLE, _FRAMES * self.period)
        self.period += (hole - self.period) * (0.1 if self.period else 1.0)
        return gap

    def _is_late(self, event: FrameEvent) -> bool:
        if event.date is None:
            return False
        if abs(event.date - self._dated) > 10.0:  # the device's clock was set
            self._clock = DeviceClock()
        self._dated = event.date
        return self._clock.observe(event.date, event.time) > LATE

    def _is_black(self, event: FrameEvent) -> bool:
        if event.time - self._looked >= _LOOK_EVERY:
            self._looked, self._black = event.time, is_black(event.picture)
        return self._black


def is_black(picture: Picture) -> bool:
    """Whether nothing can be seen in any part of a picture."""
    return int(picture.squashed(16).max()) <= _BLACK
