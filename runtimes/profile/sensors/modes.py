"""The power mode of a Jetson (`nvpmodel -q`) and whether its clocks are pinned (`jetson_clocks --show`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from runtimes.profile.sensors.tree import Tree

_NAME = re.compile(r"(?:NVPM VERB: Current mode: )?NV Power Mode: ?([\w.+-]{1,64})")
_ID = re.compile(r"\d{1,3}")
_CPU = re.compile(r"(cpu\d{1,3}): +(.*)")
_BLOCK = re.compile(r"(GPU|EMC)[\w-]* (.*)")
_PAIR = re.compile(r"(\w+)=(\S+)")
_LIMITS = ("MinFreq", "MaxFreq", "CurrentFreq")
_TO_MHZ = {"cpu": 1e3, "GPU": 1e6, "EMC": 1e6}


@dataclass(frozen=True)
class PowerMode:
    """Name and number; numbers mean something else on every board, and watts in a name are not enforced."""

    name: str
    number: int | None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name} ({self.number})"


@dataclass(frozen=True)
class Block:
    """MHz of a processor core, the graphics processor or the memory controller."""

    name: str
    least: float | None
    most: float | None
    now: float | None
    on: bool = True
    governor: str | None = None

    @property
    def pinned(self) -> bool | None:
        """Whether it can run at one clock only, and does."""
        known = [value for value in (self.least, self.most, self.now) if value is not None]
        return len(set(known)) == 1 if len(known) == 3 else None


@dataclass(frozen=True)
class JetsonClocks:
    """What `jetson_clocks --show` prints; it wants root."""

    blocks: tuple[Block, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)
    why: str = ""

    @property
    def pinned(self) -> bool | None:
        """Whether all blocks that are on are pinned (by jetson_clocks); None where that is not shown."""
        found = [block.pinned for block in self.blocks if block.on]
        if not found or any(one is None for one in found):
            return None
        return all(found)


def read_mode(tree: Tree) -> PowerMode | None:
    """The mode now; None where there is no nvpmodel."""
    return parse_mode(tree.command("nvpmodel", "-q") or "")


def read_jetson_clocks(tree: Tree) -> JetsonClocks | None:
    """The clocks as root sees them; None where there is no jetson_clocks."""
    text = tree.command("jetson_clocks", "--show") or tree.command("jetson_clocks", "--show", "nonroot")
    return parse_jetson_clocks(text) if text else None


def parse_mode(text: str) -> PowerMode | None:
    """The name line, and the number alone on a line after it; lines of warnings may stand around."""
    name: str | None = None
    for line in text.splitlines():
        plain = line.strip()
        found = _NAME.fullmatch(plain)
        if found and name is None:
            name = found[1]
        elif name is not None and plain.isascii() and _ID.fullmatch(plain):
            return PowerMode(name, int(plain))
    return PowerMode(name, None) if name else None


def parse_jetson_clocks(text: str) -> JetsonClocks:
    """Blocks with their limits, and the other `name: value` lines as they stand."""
    if "root user" in text:
        return JetsonClocks(why="only root may see it")
    blocks, fields = [], {}
    for line in text.splitlines():
        plain = line.strip()
        found = _CPU.fullmatch(plain) or _BLOCK.fullmatch(plain)
        pairs = dict(_PAIR.findall(found[2])) if found else {}
        if found and any(limit in pairs for limit in _LIMITS):
            scale = _TO_MHZ[found[1][:3]]
            least, most, now = (_mhz(pairs.get(limit), scale) for limit in _LIMITS)
            governor = pairs.get("Governor") or pairs.get("Gonvernor")  # sic, in release 28
            blocks.append(Block(found[1], least, most, now, pairs.get("Online", "1") != "0", governor))
        elif ":" in plain:
            name, _, value = plain.partition(":")
            fields[name.strip()] = value.strip()
    return JetsonClocks(tuple(blocks), fields)


def _mhz(text: str | None, scale: float) -> float | None:
    return int(text) / scale if text and text.isascii() and text.isdecimal() and len(text) <= 12 else None
