"""How hot the device is, where the system says so."""

from __future__ import annotations

from math import inf

from runtimes.profile.sensors.thermal import hottest, read_temperatures
from runtimes.profile.sensors.tree import Tree

EVERY = 5.0  # seconds: reading sensors costs time, and heat changes slowly


class Thermometer:
    """Call it with the stream's time as often as you like; it reads the sensors only now and then."""

    def __init__(self, tree: Tree | None = None) -> None:
        self._tree = tree or Tree()
        self._read = -inf
        self._degrees: float | None = None

    def __call__(self, time: float) -> float | None:
        """The highest temperature in degrees Celsius; None where none can be read."""
        if time - self._read >= EVERY:
            self._read, self._degrees = time, hottest(read_temperatures(self._tree))
        return self._degrees
