"""The page in a real browser: it shows the stream, lets look back, fits a phone, and asks nobody else for anything."""

from __future__ import annotations

import threading

import pytest

import browser
import scripted
import tiny
from avgn.bundle import open_bundle
from runtimes.classifier import Classifier
from runtimes.dashboard import Dashboard
from runtimes.stream import Stream

pytestmark = pytest.mark.skipif(browser.find() is None, reason="Chromium is not installed: apt install chromium")


class Paced(scripted.SteppedClock):
    """Ten times as fast as life, until told to stop."""

    def __init__(self):
        super().__init__()
        self.stop = threading.Event()

    def wait_until(self, time):
        if self.stop.wait(max(0.0, time - self.time) / 10):
            time = 1e9
        super().wait_until(time)


class Pixels(tiny.Pixels):
    def scaled(self, short_side):
        return self.pixels.repeat(max(1, short_side // 48), 0).repeat(max(1, short_side // 48), 1)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    classifier = Classifier(open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle"))), tiny.NumpyEngine())
    clock = Paced()
    pictures = [Pixels(scripted.colours(number).pixels) for number in range(20)]
    source = scripted.ScriptedSource(pictures=lambda number: pictures[number // 5 % 20], seconds=1e8, clock=clock)
    source.wave = scripted.noise(8000 * 3000)
    with Dashboard(classifier) as board:

        def run():
            for decision in Stream(classifier, source, watchers=[board.moment]):
                board.decision(decision)

        thread = threading.Thread(target=run)
        thread.start()
        yield board.address
        clock.stop.set()
        thread.join(30)


def test_the_page(address, tmp_path_factory):
    shots = tmp_path_factory.mktemp("shots")
    with browser.Page(tmp_path_factory.mktemp("profile")) as page:
        page.size(1280, 900)
        page.open(address)
        page.wait("document.querySelectorAll('#history button').length >= 8", 60)
        assert page.says("document.querySelector('#link b').textContent") == "connected"
        assert page.says("document.querySelector('#label').textContent") in tiny.LABELS
        assert page.says("document.querySelectorAll('#top li').length") == 3
        assert page.says("document.querySelectorAll('#bars div').length") == 4
        assert page.says("document.querySelectorAll('#bars .chosen').length") == 2
        page.wait("document.querySelectorAll('#chosen .box').length === 2")  # drawn once their pictures are
        assert page.wait("document.querySelector('#picture').naturalWidth") > 0
        box = page.wait(
            "(() => { const at = (id) => document.getElementById(id).getBoundingClientRect();"
            " const [b, p] = ['box', 'picture'].map(at); return b.width &&"
            " [b.left - p.left, b.top - p.top, p.right - b.right, p.bottom - b.bottom, b.width]; })()"
        )
        assert min(box) >= -1, "the patch lies in the picture"
        assert "dBFS" in page.says("document.querySelector('#decibel').textContent")
        assert len(page.shot(shots / "desktop.png")) > 10_000

        page.says("document.querySelector('#history button:nth-last-child(3)').click()")
        assert not page.says("document.querySelector('#back').hidden")
        then = page.says("document.querySelector('#clock').textContent")
        page.wait("document.querySelectorAll('#history button').length >= 14", 60)
        assert page.says("document.querySelector('#clock').textContent") == then, "looking back stands still"
        page.says("document.querySelector('#back').click()")
        page.wait(f"document.querySelector('#clock').textContent !== {then!r}")
        assert page.says("document.querySelector('#back').hidden")

        page.size(360, 740, phone=True)
        assert page.says("document.documentElement.scrollWidth") <= 360, "a phone need not scroll sideways"
        assert len(page.shot(shots / "phone.png")) > 10_000
        assert not page.complaints
        elsewhere = [asked for asked in page.asked if not asked.startswith((address, "data:"))]
        assert not elsewhere
