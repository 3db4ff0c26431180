"""Temperatures: thermal zones by type, and the few hwmon chips that measure a board or a processor."""

from __future__ import annotations

from dataclasses import dataclass

from runtimes.profile.sensors.rails import hwmon_chips
from runtimes.profile.sensors.tree import Tree

# Zones whose number is no temperature (JetPack 4: always 50 or 100 degrees; a weighted estimate).
NOT_MEASURED = {"pmic": "a constant, no temperature", "thermal-fan-est": "an estimate", "thermal": "an estimate"}
CHIPS = ("tmp451", "coretemp", "k10temp", "zenpower")
_LOWEST, _HIGHEST = -60.0, 200.0  # -256 stands for a part that is switched off


@dataclass(frozen=True)
class Temperature:
    """Degrees Celsius; None, with the reason, where it is off, cannot be read or is no temperature."""

    name: str
    celsius: float | None
    why: str = ""
    raw: float | None = None
    """The number as it was read, believed or not."""


def read_temperatures(tree: Tree) -> tuple[Temperature, ...]:
    """All zones in their order, then the chips."""
    return (*_zones(tree), *_chips(tree))


def hottest(found: tuple[Temperature, ...]) -> float | None:
    """The highest temperature; None where there is none."""
    return max((one.celsius for one in found if one.celsius is not None), default=None)


def temperature(name: str, millidegrees: float | None) -> Temperature:
    """A reading of `name`, judged; None for a read that failed."""
    raw = None if millidegrees is None else millidegrees / 1000
    why = NOT_MEASURED.get(short_name(name)) or NOT_MEASURED.get(name.lower())
    if why:
        return Temperature(name, None, why, raw)
    if raw is None:
        return Temperature(name, None, "its read fails: the part is switched off")
    if not _LOWEST <= raw <= _HIGHEST:
        return Temperature(name, None, "switched off, or out of range", raw)
    return Temperature(name, raw, raw=raw)


def short_name(name: str) -> str:
    """`cpu` for `CPU-therm`, `cpu-thermal` and `CPU`: releases spell zones differently."""
    plain = name.lower()
    for tail in ("-thermal", "-therm", "-die"):
        plain = plain.removesuffix(tail)
    return plain


def _zones(tree: Tree) -> list[Temperature]:
    found = []
    for folder in tree.find("sys/class/thermal/thermal_zone*"):
        name = tree.label(f"{folder}/type")
        if name:
            found.append(temperature(name, tree.number(f"{folder}/temp")))
    return found


def _chips(tree: Tree) -> list[Temperature]:
    found = []
    for folder, chip in hwmon_chips(tree, *CHIPS):
        for path in tree.find(f"{folder}/temp*_input"):
            label = tree.label(path.removesuffix("_input") + "_label") or path.rpartition("/")[2].removesuffix("_input")
            found.append(temperature(f"{chip} {label}", tree.number(path)))
    return found
