"""Camera and microphone now: a thread for each, which keeps it going."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from avgn.config import SoundConfig
from runtimes.capture.devices import Device, supervise
from runtimes.capture.events import Event
from runtimes.capture.receiver import Receiver
from runtimes.capture.recording import Recorder
from runtimes.capture.source import Clock, Counters, Snippet, Status

# Seconds that a device may take to let go; a driver that hangs keeps its thread, which ends with the program.
_PATIENCE = 5.0


class LiveSource:
    """A `Source` of live devices, all on `clock`."""

    def __init__(
        self, devices: Sequence[Device], sound: SoundConfig, clock: Clock, recorder: Recorder | None = None
    ) -> None:
        kinds = {kind for device in devices for kind in device.kinds}
        self._clock, self.recorder = clock, recorder
        self._receiver = Receiver(sound, "picture" in kinds, "sound" in kinds)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=supervise, args=(device, self._sink, self._stop, clock.now), name=device.kinds[0], daemon=True
            )
            for device in devices
        ]

    @property
    def clock(self) -> Clock:
        """The system's clock."""
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

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def snapshot(self, time: float) -> Snippet:
        """The snippet at `time`."""
        return self._receiver.snapshot(time)

    def close(self) -> None:
        """Stop the threads and finish the recording."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_PATIENCE)
        self._receiver.close(self._clock.now())
        if self.recorder is not None:
            recorder, self.recorder = self.recorder, None
            recorder.close()

    def _sink(self, event: Event) -> None:
        self._receiver.take(event)
        if (recorder := self.recorder) is not None:
            recorder.take(event)
