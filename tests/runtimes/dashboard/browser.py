"""A headless Chromium, driven over its own debugging protocol: no driver, no library but the WebSocket's."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Where Chromium is, None where it is not installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page. `folder` is for the browser's profile."""

    def __init__(self, folder: Path) -> None:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([find(), *flags], stdout=quiet, stderr=quiet, start_new_session=True)
        told = folder / "DevToolsActivePort"
        self._until(lambda: told.is_file() and len(told.read_text().split()) == 2, 60)
        port = told.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            target = next(entry for entry in json.load(answer) if entry["type"] == "page")
        from websockets.sync.client import connect

        self._socket = connect(target["webSocketDebuggerUrl"], max_size=None)
        self._number = 0
        self.complaints: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    @staticmethod
    def _until(holds, seconds):
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "the browser took too long"
            time.sleep(0.05)

    def call(self, method, **parameters):
        """Call the protocol's `method` and return its result; what the page complains of is noted on the way."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message):
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"] + " " + parameters["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent":
            self.asked.append(parameters["request"]["url"])

    def size(self, width, height, phone=False):
        """Be a screen of that size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def light(self, wanted):
        """Prefer light or dark."""
        features = [{"name": "prefers-color-scheme", "value": "light" if wanted else "dark"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, address):
        self.call("Page.navigate", url=address)

    def says(self, script):
        """The value of a piece of JavaScript."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script, seconds=30):
        """Wait until a piece of JavaScript gives something true, and return that."""
        found: list[object] = []
        self._until(lambda: found.append(self.says(script)) or found[-1], seconds)
        return found[-1]

    def shot(self, path: Path) -> bytes:
        """A picture of the page, whole."""
        data = base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])
        path.write_bytes(data)
        return data
