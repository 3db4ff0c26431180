"""The picture track of a file: which frame is on display at a time, with as little decoding as possible."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from numpy.typing import NDArray

from avgn.snippets import patience
from avgn.tracks import Kind, Track, plausible

# Formats without display times, whatever FFmpeg makes up for them.
_UNSTAMPED = frozenset(("avi",))
# Formats whose index, once read, lists all key frames; that of others knows those met by chance.
_INDEXED = frozenset(("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"))


class _FrameClock:
    """When each frame of one run is shown, in seconds; also where the file has no display times.

    Such a file (AVI, raw streams) has the times of decoding at best. Frames come out later by a constant delay, and
    what FFmpeg makes up as their display times is out of order with B-frames.
    """

    def __init__(self, tick: float, origin: float, period: float, stamped: bool) -> None:
        self._tick, self._origin, self._step = tick, origin, period
        self._unstamped = not stamped
        self._first_packet: int | None = None
        self._delay: int | None = None
        self._last: float | None = None
        self.anchored = False
        """Whether the file has said when any of these frames is; else they are counted from 0."""

    def feed(self, packet: av.Packet) -> None:
        """Note a packet before it is decoded."""
        if packet.size:
            self._unstamped |= packet.pts is None
            self._first_packet = packet.dts if self._first_packet is None else self._first_packet

    def time(self, frame: av.VideoFrame) -> float:
        """The time of the next frame that comes out."""
        stamp = frame.dts if self._unstamped or frame.pts is None else frame.pts
        if stamp is not None and self._unstamped and self._first_packet is not None:
            self._delay = stamp - self._first_packet if self._delay is None else self._delay
            stamp -= self._delay
        if stamp is not None:
            self.anchored = True
            time = stamp * self._tick - self._origin
        else:
            time = 0.0 if self._last is None else self._last + self._step
        if self._last is not None and time > self._last:
            self._step = time - self._last
        self._last = time
        return time


class PictureTrack(Track):
    """Which frame is on display at a time."""

    kind: Kind = "video"
    # Worth a seek: to skip this much known to lie before a key frame, or this much where key frames are not known.
    known_gain, blind_gain = 0.5, 3.0
    # Frames that no other frame needs are not decoded until this long before the wanted time.
    lead = 1.0

    def _open(self) -> None:
        super()._open()
        rates = self.stream.average_rate, self.stream.base_rate
        self._steady = all(rates) and abs(float(rates[0]) / float(rates[1]) - 1) < 0.01
        self._restart(sought=False)
        self._wanted = 0.0
        self._blind = True

    def _restart(self, sought: bool) -> None:
        self._begun = not sought
        stamped = self.container.format.name not in _UNSTAMPED
        clock = self._clock = _FrameClock(self.tick, self.origin, self.period, stamped)
        self._frames = plausible((clock.time(frame), frame) for frame in self.decoded())

    def on_display(self, times: NDArray[np.float64]) -> Iterator[tuple[float, av.VideoFrame] | None]:
        """For each of the rising `times`: (timestamp, frame) of the last frame at or before it, else the first frame.

        None where the track ended more than a second and more than two frames before.
        """
        shown, following = None, self._next(float(times[0]))
        for time in times.tolist():
            if following is not None and self._worth_seeking(following[0], time):
                shown, following = None, self._jump(following[0], time)
            while following is not None and following[0] <= time:
                shown, following = following, self._next(time)
            picked = shown or following
            yield picked if picked is None or following is not None or self._lasts(picked, time) else None

    def frames(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """All frames from here on, with the times at which they are shown."""
        return self._frames

    def _lasts(self, picked: tuple[float, av.VideoFrame], time: float) -> bool:
        end = picked[0] + max((picked[1].duration or 0) * self.tick, self.period)
        return time - end <= patience(self.period)

    def _next(self, wanted: float) -> tuple[float, av.VideoFrame] | None:
        self._wanted = wanted
        return next(self._frames, None)

    def wants(self, packet: av.Packet) -> bool:
        """Decode from a key frame on, but far before the wanted time only what other frames are predicted from."""
        self._begun = self._begun or packet.is_keyframe
        if not self._begun:
            return False
        self._clock.feed(packet)
        if self._steady and packet.pts is not None:
            far = packet.pts * self.tick - self.origin < self._wanted - self.lead
            mode = "NONREF" if far else "DEFAULT"
            if self.context.skip_frame != mode:
                self.context.skip_frame = mode
        return True

    def _worth_seeking(self, position: float, time: float) -> bool:
        if time - position <= self.known_gain:
            return False
        index = self.stream.index_entries
        stamp = round((time - 2 * self.period + self.origin) / self.tick)
        if self.container.format.name in _INDEXED and len(index) and index[-1].timestamp >= stamp:
            key = index.search_timestamp(stamp, backward=True)
            return key >= 0 and index[key].timestamp * self.tick - self.origin - position > self.known_gain
        return self._blind and time - position > self.blind_gain

    def _jump(self, position: float, time: float) -> tuple[float, av.VideoFrame] | None:
        """The first frame of a run that reaches `time`: after the nearest key frame, or else from the beginning."""
        for back in (2 * self.period, 2.0, 10.0):
            if not self.seek(time - back):
                break
            self._restart(sought=True)
            first = self._next(time)
            if first is not None and first[0] <= time and self._clock.anchored:
                self._blind = self._blind and first[0] > position
                return first
        self.reopen()
        self._blind = False
        return self._next(time)
