"""A report as titled tables: what Markdown, HTML and the terminal print alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runtimes.profile.report import PhaseReport, Report
from runtimes.profile.run import BACK_TO_BACK, CADENCE, KEPT_WARM
from runtimes.profile.statistics import Levels
from runtimes.profile.workload import STEPS

TOP_OPERATORS = 15
NOT_KNOWN = "unknown"


@dataclass(frozen=True)
class Section:
    """A table under a title, with a sentence; columns from `numbers` on hold numbers. `chart` names what is drawn."""

    title: str
    text: str = ""
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    numbers: int = 1
    chart: str = ""


def sections(report: Report) -> list[Section]:
    """All of them, in reading order."""
    return [section for make in _SECTIONS for section in make(report)]


def headline(report: Report) -> str:
    """One sentence: what, on what, how fast."""
    subject, machine = report.subject, report.machine
    phase = report.phase(BACK_TO_BACK)
    total = phase.total if phase else None
    took = f": p50 {milliseconds(total.p50)}, p90 {milliseconds(total.p90)}" if total else ""
    where = f"{machine.cpu} (sensors simulated)" if machine.simulated else machine.model or machine.cpu
    return f"{subject.bundle} on {subject.backend} {subject.precision}, {where}, a decision back to back{took}"


def milliseconds(value: float | None) -> str:
    """With three significant digits or so."""
    if value is None:
        return ""
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def number(value: float | None) -> str:
    """A plain number with four digits or so; empty for none."""
    if value is None:
        return ""
    value = round(value, 6) + 0.0  # no "-0.000"
    return f"{value:.{3 if abs(value) < 10 else 2 if abs(value) < 100 else 1}f}"


def _verdict(report: Report) -> Iterator[Section]:
    words = {True: "yes", False: "NO", None: NOT_KNOWN}
    rows = tuple((check.name, words[check.passed], check.detail) for check in report.verdict.checks)
    text = "The rules are those of loadgen's SingleStream, and what a device adds to them."
    yield Section("Verdict", text, ("check", "passed", "detail"), rows, numbers=3)


def _latency(report: Report) -> Iterator[Section]:
    for phase in report.phases:
        rows = [("end to end", phase.total)]
        rows += [(name, phase.steps[name]) for name in STEPS if name in phase.steps]
        rows += [("focus, per patch", phase.focus_patch)]
        if phase.late_ms:
            rows += [("start after its time", phase.late_ms)]
        text = f"{phase.decisions} decisions in {phase.seconds:.1f} s, {_duty(phase)}. Milliseconds."
        if phase.name == BACK_TO_BACK:
            text += f" {_BOUNDS}"
        chart = "steps" if phase.name == BACK_TO_BACK else ""
        yield Section(f"Latency, {_title(report, phase)}", text, _LEVELS, _level_rows(rows), chart=chart)


def _pause(report: Report) -> Iterator[Section]:
    phases = [phase for name in (BACK_TO_BACK, CADENCE, KEPT_WARM) if (phase := report.phase(name))]
    if len(phases) < 2:
        return
    rows: list[tuple[str, ...]] = []
    for name in ("end to end", *STEPS, "focus, per patch", "processor time a decision", "W"):
        values = [_typical(phase, name) for phase in phases]
        if any(value is not None for value in values):
            rows.append((name, *(f"{number(value)}{_ratio(value, values[0])}" for value in values)))
    text = (
        "Between decisions at a real rate clocks fall, caches empty and threads sleep, so the next call is slower. "
        "Medians in ms, and their ratio to back to back."
    )
    if report.phase(KEPT_WARM):
        text += " Kept warm: the focus net is called for nothing every 50 ms between decisions."
    yield Section("What a pause costs", text, ("", *(phase.name for phase in phases)), tuple(rows), chart="pause")


def _time(report: Report) -> Iterator[Section]:
    rows = tuple(
        (phase.name, number(piece.at), str(piece.count), number(piece.p50), number(piece.p90))
        for phase in report.phases
        for piece in phase.slices
    )
    width = report.phases[0].slice_s if report.phases else 0
    text = "End to end, in slices: of a minute, in phases under five minutes of a tenth of the phase."
    if width:
        yield Section("Over time", text, ("phase", "at s", "decisions", "p50 ms", "p90 ms"), rows, chart="time")


def _graphs(report: Report) -> Iterator[Section]:
    rows = _level_rows(list(report.graphs.items()))
    text = "Each graph for itself, call upon call, as an engine's own benchmark does. Milliseconds."
    yield Section("Bare graphs", text, _LEVELS, rows)


def _cold(report: Report) -> Iterator[Section]:
    cold = report.cold
    rows = [("load: open the engine, compile", number(cold.load_ms)), ("first decision", number(cold.first_ms))]
    rows += [(f"first decision, {name}", number(ms)) for name, ms in cold.first_steps_ms.items()]
    text = "The first decision calls each graph once, each for the first time. "
    text += f"Warm-up, not counted anywhere: {cold.warm_up} decisions in {cold.warm_up_s:.1f} s."
    yield Section("Load and first call", text, ("", "ms"), tuple(rows))


def _energy(report: Report) -> Iterator[Section]:
    energy = report.energy
    rows = []
    for phase in report.phases:
        found = phase.energy
        if found:
            values = (found.watts, found.idle_watts, found.gross_mj, found.net_mj)
            rows.append((phase.name, *map(number, values), str(found.readings)))
    named = f"Rail {energy.rail} ({energy.scope}): {energy.note}." if energy.rail else f"Energy {energy.note}."
    header = ("phase", "W", "idle W", "mJ per decision", "above idle", "readings")
    yield Section("Energy", f"{named} Method: {energy.method}.", header if rows else (), tuple(rows))
    if energy.rails:
        each = tuple((name, number(watts)) for name, watts in energy.rails.items())
        text = "On average back to back. Some are inside others: do not add them up."
        yield Section("Rails", text, ("rail", "W"), each)


def _sensors(report: Report) -> Iterator[Section]:
    found = report.throttle
    signs = [f"{kind}: {', '.join(found[kind])}" for kind in ("reasons", "limits", "warnings") if found[kind]]
    known = next((check.detail for check in report.verdict.checks if check.name == "throttling"), "")
    celsius = [value for value in report.heat.celsius if value is not None]
    heat = (
        f"The hottest sensor: {min(celsius):.1f} to {max(celsius):.1f} °C." if celsius else "No temperature to be read."
    )
    text = f"{heat} {known[:1].upper()}{known[1:]}. {'; '.join(signs)}".strip()
    yield Section("Heat, power and clocks over time", text, chart="heat")


def _machine(report: Report) -> Iterator[Section]:
    subject, machine = report.subject, report.machine
    facts = {
        "bundle": f"{subject.bundle}, manifest SHA-256 {subject.digest}",
        "engine": f"{subject.backend} {subject.precision}, {subject.threads} threads",
        "clip": f"{subject.clip}, {subject.snippets_per_decision} new snippets a decision",
        "processor": f"{machine.cpu}, {machine.cores} cores, {machine.memory_gb:g} GB",
        "system": machine.system,
        "device": ", ".join(filter(None, (machine.model, machine.module))) or NOT_KNOWN,
        "release": f"L4T {machine.l4t}, JetPack {machine.jetpack or NOT_KNOWN}" if machine.l4t else "",
        "power mode": machine.power_mode or NOT_KNOWN,
        "clocks pinned": {True: "yes", False: "no", None: NOT_KNOWN}[machine.pinned],
        "governor": ", ".join(machine.governors) or NOT_KNOWN,
        "processor MHz": _range(machine.cpu_mhz),
        "GPU MHz": _range(machine.gpu_mhz),
        "throttling": ", ".join((*report.throttle["reasons"], *report.throttle["limits"])) or "none seen",
        "warnings": ", ".join(report.throttle["warnings"]),
        "memory MiB": ", ".join(f"{name} {value:.0f}" for name, value in report.memory_mb.items() if value is not None),
        "versions": ", ".join(f"{tool} {text}" for tool, text in machine.versions.items()),
        "written": report.created,
    }
    rows = tuple((name, text) for name, text in facts.items() if text)
    yield Section("Device, versions, settings", "", ("", ""), rows, numbers=2)


def _operators(report: Report) -> Iterator[Section]:
    kinds: dict[tuple[str, str], float] = {}
    for one in report.operators:
        key = (one.graph, one.kind)
        kinds[key] = kinds.get(key, 0.0) + one.ms
    rows = sorted(kinds.items(), key=lambda item: -item[1])[:TOP_OPERATORS]
    text = f"{report.operators_note[:1].upper()}{report.operators_note[1:]}."
    table = tuple((graph, kind, number(ms)) for (graph, kind), ms in rows)
    yield Section("Operators by kind", text, ("graph", "kind", "ms") if table else (), table, numbers=2)
    if report.operators:
        costly = sorted(report.operators, key=lambda one: -one.ms)[:TOP_OPERATORS]
        each = tuple((one.graph, one.name, one.kind, one.kernel, number(one.ms)) for one in costly)
        text = f"The {len(costly)} costliest of {len(report.operators)}; the JSON has all."
        yield Section("Operators", text, ("graph", "operator", "kind", "kernel", "ms"), each, numbers=4)


def _notes(report: Report) -> Iterator[Section]:
    yield Section("Notes", " ".join(f"{note[:1].upper()}{note[1:]}." for note in report.notes))


_SECTIONS: tuple[Callable[[Report], Iterator[Section]], ...] = (
    _verdict, _latency, _pause, _time, _graphs, _cold, _energy, _sensors, _machine, _operators, _notes,
)  # fmt: skip
_BOUNDS = (
    "Bounds: with 99 % confidence the percentile is not above them; empty where there are too few samples (64 and 662 "
    "are the least)."
)
_LEVELS = ("", "count", "mean", "p50", "p90", "p99", "max", "p90 bound", "p99 bound")


def _typical(phase: PhaseReport, name: str) -> float | None:
    """The figure of a phase that `_pause` compares: a median, or a mean where there is only that."""
    if name == "processor time a decision":
        return phase.cpu_ms
    if name == "W":
        return phase.energy.watts if phase.energy else None
    found = {**phase.steps, "end to end": phase.total, "focus, per patch": phase.focus_patch}.get(name)
    return found.p50 if found else None


def _level_rows(rows: list[tuple[str, Levels | None]]) -> tuple[tuple[str, ...], ...]:
    keys = ("mean", "p50", "p90", "p99", "max", "p90_bound", "p99_bound")
    return tuple((name, str(one.count), *(number(getattr(one, key)) for key in keys)) for name, one in rows if one)


def _title(report: Report, phase: PhaseReport) -> str:
    return phase.name if phase.name == BACK_TO_BACK else f"{phase.name} ({report.plan.cadence:g} decisions a second)"


def _duty(phase: PhaseReport) -> str:
    calls = f"{phase.focus_calls / phase.decisions:.2f} focus calls a decision, none in {phase.focus_free} of them"
    missed = f", {phase.missed} left out" if phase.missed else ""
    return calls + missed + (f", {phase.warm_calls} calls to keep warm" if phase.warm_calls else "")


def _ratio(value: float | None, base: float | None) -> str:
    return f" (x{value / base:.2f})" if value is not None and base and value is not base else ""


def _range(limits: tuple[float | None, float | None] | None) -> str:
    if limits is None:
        return NOT_KNOWN
    return " to ".join(NOT_KNOWN if limit is None else f"{limit:g}" for limit in limits)
