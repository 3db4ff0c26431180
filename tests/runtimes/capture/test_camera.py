"""Addresses of cameras, and cameras that need no hardware: files, pipelines, and those that are not there."""

from __future__ import annotations

import errno
import sys
import threading
import types

import numpy as np
import pytest
import scenery

from avgn.errors import UsageError
from clips import write_clip
from runtimes.capture import addresses, open_live
from runtimes.capture import camera as camera_module
from runtimes.capture.addresses import parse
from runtimes.capture.camera import PipelineCamera, StreamCamera
from runtimes.capture.clock import SystemClock
from runtimes.capture.devices import DeviceError
from runtimes.capture.source import State

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="names of devices are Linux's")


@LINUX
@pytest.mark.parametrize(
    ("camera", "url", "form"),
    [
        ("0", "/dev/video0", "v4l2"),
        ("/dev/video3", "/dev/video3", "v4l2"),
        ("C920", "C920", "v4l2"),
        ("rtsp://cam.local/live", "rtsp://cam.local/live", None),
        ("TCP://127.0.0.1:9000", "TCP://127.0.0.1:9000", None),
    ],
)
def test_what_a_camera_may_be_called(camera, url, form):
    address = parse(camera)
    assert (address.url, address.format, address.pipeline, address.file) == (url, form, "", False)


@LINUX
@pytest.mark.parametrize("name", ["0", "/dev/video0", "C920"])
def test_a_device_may_be_asked_for_a_size_and_a_rate(name):
    address = parse(f"{name}?video_size=1280x720&framerate=30")
    assert address.options == {"video_size": "1280x720", "framerate": "30"} and address.shown == name
    assert address.url in ("/dev/video0", "C920")
    with pytest.raises(UsageError, match="'colour' is unknown"):
        parse(f"{name}?colour=red")


def test_streams_may_open_no_file_of_this_machine():
    for scheme in addresses.URLS:
        allowed = parse(f"{scheme}://host/x").options["protocol_whitelist"].split(",")
        assert not {"file", "concat", "subfile", "pipe", "data"} & set(allowed)


def test_passwords_are_not_shown():
    address = parse("rtsp://me:secret@cam:554/live?token=abc")
    assert "secret" in address.url and address.shown == "rtsp://cam:554/live"
    with pytest.raises(UsageError) as refused:
        parse("ftp://me:secret@cam/x")
    assert "secret" not in str(refused.value)


def test_pipelines_end_in_pictures():
    assert parse("videotestsrc ! videoscale").pipeline.endswith("appsink drop=true max-buffers=1 sync=false")
    assert parse("videotestsrc ! appsink").pipeline == "videotestsrc ! appsink"
    assert "sensor-id=1 " in parse("csi://1").pipeline


@pytest.mark.parametrize("camera", ["nothing.mp4", "some/where", "ftp://host", "rtmp://host/x"])
def test_what_makes_no_sense_is_refused(camera):
    with pytest.raises(UsageError):
        parse(camera)


def test_neither_camera_nor_microphone_is_refused(tmp_path):
    for camera, mic in ((None, None), (None, "camera"), ("videotestsrc ! appsink", "camera")):
        with pytest.raises(UsageError):
            open_live(camera, mic, scenery.SOUND)


@LINUX
def test_a_name_finds_its_device_whatever_its_number(tmp_path, monkeypatch):
    for number, name in ((0, "Integrated Camera"), (4, "HD Pro Webcam C920"), (5, "HD Pro Webcam C920")):
        (tmp_path / f"video{number}").mkdir()
        (tmp_path / f"video{number}" / "name").write_text(name + "\n")
    monkeypatch.setattr(addresses, "_SYSFS", tmp_path)
    assert addresses.device_path("c920") == "/dev/video4" and addresses.device_path("/dev/video9") == "/dev/video9"
    with pytest.raises(DeviceError, match=r"HD Pro Webcam C920 \(/dev/video4\)") as fault:
        StreamCamera(parse("Brio"), SystemClock(), False).run(print, threading.Event())
    assert fault.value.state is State.MISSING


@pytest.mark.parametrize(
    ("code", "state", "word"),
    [(errno.EBUSY, State.BUSY, "another program"), (errno.EACCES, State.MISSING, "group `video`"),
     (errno.ENOENT, State.MISSING, "cannot be opened"), (errno.EIO, State.MISSING, "cannot be opened")],
)  # fmt: skip
def test_why_a_device_cannot_be_opened_is_named(monkeypatch, code, state, word):
    def refuse(*args, **options):
        raise OSError(code, "the system's own words")

    monkeypatch.setattr(camera_module.av, "open", refuse)
    with pytest.raises(DeviceError, match=word) as fault:
        StreamCamera(parse("0"), SystemClock(), False).run(print, threading.Event())
    assert fault.value.state is state


def test_a_stream_that_nobody_serves_is_lost():
    with pytest.raises(DeviceError, match="tcp://127.0.0.1:9: cannot be opened".replace(".", r"\.")) as fault:
        StreamCamera(parse("tcp://127.0.0.1:9"), SystemClock(), False).run(print, threading.Event())
    assert fault.value.state is State.LOST


