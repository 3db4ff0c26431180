"""What camera and microphone bring, kept in a folder: readable up to its last second after a kill.

`clock.jsonl` has a line for everything that came, with its time on our clock: first `Head`, then `Line`s. Frames are in
`picture-N.mkv` and sound in `sound-N.mka`; a part N+1 begins where the size or the rate changes. A frame is found by
its `pts` (milliseconds) in its part, sound by counting the part's samples.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av

from avgn.errors import InputError
from runtimes.capture.events import DeviceEvent, Event, FrameEvent, SoundEvent
from runtimes.capture.parts import PicturePart, SoundPart

FORMAT = 1
CLOCK = "clock.jsonl"
# How many frames may wait for the encoder (a second of a usual camera: they are large), and how many blocks of sound.
_WAITING: dict[type[Event], int] = {FrameEvent: 30, SoundEvent: 120}
_LARGEST = 1 << 15


@dataclass(frozen=True)
class Head:
    """First line of `clock.jsonl`: its format, when it was begun (UTC, ISO 8601), and what was asked for."""

    format: int
    begun: str
    picture: bool
    sound: bool


@dataclass(frozen=True)
class Line:
    """A line of `clock.jsonl`. All times are seconds on our clock, but `date`, which is by the device's own."""

    kind: Literal["picture", "sound", "device"]
    time: float
    part: int = 0
    pts: int = 0
    size: tuple[int, int] = (0, 0)
    date: float | None = None
    lost: int = 0
    samples: int = 0
    rate: int = 0
    overflow: bool = False
    after_gap: bool = False
    device: Literal["", "picture", "sound"] = ""
    state: str = ""
    fault: str = ""

    def __post_init__(self) -> None:
        checks = (
            (0 <= self.part <= 1_000_000, "part must lie in 0..1000000"),
            (all(0 <= side <= _LARGEST for side in self.size), f"size must lie in 0..{_LARGEST}"),
            (self.kind != "sound" or 1000 <= self.rate <= 1_000_000, "rate must lie in 1000..1000000"),
            (0 <= self.samples <= 60 * self.rate, "samples must be at most a minute of sound"),
        )
        for holds, sentence in checks:
            if not holds:
                raise ValueError(sentence)

    def text(self) -> str:
        """The line, without what is left at its default."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: value for name, value in told.items() if value != getattr(type(self), name, None)}
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n"


def picture_file(part: int) -> str:
    """Name of a part's frames."""
    return f"picture-{part}.mkv"


def sound_file(part: int) -> str:
    """Name of a part's sound."""
    return f"sound-{part}.mka"


class RecordingWriter:
    """Writes a recording. Raises InputError for a folder that is not empty or cannot be written."""

    def __init__(self, folder: str | Path, picture: bool, sound: bool) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if any(self._folder.iterdir()):
                raise InputError(f"{folder}: is not empty; name a new folder for the recording.")
            self._clock = (self._folder / CLOCK).open("w", encoding="utf-8", buffering=1)
            head = Head(FORMAT, datetime.now(UTC).isoformat(timespec="milliseconds"), picture, sound)
            self._clock.write(json.dumps(vars(head)) + "\n")
        except OSError as fault:
            raise InputError(f"{folder}: cannot be written ({fault}); choose another folder.") from fault
        self._picture: PicturePart | None = None
        self._sound: SoundPart | None = None
        self._parts = {"picture": 0, "sound": 0}

    def write(self, event: Event) -> None:
        """Write one event. Raises OSError or av.FFmpegError where the disk or the encoder fails."""
        match event:
            case FrameEvent():
                line = self._frame(event)
            case SoundEvent():
                line = self._block(event)
            case DeviceEvent():
                line = Line("device", event.time, device=event.kind, state=event.state.value, fault=event.fault)
        self._clock.write(line.text())

    def close(self) -> None:
        """Finish all files."""
        for part in (self._picture, self._sound):
            if part is not None:
                part.close()
        self._clock.close()

    def _frame(self, event: FrameEvent) -> Line:
        if self._picture is None or self._picture.stored != event.size:
            self._picture = PicturePart(self._next_part("picture", self._picture, picture_file), event)
        pts = self._picture.write(event)
        part = self._parts["picture"] - 1
        return Line("picture", event.time, part, pts=pts, size=event.size, date=event.date, lost=event.lost)

    def _block(self, event: SoundEvent) -> Line:
        if self._sound is None or self._sound.rate != event.rate:
            self._sound = SoundPart(self._next_part("sound", self._sound, sound_file), event.rate)
        self._sound.write(event.samples)
        part, count = self._parts["sound"] - 1, len(event.samples)
        flags: dict[str, Any] = {"overflow": event.overflow, "after_gap": event.after_gap}
        return Line("sound", event.time, part, samples=count, rate=event.rate, **flags)

    def _next_part(self, kind: str, old: PicturePart | SoundPart | None, name: Any) -> Path:
        if old is not None:
            old.close()
        self._parts[kind] += 1
        return self._folder / name(self._parts[kind] - 1)


class Recorder:
    """Records in a thread of its own: what comes faster than it can be written is left out and counted in `lost`.

    `fault` is what ended the recording too early, "" where nothing did.
    """

    def __init__(self, writer: RecordingWriter) -> None:
        self._writer = writer
        self._queue: queue.Queue[Event | None] = queue.Queue()
        self.lost = 0
        self.fault = ""
        # of each kind: put into the queue, taken out of it (by the other thread), and left out since the last
        self._put, self._taken, self._missed = Counter[type[Event]](), Counter[type[Event]](), Counter[type[Event]]()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def take(self, event: Event) -> None:
        """Record an event, without waiting."""
        kind = type(event)
        if self._put[kind] - self._taken[kind] >= _WAITING.get(kind, sys.maxsize):
            self.lost += 1
            self._missed[kind] += 1
            return
        if (missed := self._missed.pop(kind, 0)) and isinstance(event, FrameEvent):
            event = replace(event, lost=event.lost + missed)
        elif missed and isinstance(event, SoundEvent):
            event = replace(event, after_gap=True)
        self._put[kind] += 1
        self._queue.put(event)

    def close(self) -> None:
        """Write what is left and finish the files."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            self._taken[type(event)] += 1
            self._try(partial(self._writer.write, event))
        self._try(self._writer.close)

    def _try(self, act: Callable[[], None]) -> None:
        """After a fault nothing more is written, but the queue goes on being emptied."""
        if self.fault:
            return
        try:
            act()
        except (OSError, ValueError, av.FFmpegError, InputError) as fault:
            self.fault = f"the recording has ended early: {fault}"
