"""OpenVINO's own benchmark of the bare graphs: a child process, in turn with everything else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
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
        _contestant(subject, graph, command_line(tool, _model(subject, graph), contest.threads), contest.rarely)
        for subject in subjects
        for graph in HEAVY
    ]


def command_line(tool: str, model: Path, threads: int | None) -> list[str]:
    """As `runtimes.backends.openvino` compiles and runs: one request, one stream, float32 where it is not int8."""
    how = ["-hint", "latency"] if threads is None else ["-hint", "none", "-nstreams", "1", "-nthreads", str(threads)]
    return [tool, "-m", str(model), "-d", "CPU", "-api", "sync", "-infer_precision", "f32", "-t", str(SECONDS), *how]


def median_ms(printed: str) -> float:
    """What the tool printed as its median; MissingError where it printed none."""
    found = _MEDIAN.search(printed)
    if found is None:
        raise MissingError(f"{TOOL} printed no median latency")
    return float(found[1])


def _contestant(subject: Subject, graph: str, command: list[str], every: int) -> Contestant:
    def measure() -> Timed:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(f"{TOOL} failed on {graph} ({done.stderr.strip()[-200:]})")
        return {f"{TOOL} {graph}": median_ms(done.stdout)}

    return subject.contestant({f"{TOOL} {graph}": subject.classifier.meter.price(graph)}, measure, every)


def _model(subject: Subject, graph: str) -> Path:
    bundle = subject.classifier.bundle
    record: GraphRecord = bundle.record(graph, subject.engine.backend, subject.engine.precision)
    return next(bundle.path / file.path for file in record.files if file.path.endswith(".xml"))
