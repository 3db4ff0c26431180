"""Where camera and microphone meet: events in, from any thread; snippets, states and counters out."""

from __future__ import annotations

import math
import threading
from typing import Any

from avgn.config import SoundConfig
from avgn.snippets import centred_start, patience, sound_start
from runtimes.capture.events import KINDS, DeviceEvent, Event, FrameEvent, Kind, SoundEvent
from runtimes.capture.health import Health
from runtimes.capture.picture_line import PictureLine
from runtimes.capture.sound_line import SoundLine
from runtimes.capture.source import Counters, Frame, Snippet, State, Status


class Receiver:
    """Takes what devices bring. `seen` and `heard` say whether there is to be a camera, and a microphone."""

    def __init__(self, sound: SoundConfig, seen: bool, heard: bool) -> None:
        self._sound = sound
        self._tally: dict[str, Any] = vars(Counters()).copy()
        self._pictures, self._sounds = PictureLine(self._count), SoundLine(sound, self._count)
        self._health: dict[Kind, Health] = {"picture": Health("picture", seen), "sound": Health("sound", heard)}
        self._lock = threading.Lock()

    def take(self, event: Event) -> None:
        """Take in one event, in a fraction of a millisecond."""
        with self._lock:
            match event:
                case FrameEvent():
                    self._came("picture", event.time, self._pictures.take(event))
                case SoundEvent():
                    self._came("sound", event.time, self._sounds.take(event))
                case DeviceEvent():
                    self._told(event)

    def status(self, now: float) -> Status:
        """How the devices are at `now`."""
        with self._lock:
            self._health["picture"].check(now, patience(self._pictures.period))
            self._health["sound"].check(now, patience(0.0))
            return Status(self._health["picture"].status, self._health["sound"].status)

    def close(self, now: float) -> None:
        """Nothing more will come."""
        for kind in KINDS:
            if self._health[kind].status.state is not State.OFF:
                self.take(DeviceEvent(now, kind, State.ENDED))

    @property
    def counters(self) -> Counters:
        """What came and what was lost."""
        dropped = self._sounds.ring.dropped / self._sound.rate * 1e3
        return Counters(**self._tally | {"dropped_sound_ms": self._tally["dropped_sound_ms"] + dropped})

    @property
    def drift_ppm(self) -> float:
        """How much faster (+) than ours the microphone's clock runs."""
        return self._sounds.drift_ppm

    def snapshot(self, time: float) -> Snippet:
        """The snippet at `time`."""
        with self._lock:
            frame = self._pictures.ring.at(time)
            ring, sound = self._sounds.ring, self._sound
            start = sound_start(time, ring.first, ring.end, sound)
            samples, there = ring.read(centred_start(time, sound) if start is None else start, sound.samples)
            end, offset = self._sounds.end, self._sounds.offset
        heard = start is not None and bool(there.any())
        return Snippet(
            time=time,
            frame=frame if frame is not None and self._on_display(frame, time) else None,
            sound=samples,
            start=centred_start(time, sound) if start is None else start,
            heard=heard,
            frame_age=math.inf if frame is None else time - frame.time,
            sound_age=math.inf if end is None else max(0.0, time - end),
            av_offset=offset if heard else 0.0,
        )

    def _on_display(self, frame: Frame, time: float) -> bool:
        period = self._pictures.period
        return time - frame.time - period <= patience(period)

    def _came(self, kind: Kind, time: float, blank: bool) -> None:
        self._count(reconnects=int(self._health[kind].came(time, blank)))

    def _told(self, event: DeviceEvent) -> None:
        before = self._health[event.kind].status.state
        self._health[event.kind].told(event.time, event.state, event.fault)
        if event.state is State.ENDED and event.kind == "sound" and before is not State.ENDED:
            self._sounds.flush()
        elif event.state not in (State.STARTING, State.ENDED):
            (self._pictures if event.kind == "picture" else self._sounds).break_off()

    def _count(self, **more: float) -> None:
        for name, by in more.items():
            self._tally[name] += by
