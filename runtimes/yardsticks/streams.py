"""The glances of a clip side by side instead of one after the other: a stream of one thread on each core."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino

from avgn.errors import MissingError
from runtimes.backends.openvino import options
from runtimes.contestant import Contest, Contestant, Subject, Timed, timed

ROW = "glances of a clip, streams"


def streams(contest: Contest) -> list[Contestant]:
    """For each OpenVINO variant, to be held against T times `bare glance`; MissingError where there is nothing to."""
    found = [one for one in contest.subjects if one.engine.backend == "openvino" and one.engine.threads > 1]
    if not found:
        raise MissingError("no OpenVINO variant with more than one thread is benched")
    return [_contestant(subject) for subject in found]


def _contestant(subject: Subject) -> Contestant:
    classifier, engine = subject.classifier, subject.engine
    count = classifier.config.snippets
    requests = side_by_side(subject, engine.threads, count)

    def measure() -> Timed:
        return {ROW: timed(lambda: _all(requests))}

    return subject.contestant({ROW: count * classifier.meter.price("glance")}, measure)


def side_by_side(subject: Subject, threads: int, count: int) -> list[Any]:
    """`count` infer requests of `glance`, on inputs of noise, compiled for `threads` streams."""
    bundle, engine = subject.classifier.bundle, subject.engine
    record = bundle.record("glance", engine.backend, engine.precision)
    core, how = openvino.Core(), options(engine.precision, threads)
    del how["PERFORMANCE_HINT"]
    path = next(bundle.path / file.path for file in record.files if file.path.endswith(".xml"))
    compiled = core.compile_model(str(path), "CPU", how | {"NUM_STREAMS": threads})
    random, requests = np.random.default_rng(0), [compiled.create_infer_request() for _ in range(count)]
    for request in requests:
        request.infer([random.uniform(0, 1, spec.shape).astype(np.float32) for spec in record.inputs])
    return requests


def _all(requests: list[Any]) -> None:
    for request in requests:
        request.start_async()
    for request in requests:
        request.wait()
