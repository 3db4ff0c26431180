"""Power rails of the INA3221 and INA238 chips on NVIDIA's boards, by name.

Two drivers: JetPack 4 and older `ina3221x` (iio, channels from 0, has power), JetPack 5 and newer `ina3221` (hwmon,
channels from 1, voltage and current only; in4 to in7 are shunt voltages, not rails). The number in hwmonN says
nothing: chips are found by their `name`, rails by their label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtimes.profile.sensors.tree import Tree

# The same chip shows up under several of these; the first place counts.
HWMON = (
    "sys/class/hwmon/hwmon*",
    "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*",
    "sys/bus/i2c/drivers/ina238/*/hwmon/hwmon*",
    "sys/bus/i2c/devices/*/hwmon/hwmon*",
    "sys/devices/platform/*/hwmon/hwmon*",
    "sys/devices/platform/*.i2c/i2c-*/*/hwmon/hwmon*",
    "sys/devices/platform/bus@0/*.i2c/i2c-*/*/hwmon/hwmon*",
)
IIO = (
    "sys/bus/i2c/drivers/ina3221x/*/iio:device*",
    "sys/bus/i2c/drivers/ina3221x/*/iio_device",
    "sys/bus/i2c/devices/*/iio:device*",
    "sys/bus/iio/devices/iio:device*",
    "sys/devices/*.i2c/i2c-*/*/iio:device*",
    "sys/devices/platform/*.i2c/i2c-*/*/iio:device*",
)
UNCONNECTED = "NC"
INA238_RAIL = "VIN"  # what tegrastats calls it; the chip has no label
_HIGHEST_W = 10_000.0  # more is no reading of a chip on a board


@dataclass(frozen=True)
class Rail:
    """A reading: watts, and volts and amperes where the chip gives them; None where its read fails.

    Counters (RAPL) give `joules` since some moment instead, which come back to 0 after `wraps_at`.
    """

    name: str
    source: str
    watts: float | None = None
    volts: float | None = None
    amps: float | None = None
    joules: float | None = None
    wraps_at: float | None = None
    why: str = ""
    """Why there is no reading, where that is known."""


@dataclass(frozen=True)
class RailSensor:
    """Where a rail's numbers lie: paths of millivolts, milliamperes, and of power with its unit in watts."""

    name: str
    source: str
    volts: str
    amps: str
    power: str | None = None
    unit: float = 1e-3

    def read(self, tree: Tree) -> Rail:
        """Read it once. Voltage and current are two reads, so their product is not of one instant."""
        millivolts, milliamps = tree.number(self.volts), tree.number(self.amps)
        power = tree.number(self.power) if self.power else None
        volts = None if millivolts is None else millivolts / 1e3
        amps = None if milliamps is None else milliamps / 1e3
        watts = power * self.unit if power is not None else None
        if watts is None and volts is not None and amps is not None:
            watts = volts * amps
        if watts is not None and abs(watts) > _HIGHEST_W:
            watts = None
        return Rail(self.name, self.source, watts, volts, amps, why="" if watts is not None else "its read fails")


def find_rails(tree: Tree) -> tuple[RailSensor, ...]:
    """All rails of all chips; channels without a label, without a connection or switched off are left out."""
    return (*_iio_rails(tree), *_hwmon_rails(tree))


def hwmon_chips(tree: Tree, *names: str) -> Iterator[tuple[str, str]]:
    """(folder, name) of each hwmon chip of one of these names, each chip once."""
    seen = set()
    for folder in tree.find(*HWMON):
        number = folder.rpartition("/")[2]
        name = tree.label(f"{folder}/name")
        if name is not None and name in names and number not in seen:
            seen.add(number)
            yield folder, name


def _iio_rails(tree: Tree) -> Iterator[RailSensor]:
    seen: set[str] = set()
    for folder in tree.find(*IIO):
        parent, number = folder.split("/")[-2:]
        # a chip is known by its address and by its number; `devices` is no address, and the link `iio_device` no number
        keys = {parent, number} - {"devices", "iio_device"}
        if keys & seen or tree.label(f"{folder}/name") not in ("ina3221x", None):
            continue
        seen |= keys
        for channel in range(3):
            name = tree.read(f"{folder}/rail_name_{channel}")
            if name and name != UNCONNECTED:
                volts, amps, power = (f"{folder}/in_{what}{channel}_input" for what in ("voltage", "current", "power"))
                yield RailSensor(name, "ina3221x", volts, amps, power)


def _hwmon_rails(tree: Tree) -> Iterator[RailSensor]:
    for folder, chip in hwmon_chips(tree, "ina3221", "ina238"):
        if chip == "ina238":
            label = tree.read(f"{folder}/label") or INA238_RAIL
            volts, amps, power = (f"{folder}/{name}_input" for name in ("in1", "curr1", "power1"))
            yield RailSensor(label, chip, volts, amps, power, unit=1e-6)
            continue
        for channel in (1, 2, 3):
            name = tree.read(f"{folder}/in{channel}_label")
            if name and name != UNCONNECTED and tree.number(f"{folder}/in{channel}_enable") != 0:
                yield RailSensor(name, chip, f"{folder}/in{channel}_input", f"{folder}/curr{channel}_input")
