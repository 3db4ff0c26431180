"""Cameras: whatever FFmpeg opens, by PyAV; and GStreamer pipelines, where OpenCV is built with them.

Frames are stamped when they have come, never before the wait for them. A stream that is decoded more slowly than it
comes is caught up with by leaving out frames, which are counted, instead of growing older and older.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import av
from av.stream import Discard

from avgn.errors import AvgnError
from avgn.extras import import_extra
from avgn.pictures import FramePicture
from avgn.sound_track import SoundRun
from avgn.tracks import best_stream, open_container
from runtimes.capture.addresses import Address, cameras, device_path
from runtimes.capture.devices import Device, DeviceError
from runtimes.capture.events import KINDS, FrameEvent, Kind, Sink, SoundEvent
from runtimes.capture.source import Clock, State

# Seconds to wait for an answer, and for the next packet.
_OPEN, _READ = 5.0, 2.0
# Seconds behind from which only frames that others need, and only key frames are decoded; and where all are again.
_BEHIND = ((1.5, "NONKEY"), (0.5, "NONREF"))
_CAUGHT_UP = 0.2
# More seconds between a stream's sound and picture are an error in its timestamps.
_MOST_SKEW = 5.0
# Packets that the skew is judged by: two seconds or so.
_LEADS = 99
# Our clock may be this much slower than the stream's.
_DRIFT = 0.001


def open_camera(address: Address, clock: Clock, with_sound: bool) -> Device:
    """The camera at `address`; `with_sound`: its own microphone too."""
    return PipelineCamera(address, clock) if address.pipeline else StreamCamera(address, clock, with_sound)


class StreamCamera:
    """A device, file or stream that FFmpeg opens."""

    def __init__(self, address: Address, clock: Clock, with_sound: bool) -> None:
        self._address, self._clock = address, clock
        self.kinds: tuple[Kind, ...] = ("picture", "sound") if with_sound else ("picture",)

    def run(self, sink: Sink, stop: threading.Event) -> None:
        """Bring frames, and sound if wanted."""
        with self._opened() as container:
            streams = {kind: best_stream(container, "video" if kind == "picture" else "audio") for kind in self.kinds}
            for kind, stream in streams.items():
                if stream is None:
                    raise DeviceError(State.MISSING, f"camera {self._address.shown}: has no {kind}.")
            for stream in container.streams:
                stream.discard = Discard.default if stream in streams.values() else Discard.all
            skew = _Skew()
            pictures = _Pictures(streams["picture"], sink, skew, hurries=not self._address.file)
            sounds = _Sounds(streams["sound"], sink, skew) if "sound" in streams else None
            pace = _Pace(self._clock, stop) if self._address.file else None
            for packet in container.demux(*streams.values()):
                if pace is not None and packet.pts is not None:
                    pace.wait(float(packet.pts * packet.time_base))
                if stop.is_set():
                    return
                (sounds or pictures if packet.stream.type == "audio" else pictures).take(packet, self._clock.now())
        if not self._address.file and not stop.is_set():
            raise DeviceError(State.LOST, f"camera {self._address.shown}: the stream has ended.")

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        container = None
        try:
            container = self._open()
            yield container
        except (av.FFmpegError, OSError, ValueError, AvgnError) as fault:
            raise self._fault(fault, running=container is not None) from fault
        finally:
            if container is not None:
                container.close()

    def _open(self) -> Any:
        address = self._address
        if address.file:
            return open_container(address.url)
        url: str | None = address.url
        if address.format == "v4l2" and (url := device_path(address.url)) is None:
            there = ", ".join(f"{name} ({path})" for path, name in cameras().items()) or "none"
            raise DeviceError(State.MISSING, f"camera {address.shown}: is not there; there are: {there}.")
        return av.open(str(url), format=address.format, container_options=address.options, timeout=(_OPEN, _READ))

    def _fault(self, fault: Exception, running: bool) -> DeviceError:
        code, name = getattr(fault, "errno", None), f"camera {self._address.shown}"
        reason = getattr(fault, "strerror", None) or str(fault)
        if code == errno.EBUSY:
            return DeviceError(State.BUSY, f"{name}: another program uses it; close that program.")
        if code in (errno.EACCES, errno.EPERM):
            return DeviceError(State.MISSING, f"{name}: may not be opened; add your user to the group `video`.")
        state = State.LOST if running or not self._address.format else State.MISSING
        return DeviceError(state, f"{name}: {'was lost' if running else 'cannot be opened'} ({reason}).")


class _Pictures:
    """Packets of the picture track become frames."""

    def __init__(self, stream: Any, sink: Sink, skew: _Skew, hurries: bool) -> None:
        self._stream, self._context, self._sink, self._skew = stream, stream.codec_context, sink, skew
        self._context.thread_type = "SLICE"  # frame threads would hold frames back
        self._tick, self._lost = float(stream.time_base), 0
        self._backlog = _Backlog() if hurries else None

    def take(self, packet: Any, now: float) -> None:
        if self._backlog is not None and packet.dts is not None:
            self._hurry(self._backlog.seconds(packet.dts * self._tick, now))
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:
            frames, self._lost = [], self._lost + 1
        if not frames and self._context.skip_frame != "DEFAULT":
            self._lost += 1
        for frame in frames:
            date = frame.pts * self._tick if frame.pts is not None else None
            if date is not None:
                self._skew.observe("picture", date)
            picture = FramePicture(frame, self._stream.sample_aspect_ratio)
            self._sink(FrameEvent(now, picture, (frame.width, frame.height), date, self._lost))
            self._lost = 0

    def _hurry(self, behind: float) -> None:
        if behind < _CAUGHT_UP:
            self._context.skip_frame = "DEFAULT"
            return
        for limit, mode in _BEHIND:
            if behind > limit:
                self._context.skip_frame = mode
                return


class _Sounds:
    """Packets of a sound track become blocks of mono sound."""

    def __init__(self, stream: Any, sink: Sink, skew: _Skew) -> None:
        self._stream, self._sink, self._skew = stream, sink, skew
        self._run: SoundRun | None = None

    def take(self, packet: Any, now: float) -> None:
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:
            return
        for frame in frames:
            if self._run is None or not self._run.same_form(frame):
                self._run = SoundRun(frame, 0.0, frame.sample_rate)
            if frame.pts is not None:
                end = float(frame.pts * frame.time_base) + frame.samples / frame.sample_rate
                self._skew.observe("sound", end)
            for _, samples in self._run.convert(frame):
                self._sink(SoundEvent(now - self._skew.seconds, samples, frame.sample_rate))


class _Skew:
    """How much later a stream brings its sound than the pictures of the same moment: they share one clock.

    Judged by how far one is ahead of the other wherever the stream has been read to, so that stalls do not matter.
    """

    def __init__(self) -> None:
        self._latest: dict[Kind, float] = {}
        self._leads: deque[float] = deque(maxlen=_LEADS)

    def observe(self, kind: Kind, date: float) -> None:
        """Learn that what was at `date` by the stream's clock has come."""
        self._latest[kind] = date
        if len(self._latest) == len(KINDS):
            self._leads.append(self._latest["picture"] - self._latest["sound"])

    @property
    def seconds(self) -> float:
        """The lag of the sound; 0 where it is not known or absurd."""
        lag = median(self._leads) if self._leads else 0.0
        return lag if abs(lag) <= _MOST_SKEW else 0.0


