"""States and counters from what comes, does not come, and is told."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scenery

from runtimes.capture.events import DeviceEvent, SoundEvent
from runtimes.capture.receiver import Receiver
from runtimes.capture.source import DeviceStatus, State, Status

SOUND = scenery.SOUND


def fed(*streams, until=math.inf, receiver=None):
    receiver = receiver or Receiver(SOUND, True, True)
    events = sorted((event for stream in streams for event in stream), key=lambda event: event.time)
    for event in events:
        if event.time <= until:
            receiver.take(event)
    return receiver


@pytest.mark.parametrize(
    ("picture", "sound", "both"),
    [
        ("running", "running", "running"),
        ("silent", "running", "running"),
        ("running", "off", "running"),
        ("off", "silent", "running"),
        ("running", "lost", "picture_only"),
        ("missing", "running", "sound_only"),
        ("running", "ended", "picture_only"),
        ("starting", "running", "sound_only"),
        ("starting", "missing", "starting"),
        ("lost", "busy", "lost"),
        ("lost", "off", "lost"),
        ("ended", "ended", "ended"),
        ("ended", "off", "ended"),
        ("lost", "ended", "lost"),
    ],
)
def test_both_states_in_one_word(picture, sound, both):
    assert Status(DeviceStatus(State(picture)), DeviceStatus(State(sound))).state is State(both)


def test_before_anything_came_there_is_nothing():
    receiver = Receiver(SOUND, True, True)
    snippet = receiver.snapshot(1.0)
    assert not snippet.seen and not snippet.heard and snippet.picture is None
    assert snippet.frame_age == snippet.sound_age == math.inf and snippet.av_offset == 0
    assert snippet.sound.shape == (SOUND.samples,) and not snippet.sound.any() and snippet.start % SOUND.hop == 0
    assert receiver.status(1.0).state is State.STARTING


def test_what_stops_coming_is_lost_and_back_when_it_comes():
    receiver = fed(scenery.camera(3), scenery.microphone(6))
    assert receiver.status(3.5).state is State.RUNNING
    status = receiver.status(5.9)
    assert status.state is State.SOUND_ONLY and "nothing has come" in status.picture.fault
    snippet = receiver.snapshot(5.9)
    assert not snippet.seen and snippet.heard and 2.9 < snippet.frame_age < 3.1
    fed(scenery.camera(1, begin=6.0), receiver=receiver)
    assert receiver.status(6.9).picture.state is State.RUNNING
    assert receiver.counters.gaps == 1 and receiver.counters.reconnects == 0


def test_a_slow_camera_is_not_a_lost_one():
    receiver = fed(scenery.camera(12, fps=0.5), scenery.microphone(12))
    for time in (8.1, 9.5, 11.9):
        assert receiver.status(time).picture.state is State.RUNNING
        assert receiver.snapshot(time).seen
    assert receiver.counters.gaps == 0


def test_a_device_that_was_told_to_be_gone_has_reconnected_when_it_brings_something():
    receiver = fed(scenery.camera(2), scenery.microphone(2))
    receiver.take(DeviceEvent(2.0, "sound", State.BUSY, "microphone 'x': another program uses it."))
    status = receiver.status(2.1)
    assert status.state is State.PICTURE_ONLY and status.sound.state is State.BUSY and "another" in status.sound.fault
    receiver.take(DeviceEvent(2.2, "sound", State.STARTING))
    assert receiver.status(2.2).sound.state is State.BUSY
    fed(scenery.microphone(3, begin=4.0), receiver=receiver)
    assert receiver.counters.reconnects == 1 and receiver.status(7.0).sound.state is State.RUNNING
    snippet = receiver.snapshot(6.9)
    assert abs(scenery.misplaced(snippet.sound, snippet.start)) < 0.002
    snippet = receiver.snapshot(4.4)
    assert snippet.heard and receiver.counters.dropped_sound_ms == 0


def test_a_device_that_never_was_there_does_not_reconnect():
    receiver = Receiver(SOUND, True, False)
    receiver.take(DeviceEvent(0.1, "picture", State.MISSING, "camera x: is not there."))
    fed(scenery.camera(1, begin=1.0), receiver=receiver)
    assert receiver.counters.reconnects == 0 and receiver.status(1.9).state is State.RUNNING


def test_black_and_silent_devices_are_named_but_count_as_seen_and_heard():
    receiver = fed(
        scenery.camera(5, shot=scenery.Shot(4)),
        scenery.microphone(5, wave=lambda times: np.zeros(len(times), np.float32)),
    )
    status = receiver.status(5.0)
    assert status.picture.state is status.sound.state is State.SILENT and status.state is State.RUNNING
    assert "muted" in status.sound.fault and "black" in status.picture.fault
    assert receiver.counters.black_frames == 50 and receiver.counters.silent_ms == pytest.approx(5000)
    snippet = receiver.snapshot(4.9)
    assert snippet.seen and snippet.heard
    fed(scenery.camera(1, begin=5.0), scenery.microphone(1, begin=5.0), receiver=receiver)
    assert receiver.status(5.9).picture.state is receiver.status(5.9).sound.state is State.RUNNING


def test_wild_samples_are_tamed():
    wild = np.array([np.nan, np.inf, -np.inf, 7.0] * 2000, np.float32)
    receiver = fed([SoundEvent(1.0, wild, 8000)])
    assert np.isfinite(receiver.snapshot(1.0).sound).all() and np.abs(receiver.snapshot(1.0).sound).max() < 3


def test_late_and_lost_frames_a_new_size_and_a_new_rate_are_counted():
    frames = list(scenery.camera(4, delay=lambda index: 0.3 if 20 <= index < 22 else 0.0))
    frames[30] = replace(frames[30], lost=3)
    frames[33:] = [replace(event, size=(16, 12)) for event in frames[33:]]
    receiver = fed(frames, scenery.microphone(2), scenery.microphone(2, rate=8000, begin=2.0))
    counters = receiver.counters
    assert 3 <= counters.late_frames <= 4 and counters.dropped_frames == 3 and counters.rate_changes == 2
    snippet = receiver.snapshot(3.9)
    assert abs(scenery.misplaced(snippet.sound, snippet.start)) < 0.002


def test_a_camera_whose_clock_is_set_anew_is_not_late_for_ever():
    frames = [replace(event, date=event.date - 500 * (event.time > 2)) for event in scenery.camera(5)]
    assert fed(frames).counters.late_frames == 0


def test_a_blocked_reader_s_drops_are_counted():
    receiver = Receiver(SOUND, True, True)
    fed(scenery.camera(20, fps=30), scenery.microphone(20, block=0.1), receiver=receiver, until=0.5)
    receiver.snapshot(0.5)
    later = [
        [event for event in stream if event.time > 0.5]
        for stream in (scenery.camera(20, fps=30), scenery.microphone(20, block=0.1))
    ]
    fed(*later, receiver=receiver)
    counters = receiver.counters
    assert counters.frames == 600 and abs(counters.dropped_frames - (600 - 15 - 32)) <= 2
    assert abs(counters.dropped_sound_ms - (20 - 8 - 0.5) * 1e3) < 200


def test_closing_ends_what_was_wanted():
    receiver = Receiver(SOUND, True, False)
    receiver.close(3.0)
    assert receiver.status(3.0) == Status(DeviceStatus(State.ENDED, 3.0), DeviceStatus(State.OFF, 0.0))
