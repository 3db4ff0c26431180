"""Cameras, microphones and accelerators."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from avgn.extras import install_line
from runtimes.doctor.finding import Finding, State
from runtimes.profile.sensors.device import read_device
from runtimes.profile.sensors.tree import Tree

NVIDIA = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
PORTAUDIO = "sudo apt-get install libportaudio2"


def camera_findings(tree: Tree) -> Iterator[Finding]:
    """The cameras that the kernel has, each node that gives pictures once."""
    found = False
    for node in tree.find("dev/video[0-9]*"):
        about = f"sys/class/video4linux/{node.removeprefix('dev/')}"
        if tree.read(f"{about}/index") not in (None, "0"):
            continue  # a further node of the same camera: metadata
        found = True
        yield _node("camera", tree, node, tree.read(f"{about}/name") or "no name", "video")
    if not found:
        yield Finding(
            "camera", "cameras", State.ABSENT, "none is connected; files, streams and replays work all the same"
        )


def microphone_findings(tree: Tree, listing: Callable[[], Sequence[str]]) -> Iterator[Finding]:
    """The microphones that `listing` gives. It may raise ImportError (no sounddevice) and OSError (no PortAudio)."""
    try:
        names = listing()
    except ImportError:
        yield Finding("microphone", "sounddevice", State.ABSENT, "not installed", install_line("live"))
        return
    except OSError:
        yield Finding("microphone", "PortAudio", State.PROBLEM, "sounddevice cannot find this library", PORTAUDIO)
        return
    for name in names:
        yield Finding("microphone", name, State.OK, "found")
    if not names:
        seen = "capture" in (tree.read("proc/asound/pcm") or "")
        says = "the kernel has one, but PortAudio cannot use it (held by another program, or no right to)"
        yield (
            Finding("microphone", "microphones", State.PROBLEM, says, "sudo usermod -aG audio $USER")
            if seen
            else Finding("microphone", "microphones", State.ABSENT, "none is connected")
        )


def accelerator_findings(tree: Tree) -> Iterator[Finding]:
    """Graphics and neural processors that the system shows, and the board where it is a Jetson or a Raspberry Pi."""
    before = False
    device = read_device(tree)
    if device.jetson or device.raspberry:
        before = True
        told = [
            device.module,
            device.chip,
            device.l4t and f"L4T {device.l4t}",
            device.jetpack and f"JetPack {device.jetpack}",
        ]
        yield Finding("accelerator", device.model or "Jetson", State.OK, ", ".join(filter(None, told)) or "known board")
    for line in (tree.command(*NVIDIA) or "").splitlines():
        before = True
        name, *rest = (part.strip() for part in line.split(","))
        fails = not rest
        says = "nvidia-smi cannot reach the driver" if fails else f"driver {', '.join(rest)}"
        yield Finding(
            "accelerator",
            "NVIDIA" if fails else name,
            State.PROBLEM if fails else State.OK,
            f"{says} ({line.strip()})" if fails else says,
            "sudo modprobe nvidia" if fails else "",
        )
        if fails:
            break
    for node in tree.find("dev/dri/renderD*", "dev/accel/accel*"):
        before = True
        kind = "graphics" if "/dri/" in node else "neural processor"
        yield _node("accelerator", tree, node, kind, "render")
    if not before:
        yield Finding("accelerator", "accelerators", State.ABSENT, "none found; everything runs on the processor")


def _node(area: str, tree: Tree, node: str, says: str, group: str) -> Finding:
    if os.access(tree.root / node, os.R_OK | os.W_OK):
        return Finding(area, f"/{node}", State.OK, says)
    return Finding(area, f"/{node}", State.PROBLEM, f"{says}: no right to open it", f"sudo usermod -aG {group} $USER")
