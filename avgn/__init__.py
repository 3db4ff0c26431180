"""AVGN on devices: glance at every snippet of a video, focus on the few that matter.

import avgn
decision = avgn.load().classify("clip.mp4")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtimes.classifier import Classifier

__all__ = ["load"]


def load(
    bundle: str | Path | None = None,
    backend: str = "auto",
    precision: str | None = None,
    k: int | None = None,
    threads: int | None = None,
    exit_confidence: float | None = None,
    cache: Path | None = None,
) -> Classifier:
    """A classifier from the bundle at that path (left out: the one that ships with the package).

    The options are those of `runtimes.backends.open_engine` (backend, precision, threads, cache) and of
    `runtimes.classifier.Classifier` (k, exit_confidence). Raises InputError or ProofError for a damaged bundle,
    UsageError for options out of range, MissingError for an engine that is not installed.
    """
    from avgn.bundle import default_bundle, open_bundle
    from runtimes.backends import open_engine
    from runtimes.classifier import Classifier

    opened = open_bundle(default_bundle() if bundle is None else bundle)
    engine = open_engine(opened, backend, precision, threads, cache)
    return Classifier(opened, engine, k, exit_confidence)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("avgn")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