class _Backlog:
    """How much longer packets lie about than the quickest of them."""

    def __init__(self) -> None:
        self._best: float | None = None
        self._last = 0.0

    def seconds(self, date: float, now: float) -> float:
        """Of what is dated `date` and came `now`."""
        delay = now - date
        if self._best is None or abs(delay - self._best) > 30.0:  # the first, or the stream's clock was set
            self._best = delay
        self._best = min(self._best + _DRIFT * max(0.0, now - self._last) if self._last else delay, delay)
        self._last = now
        return delay - self._best


class _Pace:
    """Plays a file at its own speed."""

    def __init__(self, clock: Clock, stop: threading.Event) -> None:
        self._clock, self._stop = clock, stop
        self._zero: float | None = None

    def wait(self, date: float) -> None:
        """Until what is dated `date` is due."""
        if self._zero is None:
            self._zero = self._clock.now() - date
        self._stop.wait(max(0.0, self._zero + date - self._clock.now()))


class PipelineCamera:
    """A GStreamer pipeline that ends in BGR frames: CSI cameras on Jetson, and whatever else GStreamer knows."""

    kinds: tuple[Kind, ...] = ("picture",)

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address, self._clock = address, clock

    def run(self, sink: Sink, stop: threading.Event) -> None:
        """Bring frames."""
        capture = self._open()
        try:
            while not stop.is_set():
                came, pixels = capture.read()
                now = self._clock.now()
                if not came:
                    raise DeviceError(State.LOST, f"camera {self._address.shown}: the pipeline gives no more frames.")
                frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
                sink(FrameEvent(now, FramePicture(frame), (frame.width, frame.height)))
        finally:
            capture.release()

    def _open(self) -> Any:
        try:
            cv2: Any = import_extra("cv2", None, f"camera {self._address.shown}")
        except AvgnError as fault:
            sentence = (
                f"camera {self._address.shown}: needs OpenCV built with GStreamer (on Jetson it comes with JetPack)."
            )
            raise DeviceError(State.MISSING, sentence) from fault
        capture = cv2.VideoCapture(self._address.pipeline, cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            built = "GStreamer: YES" in " ".join(cv2.getBuildInformation().split())
            why = "the pipeline does not start; try it with gst-launch-1.0" if built else "OpenCV is without GStreamer"
            raise DeviceError(State.MISSING, f"camera {self._address.shown}: {why}.")
        return capture
