"""A recording or a plain file as a source: as fast as it is read, the same every time; or in real time."""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from avgn.config import SoundConfig
from avgn.errors import AvgnError
from avgn.media import faults_named, read_timeline
from avgn.picture_track import PictureTrack
from avgn.pictures import FramePicture
from avgn.sound_track import SoundTrack
from runtimes.capture.clock import SimulatedClock, SystemClock
from runtimes.capture.events import DeviceEvent, Event, FrameEvent, Kind, SoundEvent, Tape
from runtimes.capture.faults import BLOCKED, Fault, inject
from runtimes.capture.received import Received
from runtimes.capture.receiver import Receiver
from runtimes.capture.source import Snippet, State

# Events: half frames, half blocks of sound, a second of usual ones.
_AHEAD = 64


class ReplaySource(Received):
    """A `Source` that brings what is on a tape, each thing at its time.

    What is due is taken in by `snapshot`, so that decisions are the same every time; in real time a thread decodes a
    little ahead, as a camera's own would. Raises UsageError for faults that are not known.
    """

    def __init__(
        self,
        tape: Tape,
        sound: SoundConfig,
        realtime: bool = False,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        tape = inject(tape, faults)
        clock = SystemClock() if realtime else SimulatedClock()
        super().__init__(clock, Receiver(sound, tape.picture is not None, tape.sound is not None))
        streams = [stream for stream in (tape.picture, tape.sound) if stream is not None]
        events: Iterator[Event] = heapq.merge(*streams, key=lambda event: event.time)
        self._ahead = _Ahead(events) if realtime else None
        self._events = self._ahead or events
        self._next: Event | None = None
        self._blocked = [fault for fault in faults if fault.name == BLOCKED]

    def start(self) -> None:
        """Take the tape's beginning for now."""
        if self._ahead is not None:
            self._ahead.start()
        self._next = next(self._events, None)
        if isinstance(self._clock, SystemClock):
            self._clock.restart()

    def snapshot(self, time: float) -> Snippet:
        """The snippet at `time`."""
        for fault in self._blocked:
            if fault.holds(self._clock.now()):
                self._clock.wait_until(fault.end)
        self._bring(self._clock.now() if self._ahead is None else time)
        return self._receiver.snapshot(time)

    def close(self) -> None:
        """Stop."""
        if self._ahead is not None:
            self._ahead.stop()
        self._receiver.close(self._clock.now())

    def _bring(self, until: float) -> None:
        while self._next is not None and self._next.time <= until:
            self._receiver.take(self._next)
            self._next = next(self._events, None)


class _Ahead:
    """Events that a thread has ready before they are asked for: about a second of them."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events, self._stopped = events, threading.Event()
        self._ready: queue.Queue[Event | AvgnError | None] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)

    def start(self) -> None:
        """Begin to decode."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        with suppress(queue.Empty):  # room for the thread to get through
            while True:
                self._ready.get_nowait()
        if self._thread.is_alive():
            self._thread.join()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self._ready.get()
        if event is None or isinstance(event, AvgnError):
            self._ready.put(event)
            raise event or StopIteration
        return event

    def _run(self) -> None:
        last: AvgnError | None = None
        try:
            for event in self._events:
                self._ready.put(event)
                if self._stopped.is_set():
                    break
        except AvgnError as fault:  # raised where the reader can see it
            last = fault
        self._ready.put(last)


def file_tape(path: str | Path, sound: SoundConfig) -> Tape:
    """A video or sound file, frames at their times and sound as if a microphone had brought it without delay.

    Raises InputError for a file in which there is neither.
    """
    with faults_named(path):
        timeline = read_timeline(path)
    origin, ends = timeline.origin, {kind: extent.end - timeline.origin for kind, extent in timeline.tracks.items()}
    return Tape(
        picture=_frames(path, origin, ends["video"]) if "video" in ends else None,
        sound=_blocks(path, origin, ends["audio"], sound.rate) if "audio" in ends else None,
    )


def _frames(path: str | Path, origin: float, end: float) -> Iterator[Event]:
    with faults_named(path), PictureTrack(path, origin) as track:
        aspect, damaged = track.stream.sample_aspect_ratio, 0
        for time, frame in track.frames():
            lost, damaged = track.damaged - damaged, track.damaged
            end = max(end, time)
            yield FrameEvent(time, FramePicture(frame, aspect), (frame.width, frame.height), time, lost)
    yield _ended("picture", end)


def _blocks(path: str | Path, origin: float, end: float, rate: int) -> Iterator[Event]:
    following, last = None, round(end * rate)
    with faults_named(path), SoundTrack(path, origin, rate) as track:
        for first, samples in track.blocks():
            gap = following is not None and first != following
            if first >= last:
                break
            samples = samples[: last - first]  # decoders give more than the file says
            following = first + len(samples)
            yield SoundEvent(following / rate, samples, rate, after_gap=gap)
    yield _ended("sound", end)


def _ended(kind: Kind, time: float) -> DeviceEvent:
    return DeviceEvent(time, kind, State.ENDED)
