"""What every source is to its reader: a clock, and what a receiver knows."""

from __future__ import annotations

from runtimes.capture.receiver import Receiver
from runtimes.capture.source import Clock, Counters, Status


class Received:
    """The part of a `Source` that only tells; `start`, `snapshot` and `close` are each source's own."""

    def __init__(self, clock: Clock, receiver: Receiver) -> None:
        self._clock, self._receiver = clock, receiver

    @property
    def clock(self) -> Clock:
        """The clock of all times: the system's, or a simulated one."""
        return self._clock

    @property
    def status(self) -> Status:
        """How the devices are."""
        return self._receiver.status(self._clock.now())

    @property
    def counters(self) -> Counters:
        """What came and what was lost."""
        return self._receiver.counters

    @property
    def drift_ppm(self) -> float:
        """How much faster (+) than ours the microphone's clock runs."""
        return self._receiver.drift_ppm
