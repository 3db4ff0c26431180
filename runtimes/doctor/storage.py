"""Room on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtimes.doctor.finding import Finding, State

_LITTLE = 1 << 30  # bytes: a live recording or an export soon needs as much


def disk_findings(places: Mapping[str, Path]) -> Iterator[Finding]:
    """Room at each of the `places`, by what they are for."""
    for purpose, place in places.items():
        try:
            free = shutil.disk_usage(place).free
        except OSError as fault:
            yield Finding("disk", purpose, State.PROBLEM, f"{place}: {fault.strerror}", f"ls -ld {place}")
            continue
        little = free < _LITTLE
        says = f"{place}: {free / 2**30:.1f} GiB free"
        mend = f"du -xh --max-depth=1 {place}" if little else ""
        yield Finding("disk", purpose, State.DOUBT if little else State.OK, says, mend)
