"""A device of its own time: decisions take as long as they are told to, sensors show what they are told to."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtimes.profile.run import Clock, Plan, Runner
from runtimes.profile.sensors.snapshot import Sensors
from runtimes.profile.watch import Watch
from runtimes.profile.workload import Decided


@dataclass
class Simulation:
    """`ms(time, pause)`: how long a decision takes that begins at `time`, `pause` seconds after the last call."""

    ms: object = lambda time, pause: 10.0
    events: list = field(default_factory=list)
    """(time, action): what happens to the device when."""
    now: float = 100.0
    last: float = 0.0
    watch: Watch | None = None
    decisions: int = 0
    warm_calls: int = 0
    polled: float = 0.0

    def clock(self):
        return Clock(now=lambda: self.now, sleep=self.pass_time, cpu=lambda: self.decisions * 0.02)

    def pass_time(self, seconds):
        """Time goes by, and with it the watch's polls and the events."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.5)
            while self.events and self.events[0][0] <= self.now:
                self.events.pop(0)[1]()
            if self.watch and self.now - self.polled >= 1.0:
                self.polled = self.now
                self.watch.poll()

    def cold(self):
        return self.decide()

    def decide(self):
        took = self.ms(self.now, self.now - self.last)
        self.spend(took)
        self.decisions += 1
        focus = self.decisions % 2
        steps = {"prepare": took * 0.1, "glance": took * 0.5, "select": took * 0.1, "classify": took * 0.1}
        return Decided(took, {**steps, **({"focus": took * 0.2} if focus else {})}, focus)

    def bare(self):
        return {"glance": lambda: self.spend(5.0), "focus": lambda: self.spend(2.0)}

    def warm(self):
        self.warm_calls += 1
        self.spend(2.0)

    def spend(self, ms):
        self.pass_time(ms / 1e3)
        self.last = self.now


def run(simulation: Simulation, plan: Plan, tree):
    """The course, the watch, and the sensors' first and last word."""
    sensors = Sensors(tree)
    first = sensors.snapshot()
    with Watch(sensors, now=lambda: simulation.now, period=0) as watch:
        simulation.watch = watch
        course = Runner(simulation, plan, watch, simulation.clock()).run()
    return course, watch, first, sensors.snapshot()
