"""Two profiles side by side, and what speaks against comparing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from runtimes.profile.report import Report
from runtimes.profile.sections import Section, number


@dataclass(frozen=True)
class Pair:
    """A figure of both; `ratio` is b / a. None where one has it not."""

    name: str
    unit: str
    a: float | None
    b: float | None

    @property
    def ratio(self) -> float | None:
        """How many times a."""
        return self.b / self.a if self.a and self.b is not None else None


@dataclass(frozen=True)
class Comparison:
    """All figures, and reasons to be careful with them."""

    a: str
    b: str
    warnings: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        data = asdict(self)
        data["pairs"] = [asdict(pair) | {"ratio": pair.ratio} for pair in self.pairs]
        return data


def compare(first: Report, second: Report) -> Comparison:
    """Medians and more of two reports."""
    return Comparison(
        _name(first),
        _name(second),
        tuple(_warnings(first, second)),
        tuple(_pairs(first, second)),
    )


def comparison_sections(found: Comparison) -> list[Section]:
    """As tables."""
    rows = tuple(
        (f"{pair.name} {pair.unit}", number(pair.a), number(pair.b), "" if pair.ratio is None else f"x{pair.ratio:.3f}")
        for pair in found.pairs
    )
    text = f"A: {found.a}. B: {found.b}. The ratio is B / A."
    care = "; ".join(found.warnings) or "nothing"
    return [
        Section("Figures", text, ("", "A", "B", "ratio"), rows),
        Section("What speaks against comparing them", f"{care[:1].upper()}{care[1:]}."),
    ]


def _name(report: Report) -> str:
    subject, machine = report.subject, report.machine
    mode = f", {machine.power_mode}" if machine.power_mode else ""
    where = machine.model or machine.cpu
    return f"{subject.bundle} {subject.backend} {subject.precision}, {where}{mode}, {report.created}"


def _warnings(first: Report, second: Report) -> Iterator[str]:
    for letter, report in (("A", first), ("B", second)):
        if not report.verdict.valid:
            yield f"{letter} is {report.verdict}"
    for name, of in _SAME.items():
        if of(first) != of(second):
            yield f"they differ in {name}: {of(first)} and {of(second)}"
    if first.energy.scope != second.energy.scope:
        yield "energy is left out: the rails are of different scope"


def _pairs(first: Report, second: Report) -> Iterator[Pair]:
    """The figures of both, in the order of the first."""
    mine, other = figures(first), figures(second)
    for key in dict.fromkeys((*mine, *other)):
        name, unit = key
        if unit != "mJ" or first.energy.scope == second.energy.scope:
            yield Pair(name, unit, mine.get(key), other.get(key))


def figures(report: Report) -> dict[tuple[str, str], float]:
    """What is worth comparing, by name and unit."""
    found: dict[tuple[str, str], float | None] = {}
    for graph, one in report.graphs.items():
        found[(f"bare {graph}, p50", "ms")] = one.p50
    for phase in report.phases:
        if phase.total:
            found[(f"{phase.name}, end to end, p50", "ms")] = phase.total.p50
            found[(f"{phase.name}, end to end, p90", "ms")] = phase.total.p90
        for step, one in phase.steps.items():
            found[(f"{phase.name}, {step}, p50", "ms")] = one.p50
        energy = phase.energy.net_mj if phase.energy else None
        found[(f"{phase.name}, energy a decision above idle", "mJ")] = energy
    found[("load", "ms")] = report.cold.load_ms
    found[("first decision", "ms")] = report.cold.first_ms
    found[("peak memory", "MiB")] = report.memory_mb.get("peak")
    return {key: value for key, value in found.items() if value is not None}


_SAME: dict[str, Callable[[Report], object]] = {
    "bundle": lambda one: one.subject.digest[:12],
    "device": lambda one: one.machine.model or one.machine.cpu,
    "power mode": lambda one: one.machine.power_mode,
    "governor": lambda one: ", ".join(one.machine.governors) or None,
    "threads": lambda one: one.subject.threads,
    "clip": lambda one: one.subject.clip,
    "snippets a decision": lambda one: one.subject.snippets_per_decision,
    "cadence": lambda one: one.plan.cadence,
}
