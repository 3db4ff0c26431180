"""Whether the device holds back: for heat, for current, for voltage; now, and since it was started.

Alarms may be cleared by reading them, so they are polled all through a run and remembered; counters run since boot,
so their growth counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtimes.profile.sensors.device import Device
from runtimes.profile.sensors.rails import hwmon_chips
from runtimes.profile.sensors.raspberry import Throttled, read_throttled
from runtimes.profile.sensors.tree import Tree

# Cooling devices whose state is above 0 only where heat cuts something. Fans are not among them.
_HOLDS_BACK = re.compile(
    r".+-throttle-alert|(thermal-)?cpufreq-.+|(thermal-)?devfreq-.+|.+-balanced|.+_heavy|Processor|intel_powerclamp"
)
_WARNS = ("hot-surface-alert",)
_OVER_CURRENT = ("oc1_event_cnt", "oc2_event_cnt", "oc3_event_cnt")
# OC3 counts cuts of about a millisecond that are normal on some boards in their fastest mode.
_NORMAL = ("oc3_event_cnt",)
_INTEL = "sys/devices/system/cpu/cpu*/thermal_throttle"


@dataclass(frozen=True)
class ThrottleState:
    """What stands at one moment. `known` is False where the device has no indicator at all."""

    known: bool
    reasons: tuple[str, ...] = ()
    """The clocks are cut for heat, current or voltage, by the names of what says so."""
    limits: tuple[str, ...] = ()
    """The average current is over its limit (max alarm): power is limited, as some modes intend."""
    warnings: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    """Events since boot."""
    since_boot: tuple[str, ...] = ()
    """What has happened at some time since boot (Raspberry Pi)."""

    @property
    def throttled(self) -> bool | None:
        """Now; None where it cannot be known."""
        return bool(self.reasons) if self.known else None


@dataclass(frozen=True)
class ThrottleRun:
    """What was seen over a run of several states."""

    known: bool
    reasons: tuple[str, ...]
    limits: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def throttled(self) -> bool | None:
        """At any moment of the run; None where it cannot be known."""
        return bool(self.reasons) if self.known else None


def read_throttle(tree: Tree, device: Device) -> ThrottleState:
    """Read every indicator that this device has."""
    cooling = _cooling(tree)
    alarms = _alarms(tree)
    counters = {**_over_current(tree), **_intel(tree)}
    pi = read_throttled(tree) if device.raspberry else None
    voltage = _low_voltage(tree)
    known = bool(cooling or alarms or counters or pi is not None or voltage is not None)
    reasons = [name for name, state in cooling.items() if state > 0 and name not in _WARNS]
    reasons += [name for name, on in alarms.items() if on and "_crit_" in name]
    reasons += ["under-voltage"] if voltage else []
    reasons += [name for name in (pi or Throttled()).now if name not in reasons]
    return ThrottleState(
        known=known,
        reasons=tuple(reasons),
        limits=tuple(name for name, on in alarms.items() if on and "_max_" in name),
        warnings=tuple(name for name, state in cooling.items() if state > 0 and name in _WARNS),
        counters=counters,
        since_boot=pi.since_boot if pi else (),
    )


def over_run(states: list[ThrottleState]) -> ThrottleRun:
    """What several states, from the first to the last of a run, come to."""
    reasons: dict[str, None] = {}
    limits: dict[str, None] = {}
    warnings: dict[str, None] = {}
    for state in states:
        reasons.update(dict.fromkeys(state.reasons))
        limits.update(dict.fromkeys(state.limits))
        warnings.update(dict.fromkeys(state.warnings))
    if states:
        before, after = states[0], states[-1]
        for name, count in after.counters.items():
            grown = count - before.counters.get(name, count)
            if grown > 0:
                (limits if name in _NORMAL else reasons)[f"{name} grew by {grown}"] = None
        # what has newly happened since boot happened in this run, even where no poll met it
        fresh = [name for name in after.since_boot if name not in before.since_boot and name not in reasons]
        reasons.update(dict.fromkeys(fresh))
    known = any(state.known for state in states)
    return ThrottleRun(known, tuple(reasons), tuple(limits), tuple(warnings))


def _cooling(tree: Tree) -> dict[str, int]:
    """State of each cooling device that holds back or warns; the highest where several have one name."""
    found: dict[str, int] = {}
    for folder in tree.find("sys/class/thermal/cooling_device*"):
        name, state = tree.label(f"{folder}/type"), tree.number(f"{folder}/cur_state")
        if name and state is not None and (name in _WARNS or _HOLDS_BACK.fullmatch(name)):
            found[name] = max(state, found.get(name, state))
    return found


def _alarms(tree: Tree) -> dict[str, bool]:
    """Current alarms of the INA3221, such as `curr1_crit_alarm`; the name of the rail follows where it has one."""
    found = {}
    for folder, _ in hwmon_chips(tree, "ina3221"):
        for path in tree.find(f"{folder}/curr*_alarm"):
            name = path.rpartition("/")[2]
            value = tree.number(path)
            if value in (0, 1):
                rail = tree.label(f"{folder}/in{name[4]}_label")
                found[f"{name} ({rail})" if rail else name] = value == 1
    return found


def _over_current(tree: Tree) -> dict[str, int]:
    found = {}
    for folder, _ in hwmon_chips(tree, "soctherm_oc"):
        for name in _OVER_CURRENT:
            count = tree.number(f"{folder}/{name}")
            if count is not None and count >= 0:
                found[name] = count
    return found


def _intel(tree: Tree) -> dict[str, int]:
    """Events of each core and package; every processor of a core or package repeats its count, so the first counts."""
    found: dict[str, int] = {}
    for folder in tree.find(_INTEL):
        place = folder.removesuffix("/thermal_throttle")
        package = tree.number(f"{place}/topology/physical_package_id") or 0
        core = tree.number(f"{place}/topology/core_id")
        for kind, name in (("package", f"package {package}"), ("core", f"package {package} core {core}")):
            count = tree.number(f"{folder}/{kind}_throttle_count")
            if count is not None and count >= 0:
                found.setdefault(f"thermal_throttle {name}", count)
    return found


def _low_voltage(tree: Tree) -> bool | None:
    for folder, _ in hwmon_chips(tree, "rpi_volt"):
        value = tree.number(f"{folder}/in0_lcrit_alarm")
        if value in (0, 1):
            return value == 1
    return None
