"""All that a profile found, as one table that is written as JSON, HTML and Markdown, and read back to be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avgn.errors import InputError
from avgn.files import parse_json
from avgn.schema import build, plain
from runtimes.profile.energy import PhaseEnergy
from runtimes.profile.run import Plan
from runtimes.profile.statistics import Levels, Slice
from runtimes.profile.verdict import Verdict

VERSION = 1
MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Subject:
    """What was run: the bundle, by its name and the SHA-256 of its manifest, and the engine."""

    bundle: str
    digest: str
    backend: str
    precision: str
    threads: int
    clip: str
    snippets_per_decision: int


@dataclass(frozen=True)
class Machine:
    """What it was run on, and how that was set; None for what cannot be known here."""

    cpu: str
    cores: int | None
    memory_gb: float
    system: str
    model: str | None
    module: str | None
    l4t: str | None
    jetpack: str | None
    power_mode: str | None
    pinned: bool | None
    governors: tuple[str, ...]
    cpu_mhz: tuple[float | None, float | None] | None
    """Least and most of the first core."""
    gpu_mhz: tuple[float | None, float | None] | None
    versions: dict[str, str]
    simulated: bool = False
    """Whether the sensors came from a folder, not from this machine."""


@dataclass(frozen=True)
class Cold:
    """Milliseconds of what happens once: opening bundle and engine, and the first decision by step."""

    load_ms: float
    first_ms: float
    first_steps_ms: dict[str, float]
    warm_up: int
    warm_up_s: float


@dataclass(frozen=True)
class PhaseReport:
    """A phase in numbers. `steps`: by step; `focus_patch`: a single call of the focus net."""

    name: str
    seconds: float
    decisions: int
    focus_calls: int
    focus_free: int
    """Decisions without any call of the focus net."""
    missed: int
    warm_calls: int
    late_ms: Levels | None
    cpu_ms: float
    """Processor time of the whole process for each decision, all threads together."""
    total: Levels | None
    steps: dict[str, Levels]
    focus_patch: Levels | None
    slices: tuple[Slice, ...]
    slice_s: float
    energy: PhaseEnergy | None


@dataclass(frozen=True)
class EnergyReport:
    """Which rail, of what scope, and how; `rail` None where no rail is the total and none was named."""

    rail: str | None
    scope: str | None
    idle_watts: float | None
    note: str
    method: str
    rails: dict[str, float]
    """Watts of every power rail that could be read, on average back to back. They are not to be added up."""


@dataclass(frozen=True)
class Heat:
    """Degrees Celsius of the hottest sensor, and MHz of the fastest core, over time (seconds from the start)."""

    at: tuple[float, ...]
    celsius: tuple[float | None, ...]
    cpu_mhz: tuple[float | None, ...]
    gpu_mhz: tuple[float | None, ...]
    watts: tuple[float | None, ...]


@dataclass(frozen=True)
class OperatorReport:
    """One line of the table of operators."""

    graph: str
    name: str
    kind: str
    kernel: str
    ms: float


@dataclass(frozen=True)
class Report:
    """A profile."""

    version: int
    created: str
    verdict: Verdict
    subject: Subject
    machine: Machine
    plan: Plan
    cold: Cold
    graphs: dict[str, Levels]
    phases: tuple[PhaseReport, ...]
    energy: EnergyReport
    heat: Heat
    throttle: dict[str, tuple[str, ...]]
    memory_mb: dict[str, float | None]
    operators: tuple[OperatorReport, ...]
    operators_note: str
    notes: tuple[str, ...]

    def phase(self, name: str) -> PhaseReport | None:
        """A phase by name."""
        return next((phase for phase in self.phases if phase.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        data: dict[str, Any] = plain(self)
        return data


def read_report(path: Path) -> Report:
    """A report that was written as JSON; InputError for anything else."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as fault:
        raise InputError(f"{path}: cannot be read ({fault.strerror}); check the path.") from fault
    if len(data) > MOST_BYTES:
        raise InputError(f"{path}: is too large for a profile; give the file that `avgn profile --json` wrote.")
    table = parse_json(data, str(path))
    version = table.get("version") if isinstance(table, dict) else None
    if version != VERSION:
        raise InputError(f"{path}: is not a profile of version {VERSION}; write it again with `avgn profile --json`.")
    return build(Report, table, str(path))


def to_json(report: Report) -> str:
    """The text of a report's file."""
    return json.dumps(report.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
