"""coremltools without its chatter: what it cannot do on this machine (run Core ML) is said once, by us."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from types import ModuleType

from avgn.extras import import_extra


def coremltools(purpose: str = "Core ML export") -> ModuleType:
    """The package; MissingError with the line that installs it."""
    with quiet():
        return import_extra("coremltools", "export,coreml", purpose)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and progress bars off the terminal; errors are raised, so nothing that matters is lost."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
