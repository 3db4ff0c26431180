"""The whole examination, in the order in which it is told."""

from __future__ import annotations

import importlib
import platform
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path

from runtimes.doctor.devices import accelerator_findings, camera_findings, microphone_findings
from runtimes.doctor.finding import Finding, State
from runtimes.doctor.packages import Versions, base_findings, extra_findings, pair_findings, plain_name
from runtimes.doctor.processor import processor_findings
from runtimes.doctor.storage import disk_findings
from runtimes.machine import usable_cores
from runtimes.profile.sensors.tree import Tree


def examine(tree: Tree | None = None) -> tuple[Finding, ...]:
    """Look at everything; nothing is changed. Takes a second or a few: engines are loaded to see whether they load."""
    return tuple(_all(tree or Tree()))


def works(findings: Sequence[Finding]) -> bool:
    """Whether a decision can be made on this machine."""
    return not any(finding.stops for finding in findings)


def _all(tree: Tree) -> Iterator[Finding]:
    versions = installed()
    yield Finding("device side", "python", State.OK, f"{platform.python_version()} on {platform.platform()}")
    base = tuple(base_findings())
    yield from base
    if works(base):
        yield from _engines(versions)
    yield from pair_findings(versions)
    yield from extra_findings(requirements(), versions)
    yield from camera_findings(tree)
    yield from microphone_findings(tree, microphones)
    yield from processor_findings(tree, usable_cores())
    yield from accelerator_findings(tree)
    yield from disk_findings({"here": Path.cwd(), "scratch files": Path(tempfile.gettempdir())})


def _engines(versions: Versions) -> Iterator[Finding]:
    from avgn.bundle import default_bundle  # what stands on numpy, which may be broken
    from runtimes.doctor.device_side import bundle_findings, engine_findings

    yield from bundle_findings(default_bundle())
    yield from engine_findings(versions)


def installed() -> Versions:
    """The versions of all installed packages."""
    return {plain_name(each.metadata["Name"]): each.version for each in distributions() if each.metadata["Name"]}


def requirements() -> list[str]:
    """What avgn's own metadata asks for; nothing where it is run from a folder without being installed."""
    try:
        return requires("avgn") or []
    except PackageNotFoundError:
        return []


def microphones() -> list[str]:
    """Names of the microphones. Raises ImportError (no sounddevice) and OSError (no PortAudio)."""
    sounddevice = importlib.import_module("sounddevice")
    from runtimes.capture.microphone import inputs, stable_name  # stands on numpy

    return list(dict.fromkeys(stable_name(device["name"]) for device in inputs(sounddevice)))
