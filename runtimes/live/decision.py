"""What a stream tells: a decision every hop, and a moment every snippet for those who watch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from avgn.schema import plain
from runtimes.capture.source import Counters, State, Status
from runtimes.decision import Scored

if TYPE_CHECKING:
    from avgn.snippets import Picture


@dataclass(frozen=True)
class Age:
    """Milliseconds from the arrival of the newest frame, and of the newest sound, to the answer; None: never any."""

    frame: float | None
    sound: float | None


@dataclass(frozen=True)
class Dropped:
    """Frames, and milliseconds of sound, that were lost since the start."""

    frames: int
    sound_ms: float


@dataclass(frozen=True)
class Skipped:
    """Snippets and decisions that were left out since the start, because the stream or its reader was late."""

    snippets: int = 0
    hops: int = 0


@dataclass(frozen=True)
class LiveDecision:
    """One answer of a stream; the fields but the last, in this order, are a line of JSON.

    `time` is when its newest snippet was taken, in seconds on the source's clock. `score` is the softmax probability of
    `label`, `top` the five best. `saliency` and `times` have a number for each of the window's T places, oldest first
    (`times` null before the first snippet); `selected` are the chosen places, `centres` the middles (y, x in 0..1) of
    their patches, `new_focus` for how many of them the focus net was run. `av_offset_ms`: measured lag of sound behind
    the picture. `heard`, `seen`: any sound, any picture in the window. `timings_ms`: as in `avgn classify`, with all
    snippets since the decision before; `prepare` is pixels and log-mel, `crop` patches; `total` all of it. `k`: how
    many were chosen. `exited`: the glance's own answer, because it was sure, or because the budget had no focus call
    left. `idle`: at rest. `macs`: since the decision before. `picture`, `sound`: how the devices are. `drift_ppm`: how
    much faster the microphone's sample clock runs.
    """

    time: float
    label: str
    score: float
    top: tuple[Scored, ...]
    saliency: tuple[float, ...]
    selected: tuple[int, ...]
    new_focus: int
    age_ms: Age
    dropped: Dropped
    av_offset_ms: float
    heard: bool
    seen: bool
    timings_ms: dict[str, float]
    times: tuple[float | None, ...]
    centres: tuple[tuple[float, float], ...]
    k: int
    exited: bool
    idle: bool
    macs: int
    skipped: Skipped
    picture: State
    sound: State
    drift_ppm: float
    backend: str
    precision: str
    scores: dict[str, float] = field(default_factory=dict)
    """The probability of every label; not part of the JSON."""

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for `json.dumps`."""
        data: dict[str, Any] = plain(self)
        del data["scores"]
        return data


@dataclass(frozen=True, eq=False)
class Moment:
    """One snippet as it was taken, whether or not a decision follows: what a view shows between decisions.

    `centre` (y, x in 0..1) is where the focus net would look; `level` the sound's loudness in dBFS, None unheard.
    """

    time: float
    picture: Picture | None
    centre: tuple[float, float]
    level: float | None
    idle: bool
    status: Status
    counters: Counters
    skipped: Skipped


def milliseconds(seconds: float) -> float | None:
    """None for what is infinite: JSON has no infinity."""
    return seconds * 1e3 if math.isfinite(seconds) else None
