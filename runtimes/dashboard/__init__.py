"""The stream as a web page: one small page over one WebSocket, with nothing from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtimes.dashboard.server import Dashboard

__all__ = ["Dashboard"]


def __getattr__(name: str) -> Any:
    if name == "Dashboard":
        from avgn.extras import import_extra

        return import_extra("runtimes.dashboard.server", "live", "the dashboard").Dashboard
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
