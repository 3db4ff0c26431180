"""Energy of a phase: the integral of one named rail, and what is left of it without the idle draw.

Power rails are integrated over time by the trapezoid rule, counters (RAPL) are differences that may wrap once between
two readings. Energy per decision = (energy of the phase - idle power x its seconds) / decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from runtimes.profile.sensors.power import Power
from runtimes.profile.sensors.rails import Rail
from runtimes.profile.sensors.rapl import counted
from runtimes.profile.watch import Reading

METHOD = (
    "trapezoid over the readings of the rail (counters: their differences); energy per decision = "
    "(energy of the phase - idle power x seconds) / decisions; idle: the model loaded, nothing running"
)
LEAST_READINGS = 3
LEAST_PRESENT = 0.9  # share of a phase's readings that must have the rail


@dataclass(frozen=True)
class Drawn:
    """Joules in `seconds`, from so many readings."""

    joules: float
    seconds: float
    readings: int

    @property
    def watts(self) -> float:
        """On average."""
        return self.joules / self.seconds


@dataclass(frozen=True)
class PhaseEnergy:
    """What a rail drew in a phase. `net` is above idle; the last two are per decision, in millijoules."""

    rail: str
    watts: float
    idle_watts: float | None
    gross_mj: float
    net_mj: float | None
    readings: int


def drawn(readings: Sequence[Reading], rail: str) -> Drawn | None:
    """What `rail` drew over the readings that have it; None where more than a tenth of them has not."""
    found = [(reading.at, one) for reading in readings if (one := _only(reading.power, rail)) is not None]
    if len(found) < LEAST_READINGS or len(found) < LEAST_PRESENT * len(readings):
        return None
    joules = 0.0
    for (begin, before), (end, after) in pairwise(found):
        part = _between(before, after, end - begin)
        if part is None:
            return None
        joules += part
    seconds = found[-1][0] - found[0][0]
    return Drawn(joules, seconds, len(found)) if seconds > 0 else None


def phase_energy(rail: str, phase: Drawn | None, idle: Drawn | None, pace: float) -> PhaseEnergy | None:
    """Energy per decision of a phase with a decision every `pace` seconds; None where its power is not known."""
    if phase is None:
        return None
    gross = phase.watts * pace * 1e3
    net = (phase.watts - idle.watts) * pace * 1e3 if idle else None
    return PhaseEnergy(rail, phase.watts, idle.watts if idle else None, gross, net, phase.readings)


def _only(power: Power, name: str) -> Rail | None:
    found = [rail for rail in power.rails if rail.name == name and (rail.watts is not None or rail.joules is not None)]
    return found[0] if len(found) == 1 else None


def _between(before: Rail, after: Rail, seconds: float) -> float | None:
    if before.joules is not None and after.joules is not None:
        return counted(before.joules, after.joules, after.wraps_at)
    if before.watts is not None and after.watts is not None:
        return (before.watts + after.watts) / 2 * seconds
    return None
