"""Replayed files against reading them at once; pace, order and ends."""

from __future__ import annotations

import numpy as np
import pytest
import scenery

from avgn.config import Config
from avgn.errors import InputError, UsageError
from avgn.media import read_clip
from avgn.snippets import snippet_times
from clips import write_clip
from runtimes.capture import open_replay
from runtimes.capture.events import Tape
from runtimes.capture.faults import Fault
from runtimes.capture.replay import ReplaySource
from runtimes.capture.source import GIVING, State

SOUND = scenery.SOUND


def steps(source, period=0.25, until=60.0):
    """Snippets every `period` seconds until the source has ended."""
    source.start()
    time, taken = 0.0, []
    while source.status.state is not State.ENDED and time < until:
        source.clock.wait_until(time)
        time = max(time, source.clock.now())
        taken.append(source.snapshot(time))
        time += period
    source.close()
    return taken


@pytest.mark.parametrize(("sound", "rate", "layout"), [("aac", 44100, "mono"), ("pcm_s16le", 8000, "stereo")])
def test_a_file_that_has_been_played_holds_the_very_snippets_of_reading_it(tmp_path, sound, rate, layout):
    path = tmp_path / "clip.mkv"
    write_clip(path, 3.0, fps=10, sound=sound, rate=rate, layout=layout, sound_form="fltp" if sound == "aac" else "s16")
    clip = read_clip(path, Config(sound=SOUND, snippets=6))
    source = open_replay(path, SOUND)
    source.start()
    source.clock.wait_until(10.0)
    for index, time in enumerate(snippet_times(clip.duration, 6)):
        snippet = source.snapshot(float(time))
        assert snippet.start == clip.starts[index] and snippet.heard == clip.heard[index]
        np.testing.assert_allclose(snippet.sound, clip.sound[index], atol=1e-6)
        assert snippet.frame is not None and snippet.frame.time == clip.times[index]
        np.testing.assert_array_equal(snippet.picture.squashed(32), clip.pictures[index].squashed(32))
    assert source.status.state is State.ENDED
    assert source.counters.frames == 30 and source.counters.gaps == 0 and source.counters.dropped_sound_ms == 0
    source.close()


def test_the_window_of_now_ends_with_the_newest_sound_and_shows_the_newest_frame(tmp_path):
    path = tmp_path / "clip.mkv"
    stamps = write_clip(path, 4.0, fps=10, sound="pcm_s16le", rate=8000, sound_form="s16")
    for snippet in steps(open_replay(path, SOUND))[4:-2]:
        assert snippet.heard and 0 <= snippet.sound_age < 0.2
        end = (snippet.start + SOUND.samples) / SOUND.rate
        assert snippet.time - snippet.sound_age - end < SOUND.hop / SOUND.rate
        assert snippet.start % SOUND.hop == 0
        assert snippet.frame.time == max(stamp for stamp in stamps if stamp <= snippet.time)
        assert snippet.frame_age == snippet.time - snippet.frame.time


def test_two_replays_give_the_same(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, 3.0)
    first, second = steps(open_replay(path, SOUND)), steps(open_replay(path, SOUND))
    assert len(first) == len(second) > 10
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.sound, other.sound)
        assert (one.start, one.heard, one.frame_age, one.sound_age, one.av_offset) == (
            (other.start, other.heard, other.frame_age, other.sound_age, other.av_offset)
        )
        assert (one.frame and one.frame.number) == (other.frame and other.frame.number)


def test_a_file_without_sound_or_without_picture_is_off_there(tmp_path):
    write_clip(tmp_path / "mute.mp4", 1.0, sound=None)
    write_clip(tmp_path / "blind.wav", 1.0, size=None, sound="pcm_s16le", sound_form="s16")
    mute, blind = open_replay(tmp_path / "mute.mp4", SOUND), open_replay(tmp_path / "blind.wav", SOUND)
    seen, heard = steps(mute, 0.1), steps(blind, 0.1)
    assert mute.status.sound.state is State.OFF and blind.status.picture.state is State.OFF
    assert any(snippet.seen for snippet in seen) and not any(snippet.heard for snippet in seen)
    assert any(snippet.heard for snippet in heard) and not any(snippet.seen for snippet in heard)


def test_a_track_that_ends_first_leaves_the_other(tmp_path):
    write_clip(tmp_path / "clip.mkv", 3.0, sound="pcm_s16le", sound_form="s16", sound_seconds=1.0)
    source = open_replay(tmp_path / "clip.mkv", SOUND)
    source.start()
    source.clock.wait_until(2.5)
    snippet = source.snapshot(2.5)
    assert source.status.state is State.PICTURE_ONLY and snippet.seen and not snippet.heard


def test_in_real_time_things_come_when_they_are_due(tmp_path):
    write_clip(tmp_path / "clip.mp4", 0.6, fps=20)
    source = open_replay(tmp_path / "clip.mp4", SOUND, realtime=True)
    source.start()
    frames = []
    while source.status.state is not State.ENDED and source.clock.now() < 20:
        source.clock.wait_until(source.clock.now() + 0.05)
        snippet = source.snapshot(source.clock.now())
        if snippet.frame:
            assert snippet.frame.time <= snippet.time
            frames.append(snippet.frame.number)
    source.close()
    assert source.counters.frames == 12 and frames == sorted(frames) and len(set(frames)) > 1


def test_damage_in_the_middle_is_no_end(tmp_path):
    path = tmp_path / "clip.ts"
    write_clip(path, 4.0, sound="aac")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    source = open_replay(path, SOUND)
    steps(source)
    assert source.status.state is State.ENDED and source.counters.frames > 20


def test_what_is_not_a_file_or_a_fault_is_refused(tmp_path):
    (tmp_path / "text.txt").write_text("no film")
    for path in (tmp_path / "text.txt", tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError):
            open_replay(path, SOUND)
    with pytest.raises(UsageError, match="late_frames"):
        ReplaySource(Tape([], []), SOUND, faults=(Fault("earthquake"),))


def test_devices_that_bring_nothing_are_starting():
    source = ReplaySource(Tape(iter(scenery.camera(5)), iter(scenery.microphone(5, begin=2))), SOUND)
    source.start()
    assert source.status.state is State.STARTING
    source.clock.wait_until(1.0)
    snippet = source.snapshot(1.0)
    assert source.status.state is State.PICTURE_ONLY and snippet.seen and not snippet.heard
    source.clock.wait_until(3.0)
    assert source.snapshot(3.0).heard and source.status.state is State.RUNNING
    assert source.status.sound.state in GIVING
