"""Batteries of laptops: the power of the whole system, but only while they discharge."""

from __future__ import annotations

from runtimes.profile.sensors.rails import Rail
from runtimes.profile.sensors.tree import Tree

_HIGHEST_W = 1000.0


def read_batteries(tree: Tree) -> tuple[Rail, ...]:
    """A rail for each battery of the system; no watts unless its status is Discharging.

    Other supplies (`ucsi-source-psy-*`) show what was agreed over USB, which is no measurement; batteries of mice and
    headsets have the scope Device.
    """
    rails = []
    for folder in tree.find("sys/class/power_supply/*"):
        if tree.read(f"{folder}/type") == "Battery" and tree.read(f"{folder}/scope") != "Device":
            rails.append(_read(tree, folder))
    return tuple(rails)


def _read(tree: Tree, folder: str) -> Rail:
    name = folder.rpartition("/")[2]
    status = tree.read(f"{folder}/status")
    if status != "Discharging":
        return Rail(name, "battery", why=f"its status is {status or 'unknown'}, not Discharging")
    power, microvolts = tree.number(f"{folder}/power_now"), tree.number(f"{folder}/voltage_now")
    microamps = tree.number(f"{folder}/current_now")
    # drivers differ in the sign, and in which of the three they have
    volts = None if microvolts is None else microvolts / 1e6
    amps = None if microamps is None else abs(microamps) / 1e6
    watts = abs(power) / 1e6 if power is not None else volts * amps if volts is not None and amps is not None else None
    if watts is None or watts > _HIGHEST_W:
        return Rail(name, "battery", volts=volts, amps=amps, why="its read fails")
    return Rail(name, "battery", watts, volts, amps)
