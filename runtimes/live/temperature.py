"""How hot the device is, where the system says so."""

from __future__ import annotations

from pathlib import Path

ZONES = Path("/sys/class/thermal")


def hottest(zones: Path = ZONES) -> float | None:
    """The highest temperature of all thermal zones in degrees Celsius; None where none can be read.

    Zones that are off report nonsense (0, negative or far too hot), which is left out.
    """
    found = []
    for zone in zones.glob("thermal_zone*/temp"):
        try:
            degrees = int(zone.read_text(encoding="ascii")) / 1000
        except (OSError, ValueError):
            continue
        if 0 < degrees < 150:
            found.append(degrees)
    return max(found, default=None)
