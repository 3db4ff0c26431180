"""How one device is: from what it brings, what it does not bring, and what its driver says."""

from __future__ import annotations

from runtimes.capture.source import GIVING, DeviceStatus, State

# Seconds of black or of digital silence, after which a device counts as silent.
_BLANK = 2.0


class Health:
    """The state of a camera ("picture") or a microphone ("sound")."""

    def __init__(self, kind: str, wanted: bool) -> None:
        self._kind = kind
        self.status = DeviceStatus(State.STARTING if wanted else State.OFF)
        self._last = 0.0
        self._filled = 0.0
        self._came = self._gone = False

    def came(self, time: float, blank: bool) -> bool:
        """Say that something came; returns whether the device is back after it was gone."""
        back, self._gone, self._came = self._gone, False, True
        self._last = time
        if not blank or self.status.state not in GIVING:
            self._filled = time
        if time - self._filled >= _BLANK:
            what = "only black pictures" if self._kind == "picture" else "only digital silence; is it muted?"
            self._become(State.SILENT, time, f"{self._kind}: the device gives {what}")
        else:
            self._become(State.RUNNING, time)
        return back

    def told(self, time: float, state: State, fault: str) -> None:
        """Say what the driver says: lost, busy, missing, starting or ended."""
        self._gone = self._gone or (state not in (State.STARTING, State.ENDED) and self._came)
        if state is State.STARTING and self.status.state not in (State.OFF, State.ENDED):
            return  # a fault stands until something comes
        self._become(state, time, fault)

    def check(self, now: float, patience: float) -> None:
        """Notice where nothing has come for more than `patience` seconds."""
        if self.status.state in GIVING and now - self._last > patience:
            self._become(State.LOST, now, f"{self._kind}: nothing has come for {patience:.1f} s")

    def _become(self, state: State, time: float, fault: str = "") -> None:
        if (state, fault) != (self.status.state, self.status.fault):
            self.status = DeviceStatus(state, time, fault)
