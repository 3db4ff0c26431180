"""From what was measured and what the sensors said to a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from runtimes.bench import machine as this_machine
from runtimes.bench import versions
from runtimes.profile.energy import METHOD, Drawn, drawn, phase_energy
from runtimes.profile.report import VERSION, Cold, EnergyReport, Heat, Machine, PhaseReport, Report, Subject
from runtimes.profile.run import BACK_TO_BACK, IDLE, Course, Phase, Plan
from runtimes.profile.sensors.power import Power
from runtimes.profile.sensors.snapshot import Settings, Snapshot, settings_of
from runtimes.profile.sensors.throttle import over_run
from runtimes.profile.statistics import curve, levels, slice_width
from runtimes.profile.verdict import judge
from runtimes.profile.watch import Reading
from runtimes.profile.workload import STEPS

SUSTAINED_S = 600.0
MOST_OTHERS = 0.1  # cores that others may use before it is worth a word


@dataclass(frozen=True)
class Seen:
    """What the sensors said: readings all through, everything before, settings after. `rail` is the user's choice."""

    readings: list[Reading]
    first: Snapshot
    after: Settings
    rail: str | None = None
    simulated: bool = False

    def between(self, phase: Phase) -> list[Reading]:
        """The readings of a phase, its borders included."""
        return [reading for reading in self.readings if phase.begin <= reading.at <= phase.end]


def assemble(course: Course, plan: Plan, seen: Seen, subject: Subject, load_ms: float) -> Report:
    """The report of a run, without memory and operators."""
    throttle = over_run([reading.throttle for reading in seen.readings])
    start = seen.readings[0].at
    energy = energy_report(course, seen)
    before = settings_of(seen.first)
    return Report(
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        verdict=judge(course, throttle, before, seen.after, seen.between(course.phases[BACK_TO_BACK])),
        subject=subject,
        machine=_machine(seen, before),
        plan=plan,
        cold=_cold(course, load_ms),
        graphs={graph: found for graph, spent in course.graphs_ms.items() if (found := levels(spent))},
        phases=tuple(_phases(course, seen, start, energy)),
        energy=energy,
        heat=_heat(seen.readings, start, energy.rail),
        throttle={"reasons": throttle.reasons, "limits": throttle.limits, "warnings": throttle.warnings},
        memory_mb={},
        operators=(),
        operators_note="",
        notes=tuple(_notes(plan, seen, course)),
    )


def phase_report(phase: Phase, start: float) -> PhaseReport:
    """A phase in numbers, without energy; `start` of the profile on the run's clock."""
    samples = phase.samples
    decided = [sample.decided for sample in samples]
    totals = [one.total_ms for one in decided]
    times = [sample.at - start for sample in samples]
    steps = {name: levels([one.steps_ms[name] for one in decided if name in one.steps_ms]) for name in STEPS}
    return PhaseReport(
        name=phase.name,
        seconds=phase.end - phase.begin,
        decisions=len(samples),
        focus_calls=sum(one.focus_calls for one in decided),
        focus_free=sum(one.focus_calls == 0 for one in decided),
        missed=phase.missed,
        warm_calls=phase.warm_calls,
        late_ms=None if phase.name == BACK_TO_BACK else levels([sample.late_ms for sample in samples]),
        cpu_ms=phase.cpu_s / len(samples) * 1e3,
        total=levels(totals),
        steps={name: found for name, found in steps.items() if found},
        focus_patch=levels([one.steps_ms["focus"] / one.focus_calls for one in decided if one.focus_calls]),
        slices=tuple(curve(times, totals, phase.begin - start, phase.end - start)),
        slice_s=slice_width(phase.begin, phase.end),
        energy=None,
    )


def energy_report(course: Course, seen: Seen) -> EnergyReport:
    """Which rail's energy is told, and what every rail draws back to back."""
    power = seen.first.power
    rail = seen.rail or power.total_rail
    scope = power.scope if rail == power.total_rail else "this rail alone"
    readings = seen.between(course.phases[BACK_TO_BACK])
    names = dict.fromkeys(one.name for one in power.rails)
    rails = {name: found.watts for name in names if (found := drawn(readings, name))}
    idle = _idle(course, seen, rail)
    return EnergyReport(
        rail=rail,
        scope=scope if rail else None,
        idle_watts=idle.watts if idle else None,
        note=_energy_note(power, rail, rails),
        method=METHOD,
        rails=rails,
    )


