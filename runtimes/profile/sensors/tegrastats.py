"""One line of NVIDIA's tegrastats, of any release, read whole; what is not understood is kept as it stands.

Field patterns are tried at each place in turn, since releases differ in spaces, units and order. A number is taken
only from a field that is complete and of a known form: half a line gives fewer values, never other ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runtimes.profile.sensors.thermal import Temperature, temperature

_END = r"(?=\s|$)"
_UNITS = {"kB": 1 / 1024, "MB": 1.0, "GB": 1024.0}
_BLOCK = r"(\d{1,9})x(\d{1,9})([kMG]B)"
# Blocks with a clock of their own. A load with a clock, or "off", says what it is whatever the name; a bare number or
# percentage is believed of those that the documentation of some release names.
_ENGINES = (
    r"EMC|EMC_FREQ|GR3D|GR3D\d?_FREQ|APE|MSENC|(?:NVENC|NVDEC|NVJPG|NVDLA|PVA|OFA|SE|ISP|VIC|TSEC)\d{0,2}(?:_FREQ)?"
)
_LOADED = re.compile(r"EMC.*|GR3D.*")  # a bare number is never their clock
# JetPack 4 prints power without a unit, so that only the name tells it from other pairs of numbers.
_RAILS = re.compile(r"V[A-Z]{1,3}\w*|POM_\w+|SYS\w+|GPU|CPU|SOC|CV|NC")
_OTHERS = r"RAM|SWAP|IRAM|MTS|CPU"
_RESERVED = re.compile(rf"{_OTHERS}|{_ENGINES}")


@dataclass(frozen=True)
class Memory:
    """MiB; of the largest free blocks (`lfb`) their number and size, of swap what is `cached`."""

    used: float
    total: float
    blocks: int | None = None
    block: float | None = None
    cached: float | None = None


@dataclass(frozen=True)
class Clocked:
    """A core or another block: `load` in percent, clocks in MHz (several for a GPU of several parts).

    What the line does not say is None, or empty; `on` is False for one that is off.
    """

    load: int | None = None
    mhz: tuple[int, ...] = ()
    on: bool = True


@dataclass(frozen=True)
class RailLine:
    """Milliwatts now. `average` runs since tegrastats was started, so energy is the integral of `now`."""

    name: str
    now: int
    average: int
    third: int | None = None
    """Release 39 prints a third number, probably the maximum."""


@dataclass(frozen=True)
class Tegrastats:
    """A line. Names are those of the line; a rail may come twice (`NC`), so rails are a list."""

    time: datetime | None = None
    ram: Memory | None = None
    swap: Memory | None = None
    iram: Memory | None = None
    cores: tuple[Clocked, ...] = ()
    engines: dict[str, Clocked] = field(default_factory=dict)
    mts: tuple[int, int] | None = None
    """Foreground and background load of the code translation of TX2 and Xavier, percent."""
    temperatures: tuple[Temperature, ...] = ()
    rails: tuple[RailLine, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether everything in the line was understood."""
        return not self.unknown

    @property
    def emc(self) -> Clocked | None:
        """The memory controller."""
        return self._engine("EMC_FREQ", "EMC")

    @property
    def gpu(self) -> Clocked | None:
        """The graphics processor."""
        return self._engine("GR3D_FREQ", "GR3D")

    def celsius(self, name: str) -> float | None:
        """A temperature by the line's name of it."""
        return next((one.celsius for one in self.temperatures if one.name == name), None)

    def milliwatts(self, name: str) -> int | None:
        """What a rail draws now; None where no rail, or more than one, has this name."""
        found = [rail.now for rail in self.rails if rail.name == name]
        return found[0] if len(found) == 1 else None

    def _engine(self, *names: str) -> Clocked | None:
        return next((self.engines[name] for name in names if name in self.engines), None)


def parse_line(line: str) -> Tegrastats:
    """Read one line. Never raises: a line of nonsense is a Tegrastats of `unknown` words."""
    draft = _Draft()
    place = 0
    while place < len(line):
        if line[place].isspace():
            place += 1
            continue
        place = _field(line, place, draft)
    return draft.done()


def parse_log(text: str) -> list[Tegrastats]:
    """The lines of a log that were understood whole; a last line that a kill cut off (no line end) is dropped."""
    lines = text.split("\n")[:-1]
    found = [parse_line(line) for line in lines if line.strip()]
    return [one for one in found if one.whole]


class _Draft:
    """What has been read so far; a field that comes twice is not believed the second time."""

    def __init__(self) -> None:
        self.single: dict[str, Any] = {}
        self.engines: dict[str, Clocked] = {}
        self.temperatures: dict[str, Temperature] = {}
        self.rails: list[RailLine] = []
        self.unknown: list[str] = []

    def once(self, table: dict[str, Any], name: str, value: Any) -> bool:
        if value is None or name in table:
            return False
        table[name] = value
        return True

    def done(self) -> Tegrastats:
        return Tegrastats(
            **self.single,
            engines=self.engines,
            temperatures=tuple(self.temperatures.values()),
            rails=tuple(self.rails),
            unknown=tuple(self.unknown),
        )


def _field(line: str, place: int, draft: _Draft) -> int:
    """Read the field at `place` and return where it ends; a word that is none goes to `unknown`."""
    for pattern, take in _FIELDS:
        found = pattern.match(line, place)
        if found and take(draft, found):
            return found.end()
    word = re.compile(r"\S+").match(line, place)
    assert word is not None, "the place is no space"
    draft.unknown.append(word[0])
    return word.end()


