"""Between the runtime's thread and the viewers' connections: latest wins, twice.

The runtime leaves its newest news in a slot and goes on. Each viewer has slots of its own: what it has not fetched when
there is something newer is gone. So neither the runtime nor another viewer ever waits for a slow one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock

Render = Callable[[], str]


class Viewer:
    """What one viewer has still to be sent: at most one message of each kind."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._news = asyncio.Event()
        self.missed = 0

    def offer(self, kind: str, text: str) -> None:
        """Leave a message; an older one of its kind that was not sent yet gives way."""
        self.missed += self._waiting.pop(kind, None) is not None
        self._waiting[kind] = text
        self._news.set()

    async def next(self) -> str:
        """The oldest message that waits, or the next to come."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return self._waiting.pop(next(iter(self._waiting)))


class Hub:
    """`attach` and `viewers` belong to the loop's thread, `offer` and `watched` to any."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, Render] = {}
        self._lock = Lock()

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Say which loop serves the viewers; None: no longer any."""
        with self._lock:
            self._loop = loop

    @property
    def watched(self) -> bool:
        """Whether anyone looks: else no message need be made."""
        return bool(self.viewers)

    def offer(self, kind: str, render: Render) -> None:
        """Leave a message of a kind for all viewers; `render` makes its text, in the loop's thread."""
        with self._lock:
            if self._loop is None or not self.watched:
                return
            idle = not self._waiting
            self._waiting.pop(kind, None)
            self._waiting[kind] = render
            if idle:
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for kind, render in waiting.items():
            text = render()
            for viewer in self.viewers:
                viewer.offer(kind, text)
