"""Clocks and who governs them: processors, graphics processors, and how many cores are on."""

from __future__ import annotations

from dataclasses import dataclass

from runtimes.profile.sensors.tree import Tree

_CPU = "sys/devices/system/cpu"
_KHZ, _HZ = 1e3, 1e6  # to MHz
GPUS = (
    "sys/class/devfreq/*gpu*",  # Orin with JetPack 6 and 7, Thor
    "sys/class/devfreq/*.g[avp]1*",
    "sys/devices/gpu.0/devfreq/*",  # Nano, TX2
    "sys/devices/*.g[avp]1*/devfreq/*",  # Xavier, Orin with JetPack 5
    "sys/devices/platform/*.g[avp]1*/devfreq/*",
    "sys/devices/platform/bus@0/*.gpu/devfreq/*",
)
LOADS = (
    "sys/devices/gpu.0/load",
    "sys/devices/platform/gpu.0/load",
    "sys/class/devfreq/*.gpu/device/load",
    "sys/devices/platform/bus@0/*.gpu/load",
)


@dataclass(frozen=True)
class Clock:
    """MHz; `real` is what the hardware says (mostly for root only), where `now` is what the kernel asked for."""

    name: str
    now: float | None
    least: float | None
    most: float | None
    governor: str | None
    real: float | None = None

    @property
    def cut(self) -> bool | None:
        """Whether the hardware runs well below what was asked for (by a fifth); None where that cannot be told."""
        if self.real is None or self.now is None or self.real <= 0:
            return None
        return self.real < 0.8 * self.now


@dataclass(frozen=True)
class Clocks:
    """Every core that is on, and every graphics processor; its load in percent."""

    cpus: tuple[Clock, ...]
    gpus: tuple[Clock, ...]
    cores_on: int | None
    gpu_load: float | None

    @property
    def governors(self) -> tuple[str, ...]:
        """The processors' governors, each once."""
        return tuple(dict.fromkeys(clock.governor for clock in self.cpus if clock.governor))


def read_clocks(tree: Tree) -> Clocks:
    """Read all of them."""
    folders = [folder for folder in tree.find(f"{_CPU}/cpu*") if folder.rpartition("cpu")[2].isdecimal()]
    on = [folder for folder in folders if tree.number(f"{folder}/online") != 0]  # cpu0 often has no such file
    cpus = tuple(_cpu(tree, folder) for folder in on if tree.exists(f"{folder}/cpufreq"))
    return Clocks(cpus, _gpus(tree), len(on) or None, _load(tree))


def _cpu(tree: Tree, folder: str) -> Clock:
    def mhz(name: str) -> float | None:
        return _positive(tree.number(f"{folder}/cpufreq/{name}"), _KHZ)

    return Clock(
        folder.rpartition("/")[2],
        mhz("scaling_cur_freq"),
        mhz("scaling_min_freq"),
        mhz("scaling_max_freq"),
        tree.read(f"{folder}/cpufreq/scaling_governor") or None,
        mhz("cpuinfo_cur_freq"),
    )


def _gpus(tree: Tree) -> tuple[Clock, ...]:
    found: dict[str, Clock] = {}
    for folder in tree.find(*GPUS):
        name = folder.rpartition("/")[2]
        now, least, most = (_positive(tree.number(f"{folder}/{which}_freq"), _HZ) for which in ("cur", "min", "max"))
        if name not in found and (now, least, most) != (None, None, None):
            found[name] = Clock(name, now, least, most, tree.read(f"{folder}/governor") or None)
    return tuple(found.values())


def _load(tree: Tree) -> float | None:
    """Percent; the files count in thousandths."""
    for path in tree.find(*LOADS):
        value = tree.number(path)
        if value is not None and 0 <= value <= 1000:
            return value / 10
    return None


def _positive(value: int | None, scale: float) -> float | None:
    return value / scale if value is not None and value >= 0 else None
