"""Reads the sensors beside a run, twice a second and at every border between phases, and remembers it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread
from time import perf_counter

from runtimes.profile.sensors.load import Load
from runtimes.profile.sensors.power import Power
from runtimes.profile.sensors.snapshot import Sensors
from runtimes.profile.sensors.thermal import hottest
from runtimes.profile.sensors.throttle import ThrottleState

PERIOD_S = 0.5


@dataclass(frozen=True)
class Reading:
    """What the sensors said at `at` (seconds of the run's clock); `slow`: processors that run below what was asked."""

    at: float
    power: Power
    throttle: ThrottleState
    hottest: float | None
    cpu_mhz: float | None
    gpu_mhz: float | None
    slow: tuple[str, ...]
    load: Load | None = None


class Watch:
    """A thread that polls; `poll` may be called from elsewhere as well."""

    def __init__(self, sensors: Sensors, now: Callable[[], float] = perf_counter, period: float = PERIOD_S) -> None:
        self.readings: list[Reading] = []
        self._sensors, self._now, self._period = sensors, now, period
        self._lock, self._over = Lock(), Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Watch:
        self.poll()
        if self._period > 0:
            self._thread = Thread(target=self._follow, name="sensors", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.poll()

    def poll(self) -> None:
        """Read the sensors now."""
        with self._lock:
            power, throttle, clocks = self._sensors.power(), self._sensors.throttle(), self._sensors.clocks()
            slow = tuple(clock.name for clock in clocks.cpus if clock.cut)
            cpus = [clock.real or clock.now for clock in clocks.cpus]
            gpus = [clock.now for clock in clocks.gpus]
            heat = hottest(self._sensors.temperatures())
            load = self._sensors.load()
            self.readings.append(Reading(self._now(), power, throttle, heat, _most(cpus), _most(gpus), slow, load))

    def between(self, begin: float, end: float) -> list[Reading]:
        """The readings of a phase."""
        return [reading for reading in self.readings if begin <= reading.at <= end]

    def _follow(self) -> None:
        while not self._over.wait(self._period):
            self.poll()


def _most(values: list[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
