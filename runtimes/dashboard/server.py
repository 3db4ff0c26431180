"""The dashboard's server: a thread with Starlette on uvicorn. The runtime never waits for it."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from avgn.errors import MissingError, UsageError
from runtimes.dashboard import messages
from runtimes.dashboard.access import access_for
from runtimes.dashboard.hub import Hub, Viewer
from runtimes.live.temperature import Thermometer

if TYPE_CHECKING:
    from runtimes.classifier import Classifier
    from runtimes.live.decision import LiveDecision, Moment

SHOWN = 270  # pixels on a picture's short side
HISTORY = 120  # decisions that a new viewer is told
VIEWERS = 16
STOP = 5.0  # seconds
# Nothing on the terminal, which may show the stream; a viewer that does not answer for 40 s is gone.
OPTIONS: dict[str, Any] = {
    "log_config": None,
    "log_level": "critical",
    "access_log": False,
    "lifespan": "on",
    "ws_max_size": 1024,
    "timeout_graceful_shutdown": 1,
    "server_header": False,
}
KINDS = {"index.html": "text/html", "app.js": "text/javascript", "style.css": "text/css"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address may hold the token
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Dashboard:
    """Enter it to serve; tell it every LiveDecision and Moment, from one thread.

    Served on this machine alone unless `host` says otherwise, and then only to those who know the token. Raises
    UsageError for a host, port or token that makes no sense, MissingError for a port that is taken.
    """

    def __init__(
        self, classifier: Classifier, host: str = "127.0.0.1", port: int = 0, token: str | None = None
    ) -> None:
        self._classifier, self._access, self._hub = classifier, access_for(host, token), Hub()
        self._history: deque[LiveDecision] = deque(maxlen=HISTORY)
        self._socket = _bound(host, port)
        shown = f"[{host}]" if ":" in host else host
        query = f"/?token={self._access.token}" if self._access.token else "/"
        self.address = f"http://{shown}:{self._socket.getsockname()[1]}{query}"
        self._id = secrets.token_hex(4)  # a page that outlives us shall not mix up two streams
        self._thermometer, self._ready = Thermometer(), Event()
        self._server = uvicorn.Server(uvicorn.Config(self._app(), **OPTIONS))
        serve = {"sockets": [self._socket]}
        self._thread = Thread(target=self._server.run, kwargs=serve, name="dashboard", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(STOP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(STOP)
        self._socket.close()

    def decision(self, found: LiveDecision) -> None:
        """Show an answer."""
        self._history.append(found)
        self._hub.offer("decision", lambda: messages.decision(found))

    def moment(self, news: Moment) -> None:
        """Show a snippet. Its pixels are made here: a frame may be converted in one thread only."""
        if self._hub.watched:
            pixels = None if news.picture is None else news.picture.scaled(SHOWN)
            self._hub.offer("moment", lambda: messages.moment(news, pixels, self._thermometer(news.time)))

    def _app(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            self._hub.attach(asyncio.get_running_loop())
            self._ready.set()
            yield
            self._hub.attach(None)

        routes = [Route("/", self._page), WebSocketRoute("/stream", self._stream)]
        routes += [Route(f"/{name}", self._page) for name in KINDS if name != "index.html"]
        return Starlette(routes=routes, lifespan=lifespan)

    async def _page(self, request: Request) -> Response:
        name = request.url.path.removeprefix("/") or "index.html"
        # the script and the style are no secret, and the page names them without the token
        if name == "index.html" and not self._access.allows(request):
            return PlainTextResponse("The address of this page ends with its token.\n", 403, HEADERS)
        content = (files("runtimes.dashboard") / "page" / name).read_bytes()
        return Response(content, 200, HEADERS, f"{KINDS[name]}; charset=utf-8")

    async def _stream(self, websocket: WebSocket) -> None:
        if not self._access.allows(websocket) or len(self._hub.viewers) >= VIEWERS:
            await websocket.close(1008)
            return
        await websocket.accept()
        viewer = Viewer()
        sending = asyncio.create_task(self._send(websocket, viewer))
        try:
            # a viewer has nothing to say; this is how its leaving is noticed
            while (await websocket.receive())["type"] != "websocket.disconnect":
                pass
        finally:
            self._hub.viewers.discard(viewer)
            sending.cancel()

    async def _send(self, websocket: WebSocket, viewer: Viewer) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            await websocket.send_text(messages.hello(self._classifier, self._id, tuple(self._history)))
            self._hub.viewers.add(viewer)
            while True:
                await websocket.send_text(await viewer.next())


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UsageError(f"--port: {port} does not lie in 0..65535.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    except (OSError, UnicodeError) as fault:
        raise UsageError(f"--host {host!r}: is no address of this machine ({fault}).") from fault
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()
    except OSError as fault:
        bound.close()
        raise MissingError(f"dashboard: {host} port {port} cannot be had ({fault}); choose another --port.") from fault
    return bound
