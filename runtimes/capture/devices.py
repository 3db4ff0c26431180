"""Devices that fail and come back: run, told of, and run again after a pause that grows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from runtimes.capture.events import DeviceEvent, Kind, Sink
from runtimes.capture.source import State

# Seconds of the first pause and of the longest: a device that is back is used within two seconds.
_FIRST, _LONGEST = 0.25, 1.0
# A device that ran this many seconds is tried again at once.
_RAN = 5.0


class DeviceError(Exception):
    """Why a device brings nothing: the state it is in, and one sentence for the user."""

    def __init__(self, state: State, sentence: str) -> None:
        super().__init__(sentence)
        self.state = state


class Device(Protocol):
    """A camera, a microphone, or both in one."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What it brings."""
        ...

    def run(self, sink: Sink, stop: threading.Event) -> None:
        """Open the device and bring all that comes, until `stop` is set or there is no more.

        Raises DeviceError where it cannot be opened or is lost; may be called again then.
        """
        ...


class Backoff:
    """Pauses that grow from try to try."""

    def __init__(self) -> None:
        self._pause = _FIRST

    def pause(self, ran: float) -> float:
        """Seconds to wait after a try that ran for `ran` seconds."""
        pause = _FIRST if ran >= _RAN else self._pause
        self._pause = min(2 * pause, _LONGEST)
        return pause


def supervise(
    device: Device,
    sink: Sink,
    stop: threading.Event,
    now: Callable[[], float],
    wait: Callable[[float], object] | None = None,
) -> None:
    """Run `device` again and again until it ends or `stop` is set; what goes wrong becomes events.

    `now` is our clock, and `wait` pauses (left out: until `stop` is set).
    """
    backoff = Backoff()
    while not stop.is_set():
        began = now()
        try:
            device.run(sink, stop)
            break
        except DeviceError as fault:
            state, sentence = fault.state, str(fault)
        except Exception as fault:  # whatever a driver's binding comes up with: the thread must live
            state, sentence = State.LOST, f"{device.kinds[0]}: failed ({type(fault).__name__}: {fault})"
        for kind in device.kinds:
            sink(DeviceEvent(now(), kind, state, sentence))
        (wait or stop.wait)(backoff.pause(now() - began))
    for kind in device.kinds:
        sink(DeviceEvent(now(), kind, State.ENDED))
