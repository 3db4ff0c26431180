"""tegrastats as a second source of power, where the chips cannot be read from files."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from threading import Event, Thread

from runtimes.profile.sensors.rails import Rail
from runtimes.profile.sensors.tegrastats import Tegrastats, parse_line, parse_log
from runtimes.profile.sensors.tree import Tree

SOURCE = "tegrastats"
INTERVAL_MS = 500
PATIENCE_S = 3.0  # for the first line


def as_rails(line: Tegrastats | None) -> tuple[Rail, ...]:
    """The rails of a line: what they draw now, not tegrastats' running average."""
    return tuple(Rail(rail.name, SOURCE, rail.now / 1e3) for rail in (line.rails if line else ()) if rail.name != "NC")


class Feed:
    """The newest whole line of tegrastats; of a copied tree, the last one of `cmd/tegrastats.txt`."""

    def __init__(self, tree: Tree) -> None:
        self.newest: Tegrastats | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = Event()  # a first line is there, or will never be
        if not tree.real:
            lines = parse_log((tree.command(SOURCE) or "") + "\n")
            self.newest = lines[-1] if lines else None
            return
        program = shutil.which(SOURCE)
        if program is not None:
            with suppress(OSError):
                self._process = subprocess.Popen(
                    [program, "--interval", str(INTERVAL_MS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                Thread(target=self._follow, args=(self._process,), daemon=True).start()
                self._begun.wait(PATIENCE_S)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None, "it was asked for"
        for data in process.stdout:
            line = parse_line(data.decode("utf-8", "replace"))
            if data.endswith(b"\n") and line.whole:
                self.newest = line
                self._begun.set()
        self._begun.set()
