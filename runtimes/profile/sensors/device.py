"""Which board this is, and which release of NVIDIA's system runs on it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtimes.profile.sensors.tree import Tree

_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")
_RELEASE = re.compile(r"# R(\d{1,3}) \(release\), REVISION: (\d{1,3}(?:\.\d{1,3}){0,2})(?=[,\s]|$)")
_PACKAGE = re.compile(r"(\d{1,3})\.(\d{1,3}(?:\.\d{1,3})?)-")
_CHIP = re.compile(r"nvidia,(tegra\d+)")
_MODULE = re.compile(r"(p\d{4})-(\d{4})")

# L4T release -> JetPack; the longest entry that a release begins with counts. A release of the form "35.6.4" that is
# not listed has no certain JetPack.
JETPACKS = {
    "28": "3",
    "31.1": "4.1.1",
    "32.1": "4.2",
    "32.3.1": "4.3",
    "32.4.3": "4.4",
    "32.4.4": "4.4.1",
    "32.5.1": "4.5.1",
    "32.6.1": "4.6",
    **{f"32.7.{patch}": f"4.6.{patch}" for patch in range(1, 7)},
    "34.1": "5.0 preview",
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "35.6.3": "5.1.5",
    "35.6.4": "5.1.6",
    "36.2.0": "6.0 preview",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
}
# By the module's number in `compatible`: BOARD of the release file and the model string do not name it.
MODULES = {
    "p2180": "TX1",
    "p3448-0003": "Nano 2GB",
    "p3448": "Nano",
    "p3310": "TX2",
    "p2888": "AGX Xavier",
    "p3668": "Xavier NX",
    "p3701": "AGX Orin",
    "p3767-0000": "Orin NX 16GB",
    "p3767-0001": "Orin NX 8GB",
    "p3767-0003": "Orin Nano 8GB",
    "p3767-0004": "Orin Nano 4GB",
    "p3767-0005": "Orin Nano 8GB developer kit",
    "p3834": "AGX Thor",
}
# Boards of early releases, which give no number.
NAMES = {"nvidia,jetson-cv": "TX1", "nvidia,quill": "TX2", "nvidia,galen": "AGX Xavier", "nvidia,jetson-nano": "Nano"}


@dataclass(frozen=True)
class Device:
    """What the device tree and the release file say; None where they say nothing."""

    model: str | None
    chip: str | None
    """Such as `tegra234`; on other boards the last entry of `compatible` (`brcm,bcm2712`)."""
    module: str | None
    l4t: str | None
    jetpack: str | None

    @property
    def jetson(self) -> bool:
        """Whether this is a Jetson."""
        return (self.chip or "").startswith("tegra") or self.l4t is not None

    @property
    def raspberry(self) -> bool:
        """Whether this is a Raspberry Pi."""
        return "raspberry pi" in (self.model or "").lower()


def read_device(tree: Tree) -> Device:
    """Read the board's identity."""
    model = next((text for place in _TREES if (text := tree.read(f"{place}/model"))), None)
    text = next((text for place in _TREES if (text := tree.read(f"{place}/compatible"))), "")
    entries = [entry for entry in text.split("\0") if entry]
    l4t = parse_release(tree.read("etc/nv_tegra_release")) or _packaged(tree)
    chip = next((found[1] for entry in entries if (found := _CHIP.fullmatch(entry))), None)
    return Device(model, chip or (entries[-1] if entries else None), _module(entries), l4t, jetpack_of(l4t))


def parse_release(text: str | None) -> str | None:
    """`36.4.3` from the first line of /etc/nv_tegra_release."""
    found = _RELEASE.match(text or "")
    return f"{found[1]}.{found[2]}" if found else None


def jetpack_of(l4t: str | None) -> str | None:
    """The JetPack of an L4T release; None where it is not known."""
    fits = [listed for listed in JETPACKS if l4t == listed or (l4t or "").startswith(f"{listed}.")]
    return JETPACKS[max(fits, key=len)] if fits else None


def _packaged(tree: Tree) -> str | None:
    """The release by the package's version, where an image lacks the release file."""
    found = _PACKAGE.match(tree.command("dpkg-query", "-W", "-f=${Version}", "nvidia-l4t-core") or "")
    return f"{found[1]}.{found[2]}" if found else None


def _module(entries: list[str]) -> str | None:
    for entry in entries:
        # "p3768-0000+p3767-0005-super": the carrier comes first, so the last number that is known counts
        for board, variant in reversed(_MODULE.findall(entry)):
            name = MODULES.get(f"{board}-{variant}") or MODULES.get(board)
            if name:
                return name
    return next((NAMES[entry] for entry in entries if entry in NAMES), None)
