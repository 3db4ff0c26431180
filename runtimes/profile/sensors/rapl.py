"""Energy counters of x86 processors (RAPL, on Intel and AMD) through the kernel's powercap tree."""

from __future__ import annotations

from dataclasses import dataclass

from runtimes.profile.sensors.rails import Rail
from runtimes.profile.sensors.tree import Tree

# `intel-rapl-mmio` shows the same package once more, so it is not read.
ZONES = ("sys/class/powercap/intel-rapl:*",)
DENIED = "only root may read it: give yourself the right with a udev rule, or run as root"


@dataclass(frozen=True)
class RaplSensor:
    """A zone: `package-0`, its parts `package-0/core`, or `psys`."""

    name: str
    folder: str

    def read(self, tree: Tree) -> Rail:
        """Joules since some moment; they come back to 0 after `wraps_at`."""
        path = f"{self.folder}/energy_uj"
        count, most = tree.number(path), tree.number(f"{self.folder}/max_energy_range_uj")
        if count is None or count < 0:
            return Rail(self.name, "rapl", why=DENIED if tree.denied(path) else "its read fails")
        return Rail(self.name, "rapl", joules=count / 1e6, wraps_at=most / 1e6 if most and most > 0 else None)


def find_rapl(tree: Tree) -> tuple[RaplSensor, ...]:
    """All zones by name; the numbers in the folders' names mean nothing but who is inside whom."""
    names: dict[str, str] = {}
    for folder in tree.find(*ZONES):
        name = tree.read(f"{folder}/name")
        if name:
            parent = names.get(folder.rpartition(":")[0])
            names[folder] = f"{parent}/{name}" if parent else name
    return tuple(RaplSensor(name, folder) for folder, name in names.items())


def counted(before: float, after: float, wraps_at: float | None) -> float | None:
    """Joules between two readings of a counter that wrapped at most once; None where that cannot be known."""
    if wraps_at is not None and max(before, after) > wraps_at:
        return None
    if after >= before:
        return after - before
    return after - before + wraps_at if wraps_at is not None else None
