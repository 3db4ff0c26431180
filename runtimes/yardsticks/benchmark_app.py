"""OpenVINO's own benchmark of the bare graphs: a child process, in turn with everything else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avgn.contract import HEAVY
from avgn.errors import MissingError
from runtimes.contestant import Contest, Contestant, Subject, Timed

if TYPE_CHECKING:
    from avgn.manifest import GraphRecord

TOOL = "benchmark_app"
SECONDS = 1  # of one run, after its own start of two or three
_MEDIAN = re.compile(r"Median:\s+([\d.]+) ms")
_RATE = re.compile(r"Throughput:\s+([\d.]+) FPS")


def benchmark_app(contest: Contest) -> list[Contestant]:
    """The costly graphs of each OpenVINO variant; MissingError where the tool or such a variant is not there."""
    beside = Path(sys.executable).with_name(TOOL)  # an environment that is used without being activated
    tool = shutil.which(TOOL) or (str(beside) if beside.is_file() else None)
    if tool is None:
        raise MissingError(f"no {TOOL} on PATH; it comes with `pip install openvino`")
    subjects = [subject for subject in contest.subjects if subject.engine.backend == "openvino"]
    if not subjects:
        raise MissingError("no OpenVINO variant is benched")
    return [
        _contestant(subject, graph, command_line(tool, _model(subject, graph), how), contest.rarely, how.several)
        for subject in subjects
        for graph in HEAVY
        for how in [How(contest.threads, subject.classifier.meter.calls[graph] > 1 and subject.engine.threads > 1)]
    ]


@dataclass(frozen=True)
class How:
    """How our engine runs a graph: on how many threads (None: the engine's own), several calls side by side or one."""

    threads: int | None
    several: bool


def command_line(tool: str, model: Path, how: How) -> list[str]:
    """As `runtimes.backends.openvino` compiles and runs: float32 where it is not int8."""
    hint = ["-hint", "throughput" if how.several else "latency"]
    if how.threads is not None:
        streams, threads = (str(count) for count in (how.threads if how.several else 1, how.threads))
        hint = ["-hint", "none", "-nstreams", streams, "-nthreads", threads]
    calls = ["-api", "async" if how.several else "sync"]
    return [tool, "-m", str(model), "-d", "CPU", *calls, "-infer_precision", "f32", "-t", str(SECONDS), *hint]


def milliseconds(printed: str, several: bool) -> float:
    """Of a call: the median that the tool printed; of several side by side, what its rate comes to.

    MissingError where it printed neither.
    """
    found = (_RATE if several else _MEDIAN).search(printed)
    if found is None:
        raise MissingError(f"{TOOL} printed no {'rate' if several else 'median latency'}")
    return 1e3 / float(found[1]) if several else float(found[1])


def _contestant(subject: Subject, graph: str, command: list[str], every: int, several: bool) -> Contestant:
    def measure() -> Timed:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(f"{TOOL} failed on {graph} ({done.stderr.strip()[-200:]})")
        return {f"{TOOL} {graph}": milliseconds(done.stdout, several)}

    return subject.contestant({f"{TOOL} {graph}": subject.classifier.meter.price(graph)}, measure, every)


def _model(subject: Subject, graph: str) -> Path:
    bundle = subject.classifier.bundle
    record: GraphRecord = bundle.record(graph, subject.engine.backend, subject.engine.precision)
    return next(bundle.path / file.path for file in record.files if file.path.endswith(".xml"))
