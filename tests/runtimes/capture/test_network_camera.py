"""A real network camera: MPEG-TS over TCP on loopback, served by FFmpeg's libraries."""

from __future__ import annotations

import threading

import numpy as np
import scenery

from runtimes.capture import open_live, open_replay
from runtimes.capture.source import State


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
