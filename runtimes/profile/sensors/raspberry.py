"""Raspberry Pi: what `vcgencmd` prints, and the same word of bits in sysfs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from runtimes.profile.sensors.rails import Rail
from runtimes.profile.sensors.tree import Tree

_THROTTLED = re.compile(r"(?:throttled=)?(?:0x)?([0-9a-f]{1,8})", re.IGNORECASE)
_NUMBER = r"(-?\d{1,9}(?:\.\d{1,12})?)"
_TEMPERATURE = re.compile(rf"temp={_NUMBER}'C")
_CLOCK = re.compile(r"frequency\(\d{1,4}\)=(\d{1,12})")
_VOLTS = re.compile(rf"volt={_NUMBER}V")
_ADC = re.compile(rf"(\w+)_([AV])\s+(current|volt)\(\d{{1,4}}\)={_NUMBER}([AV])")
_SYSFS = ("sys/devices/platform/soc/soc:firmware/get_throttled", "sys/devices/platform/soc*/*firmware*/get_throttled")
# The low bits are now; the same meanings 16 bits up have happened since boot.
BITS = ("under-voltage", "ARM clock capped", "throttled", "soft temperature limit")


@dataclass(frozen=True)
class Throttled:
    """Meanings of the bits that are set."""

    now: tuple[str, ...] = ()
    since_boot: tuple[str, ...] = ()


def read_throttled(tree: Tree) -> Throttled | None:
    """From `vcgencmd`, else from sysfs; None where neither is there."""
    texts = [tree.command("vcgencmd", "get_throttled"), *(tree.read(path) for path in tree.find(*_SYSFS))]
    return next((found for text in texts if text and (found := parse_throttled(text))), None)


def read_pmic(tree: Tree) -> tuple[Rail, ...]:
    """Rails of the power chip of a Raspberry Pi 5; none on earlier ones, which measure no power."""
    return parse_pmic(tree.command("vcgencmd", "pmic_read_adc") or "")


def parse_throttled(text: str) -> Throttled | None:
    """`throttled=0x50005`, or the bare hexadecimal number of sysfs; None for anything else."""
    found = _THROTTLED.fullmatch(text.strip())
    if not found:
        return None
    word = int(found[1], 16)

    def names(shift: int) -> tuple[str, ...]:
        return tuple(name for bit, name in enumerate(BITS) if word >> (shift + bit) & 1)

    return Throttled(names(0), names(16))


def parse_temperature(text: str) -> float | None:
    """Degrees Celsius of `temp=39.5'C`."""
    return _value(_TEMPERATURE, text)


def parse_clock(text: str) -> int | None:
    """Hertz of `frequency(48)=1500345728`; the number in brackets differs between releases."""
    value = _value(_CLOCK, text)
    return None if value is None else int(value)


def parse_volts(text: str) -> float | None:
    """Volts of `volt=0.7200V`."""
    return _value(_VOLTS, text)


def parse_pmic(text: str) -> tuple[Rail, ...]:
    """Rails of `pmic_read_adc`: volts and amperes paired by name (their numbers do not match).

    A rail without a current (the 5 V input) has no power; together the others are not the input power. A line that
    is not of this form, or a name that comes twice, is left out.
    """
    pairs: dict[str, dict[str, float | None]] = {}
    for line in text.splitlines():
        found = _ADC.fullmatch(line.strip())
        if found and (found[2], found[3], found[5]) in (("A", "current", "A"), ("V", "volt", "V")):
            pair = pairs.setdefault(found[1], {})
            pair[found[2]] = None if found[2] in pair else float(found[4])
    rails = []
    for name, pair in pairs.items():
        volts, amps = pair.get("V"), pair.get("A")
        watts = volts * amps if volts is not None and amps is not None else None
        rails.append(Rail(name, "pmic", watts, volts, amps, why="" if watts is not None else "it has no current"))
    return tuple(rails)


def _value(pattern: re.Pattern[str], text: str) -> float | None:
    found = pattern.fullmatch(text.strip())
    value = float(found[1]) if found else math.nan
    return value if math.isfinite(value) else None
