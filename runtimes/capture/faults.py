"""Faults on purpose: a tape goes in, and comes out as clumsy devices, bad cables and slow machines would have made it.

Each fault is one row of FAULTS and shows itself in a counter of the source that plays the tape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avgn.errors import UsageError
from runtimes.capture.events import DeviceEvent, Event, FrameEvent, Kind, SoundEvent, Tape
from runtimes.capture.resample import StreamResampler
from runtimes.capture.source import State


@dataclass(frozen=True)
class Fault:
    """What goes wrong from `begin` to `end` (seconds); `amount` is in the fault's own unit, see FAULTS."""

    name: str
    begin: float = 0.0
    end: float = math.inf
    amount: float = 0.0

    def holds(self, time: float) -> bool:
        """Whether it goes wrong at `time`."""
        return self.begin <= time < self.end


# Not of a device but of who reads: `ReplaySource` sees to it.
BLOCKED = "blocked"
Injector = Callable[[Iterable[Event], Fault], Iterator[Event]]


def inject(tape: Tape, faults: Iterable[Fault]) -> Tape:
    """The tape with the faults, in their order. Raises UsageError for a name that is not in FAULTS."""
    streams: dict[Kind, Iterable[Event] | None] = {"picture": tape.picture, "sound": tape.sound}
    for fault in faults:
        if fault.name == BLOCKED:
            continue
        if fault.name not in FAULTS:
            raise UsageError(f"fault {fault.name!r} is unknown: choose one of {', '.join(FAULTS)}, {BLOCKED}.")
        kind, injector = FAULTS[fault.name]
        if (stream := streams[kind]) is not None:
            streams[kind] = injector(stream, fault)
    return Tape(streams["picture"], streams["sound"])


def _delayed(events: Iterable[Event], fault: Fault) -> Iterator[Event]:
    """All comes `amount` seconds late."""
    last = 0.0
    for event in events:
        last = max(last, event.time + fault.amount * fault.holds(event.time))
        yield replace(event, time=last)


def _burst(events: Iterable[Event], fault: Fault) -> Iterator[Event]:
    """Nothing comes, and then all of it at once."""
    return (replace(event, time=fault.end) if fault.holds(event.time) else event for event in events)


def _gap(events: Iterable[Event], fault: Fault) -> Iterator[Event]:
    """Nothing comes, and nobody says why."""
    return (event for event in events if isinstance(event, DeviceEvent) or not fault.holds(event.time))


def _xrun(events: Iterable[Event], fault: Fault) -> Iterator[Event]:
    """Sound is lost, and the sound system says so."""
    lost = False
    for event in events:
        if isinstance(event, SoundEvent) and fault.holds(event.time):
            lost = True
        elif isinstance(event, SoundEvent) and lost:
            lost = False
            yield replace(event, overflow=True)
        else:
            yield event


def _unplug(events: Iterable[Event], fault: Fault) -> Iterator[Event]:
    """The device is gone and its driver says so."""
    told = False
    for event in events:
        if not fault.holds(event.time) or isinstance(event, DeviceEvent):
            yield event
        elif not told:
            told = True
            kind: Kind = "picture" if isinstance(event, FrameEvent) else "sound"
            yield DeviceEvent(event.time, kind, State.LOST, f"{kind}: unplugged on purpose")


def _black(events: Iterable[Event], fault: Fault) -> Iterator[Event]:
    """Every picture is black."""
    for event in events:
        wrong = isinstance(event, FrameEvent) and fault.holds(event.time)
        yield replace(event, picture=Black(event.size)) if wrong and isinstance(event, FrameEvent) else event


def _silence(events: Iterable[Event], fault: Fault) -> Iterator[Event]:
    """The microphone gives zeros."""
    for event in events:
        wrong = isinstance(event, SoundEvent) and fault.holds(event.time)
        yield replace(event, samples=event.samples * 0) if wrong and isinstance(event, SoundEvent) else event


def _drift(events: Iterable[Event], fault: Fault) -> Iterator[Event]:
    """The microphone's clock is fast by the share `amount`: it takes more samples in the same time."""
    return _sampled_anew(events, fault, lambda rate: rate * (1 + fault.amount), lambda rate: rate)


def _rate(events: Iterable[Event], fault: Fault) -> Iterator[Event]:
    """The microphone goes over to a rate of `amount`, and back."""
    return _sampled_anew(events, fault, lambda rate: fault.amount, lambda rate: round(fault.amount))


def _sampled_anew(
    events: Iterable[Event], fault: Fault, true: Callable[[int], float], told: Callable[[int], int]
) -> Iterator[Event]:
    resampler: StreamResampler | None = None
    for event in events:
        if isinstance(event, SoundEvent) and fault.holds(event.time):
            step = event.rate / true(event.rate)
            resampler = resampler or StreamResampler(step)
            samples = resampler.push(event.samples, step)
            yield replace(event, samples=samples, rate=told(event.rate))
        else:
            yield event


# name: which device, how, and the unit of `amount`
FAULTS: dict[str, tuple[Kind, Injector]] = {
    "late_frames": ("picture", _delayed),  # seconds
    "burst": ("picture", _burst),
    "sound_burst": ("sound", _burst),
    "picture_gap": ("picture", _gap),
    "sound_gap": ("sound", _gap),
    "xrun": ("sound", _xrun),
    "drift": ("sound", _drift),  # share, 0.01 for 1 %
    "unplug_camera": ("picture", _unplug),
    "unplug_microphone": ("sound", _unplug),
    "rate": ("sound", _rate),  # Hz
    "black": ("picture", _black),
    "silence": ("sound", _silence),
}


@dataclass(frozen=True)
class Black:
    """A picture in which nothing can be seen."""

    size: tuple[int, int]

    def squashed(self, size: int) -> NDArray[np.uint8]:
        """All zeros: [3, size, size]."""
        return np.zeros((3, size, size), np.uint8)

    def scaled(self, short_side: int) -> NDArray[np.uint8]:
        """All zeros: [H, W, 3]."""
        width, height = self.size
        scale = short_side / min(width, height)
        return np.zeros((round(height * scale), round(width * scale), 3), np.uint8)
