"""Devices that come and go, on a simulated clock."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scenery

from runtimes.capture.clock import SimulatedClock
from runtimes.capture.devices import Backoff, DeviceError, supervise
from runtimes.capture.events import DeviceEvent
from runtimes.capture.source import State


class Flaky:
    """A device that is there only in between, and the faults that it meets."""

    kinds = ("picture",)

    def __init__(self, clock, there, faults=(State.LOST,)):
        self.clock, self.there, self.faults = clock, there, list(faults)
        self.tries = []

    def run(self, sink, stop):
        self.tries.append(self.clock.now())
        for begin, end in self.there:
            if begin <= self.clock.now() < end:
                self.clock.wait_until(end)
                if end > 50:
                    return
        fault = self.faults[0] if len(self.faults) == 1 else self.faults.pop(0)
        if isinstance(fault, Exception):
            raise fault
        raise DeviceError(fault, "camera x: is not there.")


def run(device, clock):
    events = []
    supervise(
        device, events.append, threading.Event(), clock.now, lambda seconds: clock.wait_until(clock.now() + seconds)
    )
    return events


@pytest.mark.parametrize("back", [10.0, 10.3, 11.7, 30.1])
def test_a_device_that_is_back_is_found_within_two_seconds(back):
    clock = SimulatedClock()
    device = Flaky(clock, [(0, 4), (back, 60)])
    events = run(device, clock)
    assert min(time for time in device.tries if time >= back) - back < 1.2
    assert len(device.tries) < 40
    assert events[0] == DeviceEvent(4.0, "picture", State.LOST, "camera x: is not there.")
    assert events[-1].state is State.ENDED


def test_whatever_a_driver_raises_is_a_fault_of_the_device():
    clock = SimulatedClock()
    events = run(Flaky(clock, [(2, 60)], [ZeroDivisionError("oh"), State.BUSY, State.MISSING]), clock)
    assert [event.state for event in events[:2]] == [State.LOST, State.BUSY]
    assert "ZeroDivisionError" in events[0].fault


def test_stop_ends_it_at_once():
    stop = threading.Event()
    stop.set()
    events = []
    supervise(Flaky(SimulatedClock(), []), events.append, stop, lambda: 3.0)
    assert events == [DeviceEvent(3.0, "picture", State.ENDED)]


def test_pauses_grow_but_not_for_ever():
    backoff = Backoff()
    assert [backoff.pause(0.0) for _ in range(5)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert backoff.pause(60.0) == 0.25


def test_the_scenery_tells_the_truth():
    times = 3.21 + (1 + np.arange(8000)) / 8000
    assert abs(scenery.misplaced(scenery.tone(times), round(3.21 * 8000) + 1)) < 1e-9
    assert abs(scenery.misplaced(scenery.tone(times - 0.03), round(3.21 * 8000) + 1) - 0.03) < 1e-9