def _phases(course: Course, seen: Seen, start: float, energy: EnergyReport) -> Iterator[PhaseReport]:
    idle = _idle(course, seen, energy.rail)
    for phase in course.phases.values():
        if not phase.samples:
            continue
        found = phase_report(phase, start)
        if energy.rail is not None:
            used, pace = drawn(seen.between(phase), energy.rail), found.seconds / found.decisions
            found = replace(found, energy=phase_energy(energy.rail, used, idle, pace))
        yield found


def _idle(course: Course, seen: Seen, rail: str | None) -> Drawn | None:
    phase = course.phases.get(IDLE)
    return drawn(seen.between(phase), rail) if phase and rail else None


def _energy_note(power: Power, rail: str | None, rails: dict[str, float]) -> str:
    if rail and rail in rails:
        return power.note if rail == power.total_rail else "the rail that was asked for; it is not a total"
    if rail:
        why = next((one.why for one in power.rails if one.name == rail and one.why), "too few readings")
        return f"unknown: {rail} could not be read ({why}); {power.note}"
    if rails:
        return f"unknown: {power.note}. Rails are shown one by one and must not be added up; name one with --rail"
    return f"unknown: {power.note}"


def _cold(course: Course, load_ms: float) -> Cold:
    assert course.cold is not None, "a run begins with a cold decision"
    seconds = sum(sample.decided.total_ms for sample in course.warm_up) / 1e3
    return Cold(load_ms, course.cold.total_ms, dict(course.cold.steps_ms), len(course.warm_up), seconds)


def _machine(seen: Seen, settings: Settings) -> Machine:
    here, device, clocks = this_machine(), seen.first.device, seen.first.clocks
    cpu, gpu = (found[0] if found else None for found in (clocks.cpus, clocks.gpus))
    return Machine(
        cpu=here["cpu"],
        cores=here["cores"],
        memory_gb=here["memory_gb"],
        system=here["system"],
        model=device.model,
        module=device.module,
        l4t=device.l4t,
        jetpack=device.jetpack,
        power_mode=str(settings.mode) if settings.mode else None,
        pinned=settings.pinned,
        governors=settings.governors,
        cpu_mhz=(cpu.least, cpu.most) if cpu else None,
        gpu_mhz=(gpu.least, gpu.most) if gpu else None,
        versions=versions(),
        simulated=seen.simulated,
    )


def _heat(readings: list[Reading], start: float, rail: str | None) -> Heat:
    return Heat(
        at=tuple(round(reading.at - start, 3) for reading in readings),
        celsius=tuple(reading.hottest for reading in readings),
        cpu_mhz=tuple(reading.cpu_mhz for reading in readings),
        gpu_mhz=tuple(reading.gpu_mhz for reading in readings),
        watts=tuple(reading.power.watts(rail) if rail else None for reading in readings),
    )


def _notes(plan: Plan, seen: Seen, course: Course) -> Iterator[str]:
    if seen.simulated:
        yield "the sensors were read from a folder, not from this machine: nothing here says anything about a device"
    yield from _other_load(seen, course)
    if plan.duration < SUSTAINED_S:
        yield (
            f"{plan.duration:g} s do not show what heat does to a device: run {SUSTAINED_S:g} s and more for that "
            "(loadgen's submissions ask for 600 s)"
        )
    yield "times are those of a window sliding over a decoded clip: capture, and a camera's delay, are not in them"
    if seen.first.throttle.since_boot:
        yield f"before the run, since boot: {', '.join(seen.first.throttle.since_boot)}"


def _other_load(seen: Seen, course: Course) -> Iterator[str]:
    """What others took while decisions were timed, back to back, if it is worth a word."""
    phase = course.phases[BACK_TO_BACK]
    readings = [reading for reading in seen.between(phase) if reading.load]
    if len(readings) < 2 or seen.simulated:
        return
    first, last = readings[0].load, readings[-1].load
    seconds = readings[-1].at - readings[0].at
    if first is None or last is None or seconds <= 0:
        return
    others = max(0.0, last.busy - first.busy - phase.cpu_s) / seconds
    stolen = (last.stolen - first.stolen) / seconds
    if others > MOST_OTHERS:
        yield f"the machine was not quiet: other programs kept {others:.1f} cores busy; end them and profile again"
    if stolen > MOST_OTHERS:
        yield f"the hypervisor took {stolen:.1f} cores away from this machine"
