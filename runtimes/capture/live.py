"""Camera and microphone now: a thread for each, which keeps it going."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from avgn.config import SoundConfig
from runtimes.capture.devices import Device, supervise
from runtimes.capture.events import Event
from runtimes.capture.received import Received
from runtimes.capture.receiver import Receiver
from runtimes.capture.recording import Recorder
from runtimes.capture.source import Clock, Snippet

# Seconds that a device may take to let go; a driver that hangs keeps its thread, which ends with the program.
_PATIENCE = 5.0


class LiveSource(Received):
    """A `Source` of live devices, all on `clock`."""

    def __init__(
        self, devices: Sequence[Device], sound: SoundConfig, clock: Clock, recorder: Recorder | None = None
    ) -> None:
        kinds = {kind for device in devices for kind in device.kinds}
        super().__init__(clock, Receiver(sound, "picture" in kinds, "sound" in kinds))
        self.recorder = recorder
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=supervise, args=(device, self._sink, self._stop, clock.now), name=device.kinds[0], daemon=True
            )
            for device in devices
        ]

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
