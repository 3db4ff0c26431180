"""The course of a profile: cold, warm-up, idle, bare graphs, back to back, at the real rate, kept warm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, process_time, sleep
from typing import Protocol

from avgn.errors import UsageError
from runtimes.profile.workload import Decided, Workload

IDLE, GRAPHS, BACK_TO_BACK, CADENCE, KEPT_WARM = "idle", "bare graphs", "back to back", "cadence", "kept warm"
# Shares of the duration. What is kept warm comes on top, as long as the cadence.
SHARES = {IDLE: 0.08, GRAPHS: 0.10, BACK_TO_BACK: 0.26, CADENCE: 0.56}
LEAST_WARM_UP_S, LEAST_WARM_UP = 1.0, 20  # seconds and decisions, whatever comes later
SETTLE_S = 0.5  # clocks need a moment to fall before idle is idle
WARM_EVERY_S = 0.05


@dataclass(frozen=True)
class Plan:
    """`duration` seconds are measured; `cadence` decisions a second."""

    duration: float = 60.0
    cadence: float = 2.0
    keep_warm: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.duration <= 86_400:
            raise UsageError(f"duration: {self.duration:g} s makes no sense, give more than 0 and at most a day.")
        if not 0 < self.cadence <= 1000:
            raise UsageError(f"cadence: {self.cadence:g} decisions a second are out of range, 0 to 1000.")

    def seconds(self, phase: str) -> float:
        """How long a phase lasts."""
        return self.duration * SHARES[CADENCE if phase == KEPT_WARM else phase]


@dataclass(frozen=True)
class Clock:
    """Time as the run sees it (tests give their own): seconds now, waiting, and processor seconds of this process."""

    now: Callable[[], float] = perf_counter
    sleep: Callable[[float], None] = sleep
    cpu: Callable[[], float] = process_time


class Poller(Protocol):
    """What is told at the border of phases, to read the sensors."""

    def poll(self) -> None:
        """Read them now."""
        ...


@dataclass(frozen=True)
class Sample:
    """One decision: when it began (seconds of the run's clock), and how long after its time that was (cadence only)."""

    phase: str
    at: float
    decided: Decided
    late_ms: float = 0.0


@dataclass
class Phase:
    """What was measured in a phase; `missed`: decisions that were left out because the one before took too long."""

    name: str
    begin: float
    end: float = 0.0
    cpu_s: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    missed: int = 0
    warm_calls: int = 0


@dataclass
class Course:
    """A whole run."""

    cold: Decided | None = None
    warm_up: list[Sample] = field(default_factory=list)
    phases: dict[str, Phase] = field(default_factory=dict)
    graphs_ms: dict[str, list[float]] = field(default_factory=dict)


class Runner:
    """Drives a workload through the phases; `step` is told of each phase and the seconds that it will take."""

    def __init__(
        self,
        workload: Workload,
        plan: Plan,
        watch: Poller,
        clock: Clock | None = None,
        step: Callable[[str, float], None] = lambda name, seconds: None,
    ) -> None:
        self._workload, self._plan, self._watch = workload, plan, watch
        self._clock, self._step = clock or Clock(), step
        self.course = Course()

    def run(self) -> Course:
        """All phases, one after the other."""
        self.course.cold = self._workload.cold()
        self._warm_up()
        self._phase(IDLE, self._idle)
        self._phase(GRAPHS, self._graphs)
        self._warm_up()  # the bare graphs are another rhythm; nothing here is counted
        self._phase(BACK_TO_BACK, self._back_to_back)
        self._phase(CADENCE, self._cadence)
        if self._plan.keep_warm:
            self._phase(KEPT_WARM, self._cadence)
        return self.course

    def _phase(self, name: str, body: Callable[[Phase], None]) -> None:
        self._step(name, self._plan.seconds(name))
        if name == IDLE:
            self._clock.sleep(SETTLE_S)
        self._watch.poll()
        phase = Phase(name, self._clock.now())
        began = self._clock.cpu()
        body(phase)
        phase.cpu_s = self._clock.cpu() - began
        self._watch.poll()
        phase.end = self._clock.now()
        self.course.phases[name] = phase

    def _warm_up(self) -> None:
        end = self._clock.now() + max(LEAST_WARM_UP_S, 0.02 * self._plan.duration)
        count = 0
        while count < LEAST_WARM_UP or self._clock.now() < end:
            self.course.warm_up.append(Sample("warm-up", self._clock.now(), self._workload.decide()))
            count += 1

    def _idle(self, phase: Phase) -> None:
        self._clock.sleep(self._plan.seconds(IDLE))

    def _graphs(self, phase: Phase) -> None:
        """Each graph for itself, call upon call, as an engine's own benchmark does."""
        bare = self._workload.bare()
        for graph, call in bare.items():
            spent = self.course.graphs_ms.setdefault(graph, [])
            for _ in range(3):
                call()
            end = self._clock.now() + self._plan.seconds(GRAPHS) / len(bare)
            began = self._clock.now()
            while began < end:
                call()
                now = self._clock.now()
                spent.append((now - began) * 1e3)
                began = now

    def _back_to_back(self, phase: Phase) -> None:
        end = phase.begin + self._plan.seconds(BACK_TO_BACK)
        while (now := self._clock.now()) < end:
            phase.samples.append(Sample(phase.name, now, self._workload.decide()))

    def _cadence(self, phase: Phase) -> None:
        period = 1 / self._plan.cadence
        end, due = phase.begin + self._plan.seconds(CADENCE), phase.begin
        while due < end:
            self._wait(due, phase)
            now = self._clock.now()
            late = max(0.0, now - due)
            phase.samples.append(Sample(phase.name, now, self._workload.decide(), late * 1e3))
            due += period
            behind = int((self._clock.now() - due) / period)
            if behind > 0:
                phase.missed += behind
                due += behind * period
        self._wait(end, phase)

    def _wait(self, due: float, phase: Phase) -> None:
        """Sleep until `due`; kept warm, with a call of the focus net every now and then."""
        while (left := due - self._clock.now()) > 0:
            if phase.name != KEPT_WARM or left <= WARM_EVERY_S:
                self._clock.sleep(left)
                continue
            self._clock.sleep(WARM_EVERY_S)
            if due - self._clock.now() > WARM_EVERY_S / 2:
                self._workload.warm()
                phase.warm_calls += 1
