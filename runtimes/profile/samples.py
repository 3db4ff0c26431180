"""The raw samples of a profile, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from runtimes.profile.run import GRAPHS, Course


def sample_lines(course: Course) -> Iterator[str]:
    """Every decision by phase (the cold one first, warm-up included), then every call of the bare graphs."""
    if course.cold:
        yield _line(phase="cold", total_ms=course.cold.total_ms, steps_ms=course.cold.steps_ms)
    start = course.warm_up[0].at if course.warm_up else 0.0
    for sample in [*course.warm_up, *(one for phase in course.phases.values() for one in phase.samples)]:
        yield _line(
            phase=sample.phase,
            at_s=sample.at - start,
            late_ms=sample.late_ms,
            total_ms=sample.decided.total_ms,
            steps_ms=sample.decided.steps_ms,
            focus_calls=sample.decided.focus_calls,
        )
    for graph, spent in course.graphs_ms.items():
        for ms in spent:
            yield _line(phase=GRAPHS, graph=graph, total_ms=ms)


def _line(**row: object) -> str:
    return json.dumps({key: _rounded(value) for key, value in row.items()}) + "\n"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 5)
    return {name: _rounded(one) for name, one in value.items()} if isinstance(value, dict) else value
