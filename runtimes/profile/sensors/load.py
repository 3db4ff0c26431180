"""How busy the whole machine is, to tell what other programs took from a measurement."""

from __future__ import annotations

import os
from dataclasses import dataclass

from runtimes.profile.sensors.tree import Tree, whole


@dataclass(frozen=True)
class Load:
    """Processor seconds since boot, of all cores: in use, and taken away by a hypervisor."""

    busy: float
    stolen: float


def read_load(tree: Tree) -> Load | None:
    """From the first line of /proc/stat; None where it is not of its form."""
    words = (tree.read("proc/stat") or "").partition("\n")[0].split()
    ticks = [whole(word) for word in words[1:9]]
    if words[:1] != ["cpu"] or len(ticks) < 8 or any(tick is None or tick < 0 for tick in ticks):
        return None
    user, nice, system, _, _, irq, soft_irq, stolen = (tick / _ticks_per_second() for tick in ticks if tick is not None)
    return Load(user + nice + system + irq + soft_irq, stolen)


def _ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
