"""Parts that a user may not have installed: looked for when needed, and named with the line that installs them."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from avgn.errors import MissingError


def install_line(extra: str | None) -> str:
    """The pip command that brings `extra` (a row of pyproject's optional dependencies; None: the package itself)."""
    return f'pip install "avgn[{extra}]"' if extra else "pip install avgn"


def version_of(package: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def import_extra(module: str, extra: str | None, purpose: str) -> ModuleType:
    """Import `module`; MissingError says what `purpose` lacks and the exact command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as fault:
        raise MissingError(
            f"{purpose} needs {fault.name or module}, which is missing: {install_line(extra)}"
        ) from fault
