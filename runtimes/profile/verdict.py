"""VALID, or INVALID and why: the same validity rules as loadgen's SingleStream, and what a device adds to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runtimes.profile.run import BACK_TO_BACK, CADENCE, KEPT_WARM, Course, Phase
from runtimes.profile.sensors.modes import PowerMode
from runtimes.profile.sensors.snapshot import Settings
from runtimes.profile.sensors.throttle import ThrottleRun
from runtimes.profile.statistics import curve, left_out, spread
from runtimes.profile.watch import Reading

MEASURED = (BACK_TO_BACK, CADENCE, KEPT_WARM)


@dataclass(frozen=True)
class Rules:
    """Bounds. A phase's duration is that until its last decision began, as loadgen counts it."""

    least_seconds: float = 10.0  # loadgen without a configuration file; its submissions want 600
    percentile: float = 0.9
    most_spread: float = 0.25  # of the medians of slices, back to back
    most_missed: float = 0.01  # share of decisions left out at the cadence
    most_slow: float = 0.5  # share of readings in which a processor ran below what was asked of it


@dataclass(frozen=True)
class Check:
    """`passed` is None where it cannot be known on this device."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True)
class Verdict:
    """Valid unless a check failed."""

    valid: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]

    def __str__(self) -> str:
        return "VALID" if self.valid else f"INVALID: {'; '.join(self.reasons)}"


def judge(
    course: Course,
    throttle: ThrottleRun,
    before: Settings,
    after: Settings,
    readings: Sequence[Reading],
    rules: Rules | None = None,
) -> Verdict:
    """Check a run against the rules; `readings` are those of the phase back to back, when all processors are asked."""
    rules = rules or Rules()
    phases = [phase for name in MEASURED if (phase := course.phases.get(name))]
    checks = (
        *_durations(phases, rules),
        *_counts(phases, rules),
        *_spreads(course, rules),
        *_rates(phases, rules),
        _throttling(throttle),
        _clocks(readings, rules),
        _settings(before, after),
    )
    reasons = tuple(check.detail for check in checks if check.passed is False)
    return Verdict(not reasons, reasons, checks)


def _durations(phases: Sequence[Phase], rules: Rules) -> Iterator[Check]:
    for phase in phases:
        lasted = phase.samples[-1].at - phase.begin if phase.samples else 0.0
        detail = f"{phase.name}: {lasted:.1f} s of at least {rules.least_seconds:g} s"
        yield Check(f"duration, {phase.name}", lasted >= rules.least_seconds, detail)


def _counts(phases: Sequence[Phase], rules: Rules) -> Iterator[Check]:
    least = next(count for count in range(1, 100_000) if left_out(count, rules.percentile))
    for phase in phases:
        count = len(phase.samples)
        detail = f"{phase.name}: {count} decisions of at least {least} (99 % confidence in p90)"
        yield Check(f"samples, {phase.name}", count >= least, detail)


def _spreads(course: Course, rules: Rules) -> Iterator[Check]:
    phase = course.phases.get(BACK_TO_BACK)
    if phase is None:
        return
    # the glance does the same work in every decision, while the focus depends on the content
    times = [one.at for one in phase.samples]
    values = [one.decided.steps_ms.get("glance", one.decided.total_ms) for one in phase.samples]
    found = spread(curve(times, values, phase.begin, phase.end))
    detail = f"{BACK_TO_BACK}: the glance's medians over time lie {_percent(found)} apart, at most "
    detail += _percent(rules.most_spread)
    yield Check("spread", None if found is None else found <= rules.most_spread, detail)


def _rates(phases: Sequence[Phase], rules: Rules) -> Iterator[Check]:
    for phase in phases:
        if phase.name != BACK_TO_BACK:
            share = phase.missed / max(1, phase.missed + len(phase.samples))
            detail = f"{phase.name}: the rate was not held, {phase.missed} decisions were left out"
            if share <= rules.most_missed:
                detail = f"{phase.name}: the rate was held ({phase.missed} decisions left out)"
            yield Check(f"rate, {phase.name}", share <= rules.most_missed, detail)


def _throttling(found: ThrottleRun) -> Check:
    if found.throttled is None:
        return Check("throttling", None, "throttling: this device shows no sign of it, so it cannot be known")
    detail = f"throttled: {', '.join(found.reasons)}" if found.throttled else "throttling: none seen"
    return Check("throttling", not found.throttled, detail)


def _clocks(readings: Sequence[Reading], rules: Rules) -> Check:
    """A processor that runs far below what the kernel asks for is held back, whatever other signs say."""
    known = [reading for reading in readings if reading.cpu_mhz is not None]
    if not known:
        return Check("clocks", None, "clocks: not to be read here")
    slow = [reading for reading in known if reading.slow]
    names = sorted({name for reading in slow for name in reading.slow})
    share = len(slow) / len(known)
    if share > rules.most_slow:
        detail = f"{', '.join(names)} ran below the clock asked for in {_percent(share)} of readings"
        return Check("clocks", False, detail)
    return Check("clocks", True, "clocks: as asked for")


def _settings(before: Settings, after: Settings) -> Check:
    changed = [
        f"{name} {_plain(getattr(before, key))} -> {_plain(getattr(after, key))}"
        for key, name in _NAMES.items()
        if getattr(before, key) != getattr(after, key)
    ]
    if changed:
        return Check("power mode", False, f"settings changed during the run: {', '.join(changed)}")
    known = before.mode is not None or before.governors or before.gpu_most_mhz
    detail = "power mode, governor and limits stayed" if known else "power mode and governor: not to be read here"
    return Check("power mode", True if known else None, detail)


_NAMES = {
    "mode": "power mode",
    "pinned": "clocks pinned",
    "governors": "governors",
    "cores_on": "cores",
    "cpu_most_mhz": "processor limits",
    "gpu_most_mhz": "GPU limits",
}


def _plain(value: object) -> str:
    if isinstance(value, PowerMode):
        return str(value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{share:.0%}"
