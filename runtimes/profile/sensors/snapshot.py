"""All sensors of a device, found once and read as often as wanted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from runtimes.profile.sensors.battery import read_batteries
from runtimes.profile.sensors.clocks import Clocks, read_clocks
from runtimes.profile.sensors.device import Device, read_device
from runtimes.profile.sensors.feed import Feed, as_rails
from runtimes.profile.sensors.load import Load, read_load
from runtimes.profile.sensors.modes import JetsonClocks, PowerMode, read_jetson_clocks, read_mode
from runtimes.profile.sensors.power import Power, name_total
from runtimes.profile.sensors.rails import Rail, RailSensor, find_rails
from runtimes.profile.sensors.rapl import RaplSensor, find_rapl
from runtimes.profile.sensors.raspberry import read_pmic
from runtimes.profile.sensors.thermal import Temperature, hottest, read_temperatures
from runtimes.profile.sensors.throttle import ThrottleState, read_throttle
from runtimes.profile.sensors.tree import Remembered, Tree

PACKAGE = "processor package"
_NO_SENSOR = "no power sensor was found"


@dataclass(frozen=True)
class Settings:
    """What must not change during a run."""

    mode: PowerMode | None
    pinned: bool | None
    governors: tuple[str, ...]
    cores_on: int | None
    cpu_most_mhz: tuple[float | None, ...]
    gpu_most_mhz: tuple[float | None, ...]


@dataclass(frozen=True)
class Snapshot:
    """One reading of everything."""

    device: Device
    power: Power
    temperatures: tuple[Temperature, ...]
    throttle: ThrottleState
    clocks: Clocks
    mode: PowerMode | None
    jetson_clocks: JetsonClocks | None

    @property
    def hottest(self) -> float | None:
        """The highest temperature, degrees Celsius."""
        return hottest(self.temperatures)

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists, with what is computed from the fields."""
        data = asdict(self)
        data["power"] |= {"total_w": self.power.total_w, "sum_w": self.power.sum_w}
        data["throttle"]["throttled"] = self.throttle.throttled
        data["hottest"] = self.hottest
        if self.jetson_clocks:
            data["jetson_clocks"]["pinned"] = self.jetson_clocks.pinned
        return data


class Sensors:
    """The sensors that `tree` has; reading what was found once costs little enough to go on beside a measurement."""

    def __init__(self, tree: Tree) -> None:
        self.tree = Remembered(tree.root)
        self.device = read_device(tree)
        self._rails: tuple[RailSensor | RaplSensor, ...] = (*find_rails(tree), *find_rapl(tree))
        self._feed = Feed(tree) if self.device.jetson and not self._rails else None

    def power(self) -> Power:
        """Read every rail, and say which is the total."""
        chips = tuple(sensor.read(self.tree) for sensor in self._rails)
        if self.device.raspberry:
            chips += read_pmic(self.tree)
        if self._feed:
            chips += as_rails(self._feed.newest)
        return choose_total(chips, read_batteries(self.tree), self.device)

    def stop(self) -> None:
        """End what runs beside (tegrastats, where it is the source)."""
        if self._feed:
            self._feed.stop()

    def throttle(self) -> ThrottleState:
        """Read every sign of holding back."""
        return read_throttle(self.tree, self.device)

    def temperatures(self) -> tuple[Temperature, ...]:
        """Read every temperature."""
        return read_temperatures(self.tree)

    def clocks(self) -> Clocks:
        """Read every clock."""
        return read_clocks(self.tree)

    def load(self) -> Load | None:
        """Read how busy the machine is."""
        return read_load(self.tree)

    def snapshot(self) -> Snapshot:
        """Read everything, commands included."""
        return Snapshot(
            self.device,
            self.power(),
            self.temperatures(),
            self.throttle(),
            self.clocks(),
            read_mode(self.tree),
            read_jetson_clocks(self.tree),
        )


def read_sensors(tree: Tree) -> Snapshot:
    """Find and read everything once."""
    sensors = Sensors(tree)
    try:
        return sensors.snapshot()
    finally:
        sensors.stop()


def settings_of(snapshot: Snapshot) -> Settings:
    """The part of a snapshot that must not change during a run."""
    clocks = snapshot.clocks
    return Settings(
        snapshot.mode,
        snapshot.jetson_clocks.pinned if snapshot.jetson_clocks else None,
        clocks.governors,
        clocks.cores_on,
        tuple(clock.most for clock in clocks.cpus),
        tuple(clock.most for clock in clocks.gpus),
    )


def choose_total(chips: tuple[Rail, ...], batteries: tuple[Rail, ...], device: Device) -> Power:
    """The total among the rails of chips; a laptop's only battery where no chip can be read."""
    sources = {rail.source for rail in chips}
    if sources & {"ina3221", "ina3221x", "ina238", "tegrastats"}:
        found = name_total(chips, device)
    elif "pmic" in sources:
        parts = tuple(rail.name for rail in chips if rail.watts is not None)
        note = "the 5 V input has no current sensor, so no rail is the total"
        found = Power(chips, None, None, parts, "rails of the power chip", note)
    elif "rapl" in sources:
        found = _rapl_total(chips)
    else:
        found = Power(chips, None, None, (), None, _why_none(device))
    if any(rail.watts is not None or rail.joules is not None for rail in chips):
        return replace(found, rails=(*chips, *batteries))
    return _battery_total(chips, batteries, found) if batteries else found


def _rapl_total(zones: tuple[Rail, ...]) -> Power:
    """A processor's package, if there is one; memory and board are not in it."""
    packages = [rail for rail in zones if rail.name.startswith("package-") and "/" not in rail.name]
    names = tuple(rail.name for rail in packages)
    if len(packages) != 1:
        return Power(zones, None, None, names, f"{PACKAGE}s", "no zone is the total of all packages")
    note = "; ".join(filter(None, ("memory outside the package and the board are not in it", packages[0].why)))
    return Power(zones, names[0], PACKAGE, (), None, note)


def _battery_total(chips: tuple[Rail, ...], batteries: tuple[Rail, ...], found: Power) -> Power:
    names = tuple(rail.name for rail in batteries)
    rails = (*chips, *batteries)
    if len(names) == 1:
        note = "the whole system, only while the battery discharges; it is read a few times a minute"
        return Power(rails, names[0], "system", (), None, note)
    return Power(rails, None, None, names, "system", f"{len(names)} batteries, and none is the total; {found.note}")


def _why_none(device: Device) -> str:
    if device.raspberry:
        return f"{_NO_SENSOR}: a Raspberry Pi before the 5 measures none"
    return f"{_NO_SENSOR}: no INA3221 or INA238 is to be seen" if device.jetson else _NO_SENSOR
