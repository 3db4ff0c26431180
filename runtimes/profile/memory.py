"""Memory of this process."""

from __future__ import annotations

import os
import sys

from runtimes.profile.sensors.tree import Tree


def peak_mb() -> float | None:
    """MiB that were in use at most since the process began; None on systems that do not say."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def now_mb() -> float | None:
    """MiB in use; None where there is no /proc."""
    words = (Tree().read("proc/self/statm") or "").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if len(words) > 1 and words[1].isdecimal() else None