def test_a_file_is_a_camera_that_ends(tmp_path):
    write_clip(tmp_path / "clip.mkv", 1.0, fps=20, sound="pcm_s16le", sound_form="s16", layout="stereo", rate=16000)
    events, clock = [], SystemClock()
    StreamCamera(parse(str(tmp_path / "clip.mkv")), clock, True).run(events.append, threading.Event())
    took = clock.now()
    pictures = [event for event in events if hasattr(event, "picture")]
    sounds = [event for event in events if hasattr(event, "samples")]
    assert len(pictures) == 20 and took > 0.7
    assert sum(len(event.samples) for event in sounds) == 16000 and {event.rate for event in sounds} == {16000}
    dates = [event.date for event in pictures]
    assert dates == sorted(dates) and pictures[3].size == (96, 64)


def test_a_file_without_sound_has_no_microphone(tmp_path):
    write_clip(tmp_path / "clip.mkv", 0.5, sound=None)
    with pytest.raises(DeviceError, match="has no sound"):
        StreamCamera(parse(str(tmp_path / "clip.mkv")), SystemClock(), True).run(print, threading.Event())


def test_who_is_behind_leaves_out_frames_until_it_has_caught_up():
    backlog = camera_module._Backlog()
    assert backlog.seconds(0.0, 10.0) == 0.0
    assert backlog.seconds(1.0, 11.5) == pytest.approx(0.5, abs=0.01)
    assert backlog.seconds(2.0, 12.0) == pytest.approx(0.0, abs=0.01)
    assert backlog.seconds(9000.0, 13.0) == 0.0  # its clock was set
    context = types.SimpleNamespace(skip_frame="DEFAULT", thread_type="")
    stream = types.SimpleNamespace(codec_context=context, time_base=1)
    pictures = camera_module._Pictures(stream, print, camera_module._Skew(), hurries=True)
    modes = []
    for behind in (0.0, 0.3, 0.6, 0.4, 2.0, 0.7, 0.1):
        pictures._hurry(behind)
        modes.append(context.skip_frame)
    assert modes == ["DEFAULT", "DEFAULT", "NONREF", "NONREF", "NONKEY", "NONREF", "DEFAULT"]


def test_a_stream_s_sound_is_dated_with_the_pictures_of_its_moment():
    """Sound comes 0.4 s later than the pictures it belongs to; later the stream's clock is set."""
    skew = camera_module._Skew()
    skew.observe("sound", 95_000.0)
    assert skew.seconds == 0.0
    comes = sorted([(n / 20, "picture") for n in range(400)] + [(0.4 + n * 0.036, "sound") for n in range(500)])
    for now, kind in comes:
        zero = 95_000 - 50_000 * (now > 10) - 0.4 * (kind == "sound")
        skew.observe(kind, zero + now)
        if now > 2:
            assert skew.seconds == pytest.approx(0.4, abs=0.03)
    absurd = camera_module._Skew()
    absurd.observe("sound", 1.0)
    absurd.observe("picture", 9.0)
    assert absurd.seconds == 0.0


class FakeCv2(types.SimpleNamespace):
    """OpenCV with a camera that gives three frames."""

    CAP_GSTREAMER = 1800

    def __init__(self, opens=True, built="GStreamer:    YES"):
        super().__init__(opens=opens, built=built, left=3, released=False)

    def VideoCapture(self, pipeline, api):  # noqa: N802
        assert api == self.CAP_GSTREAMER and "appsink" in pipeline
        return self

    def isOpened(self):  # noqa: N802
        return self.opens

    def getBuildInformation(self):  # noqa: N802
        return f"Video I/O:\n  {self.built}\n"

    def read(self):
        self.left -= 1
        return self.left >= 0, np.dstack([np.full((4, 6), value, np.uint8) for value in (10, 20, 200)])

    def release(self):
        self.released = True


def run_pipeline(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "cv2", module)
    events = []
    with pytest.raises(DeviceError) as fault:
        PipelineCamera(parse("testsrc ! appsink"), SystemClock()).run(events.append, threading.Event())
    return events, fault.value


def test_a_pipeline_s_pictures_have_their_colours(monkeypatch):
    module = FakeCv2()
    events, fault = run_pipeline(monkeypatch, module)
    assert len(events) == 3 and fault.state is State.LOST and module.released
    red, green, blue = events[0].picture.scaled(4)[1, 1]
    assert (red, green, blue) == (200, 20, 10) and events[0].size == (6, 4) and events[0].date is None


@pytest.mark.parametrize(
    ("module", "word"),
    [(None, "needs OpenCV"), (FakeCv2(False), "gst-launch"), (FakeCv2(False, "GStreamer: NO"), "without GStreamer")],
)
def test_why_a_pipeline_does_not_run_is_named(monkeypatch, module, word):
    events, fault = run_pipeline(monkeypatch, module)
    assert not events and fault.state is State.MISSING and word in str(fault)
