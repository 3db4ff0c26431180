"""A real network camera: MPEG-TS over TCP on loopback, served by FFmpeg's libraries."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import scenery

from runtimes.capture import open_live, open_replay
from runtimes.capture.source import State


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Station:
    """Serves one listener at a time; being killed is what happens to it."""

    def __init__(self):
        self.port = free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"
        self.program = None

    def go_on_air(self):
        script = Path(__file__).with_name("station.py")
        self.program = subprocess.Popen([sys.executable, str(script), str(self.port)], stderr=subprocess.DEVNULL)

    def go_off_air(self):
        if self.program is not None:
            self.program.kill()
            self.program.wait(10)


@pytest.fixture
def station():
    if "libx264" not in av.codecs_available or "mp2" not in av.codecs_available:
        pytest.skip("PyAV is built without the encoders that a camera needs")
    made = Station()
    yield made
    made.go_off_air()


def test_a_stream_is_seen_and_heard_and_found_again_after_it_broke(station, tmp_path):
    source = open_live(station.url, "camera", scenery.SOUND, record=tmp_path / "kept")
    source.start()
    scenery.wait_for(lambda: source.status.state is State.LOST)
    assert "cannot be opened" in source.status.picture.fault
    station.go_on_air()
    scenery.wait_for(lambda: source.status.state is State.RUNNING and source.counters.sound_ms > 2000)
    snippet = scenery.wait_for_snippet(source, lambda found: found.seen and found.heard and found.frame_age < 0.2)
    assert snippet.picture.scaled(48).shape == (48, 64, 3)
    assert np.abs(snippet.sound).max() > 0.3
    newer = source.snapshot(source.clock.now())
    assert newer.frame.number >= snippet.frame.number

    station.go_off_air()
    scenery.wait_for(lambda: source.status.state is State.LOST)
    frames = source.counters.frames
    station.go_on_air()
    scenery.wait_for(lambda: source.status.state is State.RUNNING and source.counters.frames > frames)
    assert source.counters.reconnects == 2  # picture and sound
    recorder = source.recorder
    source.close()
    source.close()
    assert source.status.state is State.ENDED
    kept = open_replay(tmp_path / "kept", scenery.SOUND)
    kept.start()
    kept.clock.wait_until(source.clock.now() + 10)
    kept.snapshot(kept.clock.now())
    assert kept.status.state is State.ENDED and kept.counters.reconnects == 2
    assert not recorder.fault
    if not recorder.lost:  # a machine that has no time for it leaves out frames
        assert kept.counters.frames == source.counters.frames and kept.counters.sound_ms == source.counters.sound_ms
    assert not [thread.name for thread in threading.enumerate() if thread.name in ("picture", "sound", "recorder")]
