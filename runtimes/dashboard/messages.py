"""What the page is sent, as JSON: `hello` once, then a `moment` a snippet and a `decision` a hop."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avgn.schema import plain
from runtimes.live.pictures import jpeg

if TYPE_CHECKING:
    from runtimes.classifier import Classifier
    from runtimes.live.decision import LiveDecision, Moment


def hello(classifier: Classifier, stream: str, history: Sequence[LiveDecision]) -> str:
    """What does not change, and the decisions so far. `stream`: another one for each stream."""
    config, manifest = classifier.config, classifier.bundle.manifest
    return _text(
        "hello",
        {
            "stream": stream,
            "bundle": manifest.name,
            "labels": classifier.labels,
            "backend": classifier.engine.backend,
            "precision": classifier.engine.precision,
            "snippets": config.snippets,
            "k": classifier.k,
            "patch": {"size": config.patch.size, "short_side": config.patch.short_side},
            "history": [decision.as_json() for decision in history],
        },
    )


def moment(news: Moment, pixels: NDArray[np.uint8] | None, degrees: float | None) -> str:
    """A snippet; `pixels` [H, W, 3] is its picture as large as it is shown, `degrees` how hot the device is."""
    return _text(
        "moment",
        {
            "time": news.time,
            "image": None if pixels is None else base64.b64encode(jpeg(pixels)).decode("ascii"),
            "centre": news.centre,
            "level": news.level,
            "idle": news.idle,
            "status": plain(news.status),
            "counters": plain(news.counters),
            "skipped": plain(news.skipped),
            "degrees": degrees,
        },
    )


def decision(found: LiveDecision) -> str:
    """An answer, as in the lines of JSON."""
    return _text("decision", found.as_json())


def _text(kind: str, content: dict[str, Any]) -> str:
    return json.dumps({"kind": kind, **content}, allow_nan=False, separators=(",", ":"))
