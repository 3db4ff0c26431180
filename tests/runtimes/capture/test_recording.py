"""Recordings: what was brought comes back, whole or as far as a kill let it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import av
import numpy as np
import pytest
import scenery
from hypothesis import given, settings
from hypothesis import strategies as st

from avgn.errors import InputError
from avgn.pictures import FramePicture
from runtimes.capture import open_replay
from runtimes.capture.events import DeviceEvent, FrameEvent, SoundEvent
from runtimes.capture.recorded import recorded_tape
from runtimes.capture.recording import CLOCK, Recorder, RecordingWriter
from runtimes.capture.source import State

SIZE = (64, 48)


def picture(number, size=SIZE):
    pixels = np.full((size[1], size[0], 3), 30 + 5 * number % 200, np.uint8)
    return FramePicture(av.VideoFrame.from_ndarray(pixels, "rgb24"))


def session(seconds=3.0):
    """What a camera and a microphone bring, with what goes wrong in between."""
    frames = [
        replace(event, picture=picture(number), size=SIZE) for number, event in enumerate(scenery.camera(seconds))
    ]
    frames[12:] = [replace(event, picture=picture(7, (33, 25)), size=(33, 25)) for event in frames[12:]]
    frames[9] = replace(frames[9], lost=2)
    blocks = [*scenery.microphone(seconds / 2), *scenery.microphone(seconds / 2, rate=8000, begin=seconds / 2)]
    blocks[20] = replace(blocks[20], overflow=True)
    told = [
        DeviceEvent(1.05, "picture", State.LOST, 'camera "x": über den Haufen'),
        DeviceEvent(seconds, "picture", State.ENDED),
        DeviceEvent(seconds, "sound", State.ENDED),
    ]
    return sorted([*frames, *blocks, *told], key=lambda event: event.time)


def written(folder, events):
    writer = RecordingWriter(folder, True, True)
    for event in events:
        writer.write(event)
    writer.close()
    return folder


def played(folder):
    tape = recorded_tape(folder)
    return list(tape.picture), list(tape.sound)


def same(one, other):
    assert type(one) is type(other) and one.time == other.time
    if isinstance(one, DeviceEvent):
        assert one == other
    elif isinstance(one, FrameEvent):
        assert (one.size, one.date, one.lost) == (other.size, other.date, other.lost)
        difference = one.picture.squashed(16).astype(int) - other.picture.squashed(16)
        assert np.abs(difference).max() <= 6
    else:
        assert (one.rate, one.overflow, one.after_gap) == (other.rate, other.overflow, other.after_gap)
        np.testing.assert_allclose(one.samples, other.samples, atol=1 / 32000)


def split(events):
    def is_picture(event):
        return isinstance(event, FrameEvent) or (isinstance(event, DeviceEvent) and event.kind == "picture")

    return [event for event in events if is_picture(event)], [event for event in events if not is_picture(event)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return written(tmp_path_factory.mktemp("kept") / "session", session())


def test_all_comes_back_as_it_came(recording):
    for found, wanted in zip(played(recording), split(session()), strict=True):
        assert len(found) == len(wanted) + 1  # the end is always told
        for one, other in zip(found, wanted, strict=False):
            same(one, other)
    assert sorted(path.name for path in recording.iterdir()) == [
        CLOCK,
        "picture-0.mkv",
        "picture-1.mkv",
        "sound-0.mka",
        "sound-1.mka",
    ]


def test_a_recording_can_be_replayed_and_is_the_same_every_time(recording):
    def snippets():
        source = open_replay(recording, scenery.SOUND)
        source.start()
        for step in range(20):
            source.clock.wait_until(step / 5)
            snippet = source.snapshot(step / 5)
            yield snippet.sound.tobytes(), snippet.start, snippet.frame and snippet.frame.number, source.counters

    first = list(snippets())
    assert first == list(snippets())
    assert first[-1][-1].reconnects == 1 and first[-1][-1].rate_changes == 2 and first[-1][-1].xruns == 1


def test_a_kill_costs_no_more_than_a_second(tmp_path):
    events = session(6.0)
    writer = RecordingWriter(tmp_path / "live", True, True)
    for event in events:
        if event.time > 5.0:
            break
        writer.write(event)
    shutil.copytree(tmp_path / "live", tmp_path / "killed")  # what is on disk while the writer still runs
    for found, wanted in zip(played(tmp_path / "killed"), split(events), strict=True):
        assert found[-1].state is State.ENDED and 4.0 < found[-2].time <= 5.0
        for one, other in zip(found[:-1], wanted, strict=False):
            same(one, other)
    writer.close()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_cut_anywhere_it_is_played_as_far_as_it_goes(data, recording, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut") / "session"
    shutil.copytree(recording, folder)
    for path in folder.iterdir():
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = played(folder)
    except InputError as fault:
        assert "clock.jsonl" in str(fault)
        return
    for events, wanted in zip(found, split(session()), strict=True):
        for one, other in zip(events[:-1], wanted, strict=False):
            same(one, other)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("no json", "not valid JSON"),
        ('{"kind":"smell","time":1.0}', "smell"),
        ('{"kind":"sound","time":1.0,"colour":1}', "colour"),
        ('{"kind":"device","time":1.0,"device":"sound","state":"happy"}', "happy"),
        ('{"kind":"sound"}', "time"),
        ("[" * 20_000, "longer"),
        ('{"kind":"picture","time":1.0,"part":-1}', "part"),
        ('{"kind":"sound","time":1.0,"rate":8000,"samples":999999999999}', "samples"),
        ('{"kind":"sound","time":1.0,"samples":5,"rate":0}', "rate"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused(recording, tmp_path, line, word):
    folder = tmp_path / "session"
    shutil.copytree(recording, folder)
    lines = (folder / CLOCK).read_text(encoding="utf-8").splitlines()
    (folder / CLOCK).write_text("\n".join([lines[0], line, *lines[1:]]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=word):
        played(folder)


def test_another_format_an_empty_one_and_a_folder_that_is_none_are_refused(tmp_path):
    head = {"format": 99, "begun": "2026-01-01", "picture": True, "sound": True}
    for content, word in ((json.dumps(head) + "\n", "format 99"), ("", "empty"), (None, "neither a recording")):
        folder = tmp_path / word.split()[0]
        folder.mkdir()
        if content is not None:
            (folder / CLOCK).write_text(content)
        with pytest.raises(InputError, match=word):
            open_replay(folder, scenery.SOUND)


def test_a_folder_with_something_in_it_is_not_recorded_into(tmp_path, recording):
    with pytest.raises(InputError, match="not empty"):
        RecordingWriter(recording, True, True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        RecordingWriter(tmp_path / "file", True, True)


class SlowWriter:
    """Takes nothing until it is told to go on."""

    def __init__(self):
        import threading

        self.go, self.events = threading.Event(), []

    def write(self, event):
        self.go.wait(10)
        self.events.append(event)

    def close(self):
        self.events.append("closed")


def test_a_disk_that_is_too_slow_costs_events_but_never_time():
    writer = SlowWriter()
    recorder = Recorder(writer)
    blocks = list(scenery.microphone(6))  # 300 of them
    for block in blocks[:250]:
        recorder.take(block)
    assert recorder.lost in (129, 130)  # 120 wait, one may be with the writer
    writer.go.set()
    while recorder._queue.qsize():
        pass
    recorder.take(blocks[250])
    recorder.close()
    assert writer.events[-1] == "closed" and len(writer.events) + recorder.lost == 252
    assert writer.events[-2].after_gap and not writer.events[-3].after_gap


def test_frames_that_wait_for_the_disk_are_few():
    writer = SlowWriter()
    recorder = Recorder(writer)
    for frame in scenery.camera(10):
        recorder.take(frame)
    assert recorder.lost in (69, 70)  # 30 wait, one may be with the writer
    writer.go.set()
    recorder.close()
    assert len(writer.events) == 101 - recorder.lost


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path):
    class Full(SlowWriter):
        def write(self, event):
            raise OSError(28, "No space left on device")

    recorder = Recorder(Full())
    for block in scenery.microphone(1):
        recorder.take(block)
    recorder.close()
    assert "No space left" in recorder.fault and recorder.lost == 0


def test_a_turned_and_a_plain_picture_are_kept_as_they_are_shown(tmp_path):
    event = FrameEvent(0.5, scenery.Shot(90), (8, 6))
    folder = written(tmp_path / "kept", [event, SoundEvent(0.6, np.zeros(100, np.float32), 8000)])
    found, _ = played(folder)
    assert abs(int(found[0].picture.scaled(6).mean()) - 90) <= 3
