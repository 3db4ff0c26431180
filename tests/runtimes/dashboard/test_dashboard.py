"""The dashboard: who may watch, what they are sent, and that the slow slow nobody down."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import av
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import scripted
import tiny
from avgn.bundle import open_bundle
from avgn.errors import MissingError, UsageError
from runtimes.classifier import Classifier
from runtimes.dashboard import Dashboard
from runtimes.dashboard.access import Access, access_for
from runtimes.dashboard.hub import Hub, Viewer
from runtimes.live.pictures import jpeg
from runtimes.live.settings import LiveSettings
from runtimes.stream import Stream

TOKEN = "0123456789abcdefABCDEF"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))


class Big:
    """A picture at any size."""

    def __init__(self, number):
        self.number = number

    def squashed(self, size):
        return np.full((3, size, size), self.number * 40 % 256, np.uint8)

    def scaled(self, short_side):
        random = np.random.default_rng(self.number)
        return random.integers(0, 256, (short_side, short_side * 4 // 3, 3), np.uint8)


def serve(bundle, **options):
    return Dashboard(Classifier(bundle, tiny.NumpyEngine()), **options)


def play(bundle, board, seconds=3.0, pictures=Big, before=lambda: None):
    source = scripted.ScriptedSource(seconds=seconds, pictures=pictures)
    stream = Stream(Classifier(bundle, tiny.NumpyEngine()), source, LiveSettings(), [board.moment])
    for decision in stream:
        board.decision(decision)
        before()


def get(address, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as fault:
        return fault.code, fault.headers, fault.read().decode()


def stream_of(address, **options):
    plain = address.replace("http://", "ws://")
    where, _, query = plain.partition("/?")
    return connect(f"{where.rstrip('/')}/stream" + (f"?{query}" if query else ""), open_timeout=20, **options)


def until(holds):
    """Wait for another thread's work, for as long as it takes."""
    for _ in range(2000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came to pass")


def test_a_viewer_is_told_everything(bundle):
    with serve(bundle) as board, stream_of(board.address) as viewer:
        until(lambda: board._hub.watched)
        hello = json.loads(viewer.recv(timeout=20))
        assert hello["kind"] == "hello" and hello["labels"] == list(tiny.LABELS) and hello["history"] == []
        assert hello["snippets"] == 4 and hello["patch"] == {"size": 32, "short_side": 48}
        got = []

        def read():  # as a quick viewer does: nothing is left behind
            while not got or got[-1]["kind"] != "decision":
                got.append(json.loads(viewer.recv(timeout=20)))

        play(bundle, board, 0.5, before=read)
        moments = [message for message in got if message["kind"] == "moment"]
        picture = av.open(io.BytesIO(base64.b64decode(moments[-1]["image"])), format="jpeg_pipe")
        frame = next(picture.decode(video=0))
        assert (frame.width, frame.height) == (360, 270)
        assert moments[-1]["status"]["picture"]["state"] == "running" and moments[-1]["time"] == 0.5
        decision = got[-1]
        assert decision["label"] in tiny.LABELS and decision["times"][-1] == 0.5
        with stream_of(board.address) as late:
            assert len(json.loads(late.recv(timeout=20))["history"]) == 1
    with pytest.raises(OSError):
        get(board.address)


def test_without_viewers_no_picture_is_made(bundle):
    class Unseen(Big):
        def scaled(self, short_side):
            assert short_side == tiny.CONFIG.patch.short_side
            return super().scaled(short_side)

    with serve(bundle) as board:
        play(bundle, board, pictures=Unseen)
        assert len(board._history) == 6


def test_a_viewer_who_does_not_read_slows_nobody(bundle):
    with serve(bundle) as board:
        slow = stream_of(board.address, max_queue=1, max_size=None)
        until(lambda: board._hub.watched)
        (slow_viewer,) = board._hub.viewers
        with stream_of(board.address, max_size=None) as quick:
            until(lambda: len(board._hub.viewers) == 2)
            assert json.loads(quick.recv(timeout=20))["kind"] == "hello"
            seen = []

            def read():
                message = json.loads(quick.recv(timeout=20))
                while message["kind"] != "decision":
                    message = json.loads(quick.recv(timeout=20))
                seen.append(message["time"])

            play(bundle, board, 60.0, before=read)
            assert seen == [0.5 * number for number in range(1, 121)]
            assert slow_viewer.missed > 50 and len(slow_viewer._waiting) <= 2
        slow.close_socket() if hasattr(slow, "close_socket") else slow.socket.close()


def test_only_the_newest_of_each_kind_waits():
    async def run():
        viewer = Viewer()
        for number in range(5):
            viewer.offer("moment", f"m{number}")
            viewer.offer("decision", f"d{number}")
        assert [await viewer.next(), await viewer.next()] == ["m4", "d4"] and viewer.missed == 8
        waiting = asyncio.create_task(viewer.next())
        await asyncio.sleep(0)
        viewer.offer("moment", "late")
        assert await waiting == "late"

    asyncio.run(run())


def test_the_hub_renders_once_and_only_for_viewers():
    async def run():
        hub, rendered = Hub(), []
        hub.offer("moment", lambda: rendered.append("early") or "")
        hub.attach(asyncio.get_running_loop())
        hub.offer("moment", lambda: rendered.append("unwatched") or "")
        viewers = [Viewer(), Viewer()]
        hub.viewers.update(viewers)
        for number in range(3):
            hub.offer("moment", lambda number=number: rendered.append(number) or str(number))
        assert [await viewer.next() for viewer in viewers] == ["2", "2"]
        assert rendered == [2]
        hub.attach(None)
        hub.offer("moment", lambda: "gone")

    asyncio.run(run())


def test_the_page_and_its_parts(bundle):
    with serve(bundle) as board:
        status, headers, text = get(board.address)
        assert status == 200 and "avgn" in text and headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        for name, kind in (("app.js", "text/javascript"), ("style.css", "text/css")):
            status, headers, text = get(board.address + name)
            assert status == 200 and headers["Content-Type"].startswith(kind) and name in get(board.address)[2]
            assert "http://" not in text and "https://" not in text and "//cdn" not in text
        assert get(board.address + "server.py")[0] == 404
        assert get(board.address + "../server.py")[0] == 404


def test_pages_from_elsewhere_are_refused(bundle):
    with serve(bundle) as board:
        port = board.address.rstrip("/").rpartition(":")[2]
        assert get(board.address, Host=f"evil.example:{port}")[0] == 403
        assert get(board.address, Host=f"localhost:{port}")[0] == 200
        with pytest.raises(InvalidStatus, match="403"):
            stream_of(board.address, origin="http://evil.example")
        stream_of(board.address, origin=board.address.rstrip("/")).close()


def test_beyond_this_machine_only_with_the_token(bundle):
    with serve(bundle, host="0.0.0.0") as board:
        query = board.address.partition("?")[2]
        assert len(query) == len("token=") + 32
        address = board.address.replace("0.0.0.0", "127.0.0.1")
        assert get(address)[0] == 200
        assert get(address.partition("?")[0])[0] == 403
        assert get(address[:-1] + "x")[0] == 403
        with pytest.raises(InvalidStatus, match="403"):
            stream_of(address.partition("?")[0])
        stream_of(address).close()


def test_a_token_of_ones_own(bundle):
    with serve(bundle, token=TOKEN) as board:
        assert board.address.endswith(f"/?token={TOKEN}") and get(board.address)[0] == 200


def asked(host="127.0.0.1:80", origin=None, token=None):
    headers = {"host": host, **({"origin": origin} if origin else {})}
    return SimpleNamespace(headers=headers, query_params={"token": token} if token else {})


@pytest.mark.parametrize(
    ("access", "request_", "allowed"),
    [
        (Access(None), asked(), True),
        (Access(None), asked("[::1]:8765"), True),
        (Access(None), asked("LOCALHOST:8765"), True),
        (Access(None), asked("10.0.0.5:8765"), False),
        (Access(None), asked("localhost.evil.example"), False),
        (Access(None), asked(""), False),
        (Access(None), asked("[::1"), False),
        (Access(None), asked(origin="http://["), False),
        (Access(None), asked(origin="http://127.0.0.1:80"), True),
        (Access(None), asked(origin="http://127.0.0.1:81"), False),
        (Access(None), asked(origin="null"), False),
        (Access(TOKEN), asked("camera.example", token=TOKEN), True),
        (Access(TOKEN), asked("camera.example", token=TOKEN[:-1]), False),
        (Access(TOKEN), asked("camera.example", token="é"), False),
        (Access(TOKEN), asked(), False),
        (Access(TOKEN), asked("camera.example", "http://evil.example", TOKEN), False),
    ],
)
def test_who_may_watch(access, request_, allowed):
    assert access.allows(request_) is allowed


def test_tokens_are_made_and_weak_ones_refused():
    assert access_for("127.0.0.1", None).token is None
    assert access_for("::1", None).token is None
    assert access_for("0.0.0.0", None).token != access_for("0.0.0.0", None).token
    for token in ("", "short", "with spaces in it 123", "ümlauteümlauteümlaute"):
        with pytest.raises(UsageError, match="token"):
            access_for("0.0.0.0", token)


def test_addresses_that_cannot_be_had(bundle):
    with serve(bundle) as board:
        port = int(board.address.rstrip("/").rpartition(":")[2])
        with pytest.raises(MissingError, match="another --port"):
            serve(bundle, port=port)
    with pytest.raises(UsageError, match="port"):
        serve(bundle, port=-1)
    with pytest.raises(UsageError, match="host"):
        serve(bundle, host="no such host")


@pytest.mark.parametrize("size", [(48, 64), (49, 65), (270, 480)])
def test_a_jpeg_looks_like_its_picture(size):
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    pixels = np.stack([rows * 255 // size[0], columns * 255 // size[1], rows * 0 + 90], -1).astype(np.uint8)
    with av.open(io.BytesIO(jpeg(pixels)), format="jpeg_pipe") as container:
        found = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert np.abs(found - pixels[: size[0] // 2 * 2, : size[1] // 2 * 2]).mean() < 5
