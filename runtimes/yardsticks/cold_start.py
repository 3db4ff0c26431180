"""From `import avgn` to the first decision, in a process of its own, with the engine's model cache warm."""

from __future__ import annotations

import subprocess
import sys
from tempfile import TemporaryDirectory

from avgn.errors import MissingError
from runtimes.contestant import Contest, Contestant, Subject, Timed

ROW = "cold start"
PROGRAM = """
import sys
from time import perf_counter
began = perf_counter()
import avgn
bundle, backend, precision, threads, cache, clip = sys.argv[1:]
avgn.load(bundle, backend, precision, threads=int(threads) or None, cache=cache).classify(clip)
print(perf_counter() - began)
"""


def cold_start(contest: Contest) -> list[Contestant]:
    """For the first variant."""
    return [_contestant(contest.subjects[0], contest.threads, contest.rarely)]


def _contestant(subject: Subject, threads: int | None, every: int) -> Contestant:
    engine, bundle = subject.engine, subject.classifier.bundle
    cache = TemporaryDirectory(prefix="avgn-")  # goes with the contestant

    def measure() -> Timed:
        variant = (str(bundle.path), engine.backend, engine.precision, str(threads or 0))
        line = [sys.executable, "-c", PROGRAM, *variant, cache.name, str(subject.clip)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(f"a new process failed ({done.stderr.strip()[-200:]})")
        return {ROW: float(done.stdout) * 1e3}

    measure()  # fills the cache
    return subject.contestant({ROW: 0}, measure, every)