def _time(draft: _Draft, found: re.Match[str]) -> bool:
    try:
        value = datetime.strptime(found[0], "%m-%d-%Y %H:%M:%S")
    except ValueError:
        return False
    return draft.once(draft.single, "time", value)


def _memory(draft: _Draft, found: re.Match[str]) -> bool:
    name, used, total, unit, kind, *sizes = found.groups()
    scale = _UNITS[unit]
    if int(used) > int(total):
        return False
    if kind == "lfb" and sizes[0]:
        extra: dict[str, Any] = {"blocks": int(sizes[0]), "block": int(sizes[1]) * _UNITS[sizes[2]]}
    else:
        extra = {"block" if kind == "lfb" else "cached": int(sizes[3]) * _UNITS[sizes[4]]}
    return draft.once(draft.single, name.lower(), Memory(int(used) * scale, int(total) * scale, **extra))


def _cores(draft: _Draft, found: re.Match[str]) -> bool:
    common = (int(found[2]),) if found[2] else ()
    cores = []
    for word in found[1].split(","):
        core = _CORE.fullmatch(word.strip())
        if core is None or (core[1] and int(core[1]) > 100):
            return False
        clock = (int(core[2]),) if core[2] else common
        cores.append(Clocked(int(core[1]), clock) if core[1] else Clocked(on=False))
    return draft.once(draft.single, "cores", tuple(cores))


def _mts(draft: _Draft, found: re.Match[str]) -> bool:
    loads = int(found[1]), int(found[2])
    return max(loads) <= 100 and draft.once(draft.single, "mts", loads)


def _temperature(draft: _Draft, found: re.Match[str]) -> bool:
    # release 39 prints a second number of unknown meaning
    return draft.once(draft.temperatures, found[1], temperature(found[1], float(found[2]) * 1000))


def _rail(draft: _Draft, found: re.Match[str]) -> bool:
    name, now, average, third = found["name"], *(found[part] for part in ("now", "average", "third"))
    named = _RAILS.fullmatch(name) or (found["unit"] and not _RESERVED.fullmatch(name))
    if not named or (name != "NC" and any(rail.name == name for rail in draft.rails)):
        return False
    draft.rails.append(RailLine(name, int(now), int(average), int(third) if third else None))
    return True


def _clock(draft: _Draft, found: re.Match[str]) -> bool:
    """A block that is off, or has a clock; load is not shown everywhere."""
    name, off, load, clocks, clock = found.groups()
    if load and int(load) > 100:
        return False
    mhz = tuple(int(one) for one in (clocks or clock or "").split(",") if one)
    return draft.once(draft.engines, name, Clocked(on=False) if off else Clocked(int(load) if load else None, mhz))


def _bare(draft: _Draft, found: re.Match[str]) -> bool:
    """A load without a clock (not root), or a clock without a load (older releases)."""
    name, load, clock = found.groups()
    if (load and int(load) > 100) or (clock and _LOADED.fullmatch(name)):
        return False
    return draft.once(draft.engines, name, Clocked(int(load)) if load else Clocked(None, (int(clock),)))


_CORE = re.compile(r"(?:(\d{1,3})%(?:@(\d{1,5}))?|off)")
_MHZ = r"\d{1,5}"
_CELSIUS = r"(-?\d{1,4}(?:\.\d{1,6})?)C"
_FIELDS: tuple[tuple[re.Pattern[str], Callable[[_Draft, re.Match[str]], bool]], ...] = (
    (re.compile(rf"\d\d-\d\d-\d{{4}} \d\d:\d\d:\d\d{_END}", re.ASCII), _time),
    (
        re.compile(
            rf"(RAM|SWAP|IRAM) (\d{{1,9}})/(\d{{1,9}})([kMG]B)\s*"
            rf"\((lfb|cached) (?:{_BLOCK}|(\d{{1,9}})([kMG]B))\){_END}",
            re.ASCII,
        ),
        _memory,
    ),
    (re.compile(rf"(?:CPU|cpu) \[([^\[\]]*)\](?:@({_MHZ}))?{_END}", re.ASCII), _cores),
    (re.compile(rf"MTS fg (\d{{1,3}})% bg (\d{{1,3}})%{_END}", re.ASCII), _mts),
    (
        re.compile(rf"([A-Za-z][\w-]*)@{_CELSIUS}(?:/{_CELSIUS})?{_END}", re.ASCII),
        _temperature,
    ),
    (
        re.compile(
            r"(?P<name>[A-Za-z][\w-]*)\s+(?P<now>\d{1,7})(?P<unit>mW)?/(?P<average>\d{1,7})(?(unit)mW)"
            rf"(?:/(?P<third>\d{{1,7}})(?(unit)mW))?{_END}",
            re.ASCII,
        ),
        _rail,
    ),
    (
        re.compile(
            rf"(?!(?:{_OTHERS})\s)([A-Z][A-Z0-9_]*)\s+"
            rf"(?:(off)|(?:(\d{{1,3}})%)?(?:@\[({_MHZ}(?:,{_MHZ})*)\]|@({_MHZ}))){_END}",
            re.ASCII,
        ),
        _clock,
    ),
    (
        re.compile(
            rf"({_ENGINES})\s+(?:(\d{{1,3}})%|({_MHZ})){_END}",
            re.ASCII,
        ),
        _bare,
    ),
)
