"""Microphones through a made-up sound system: names, formats, and everything that can go wrong."""

from __future__ import annotations

import sys
import threading
import time
import types

import numpy as np
import pytest

from runtimes.capture.clock import SimulatedClock, SystemClock
from runtimes.capture.devices import DeviceError
from runtimes.capture.microphone import Microphone, inputs, portaudio, stable_name
from runtimes.capture.source import State


class PortAudioError(Exception):
    pass


def device(name, channels=2, rate=44100.0):
    return {"name": name, "max_input_channels": channels, "default_samplerate": rate}


class FakeSystem:
    """What sounddevice looks like to us. `play(stream)` is called by `start` and may call the stream's callback."""

    PortAudioError = PortAudioError

    def __init__(self, devices, default=0, play=lambda stream: None, refuse=()):
        self.devices, self.play, self.refuse = devices, play, refuse
        self.default = types.SimpleNamespace(device=[default, -1])
        self.streams, self.looks = [], 0

    def query_devices(self):
        return self.devices

    def InputStream(self, **options):  # noqa: N802
        if options["channels"] in self.refuse:
            raise PortAudioError(self.refuse[options["channels"]])
        stream = types.SimpleNamespace(**options, active=True, closed=False)
        stream.start = lambda: self.play(stream)
        stream.abort = lambda: None
        stream.close = lambda: setattr(stream, "closed", True)
        self.streams.append(stream)
        return stream

    def _terminate(self):
        self.looks += 1

    def _initialize(self):
        self.looks += 1


def deliver(stream, *blocks, overflow=()):
    for index, block in enumerate(blocks):
        status = types.SimpleNamespace(input_overflow=index in overflow)
        stream.callback(np.asarray(block, np.float32), len(block), None, status)


def run(system, name="default", clock=None):
    """Events until the device fails, and how it does."""
    events, microphone = [], Microphone(name, clock or SystemClock(), lambda: system)
    with pytest.raises(DeviceError) as fault:
        microphone.run(events.append, threading.Event())
    return events, fault.value


def then_gone(*blocks, overflow=()):
    def play(stream):
        deliver(stream, *blocks, overflow=overflow)
        threading.Timer(0.05, lambda: setattr(stream, "active", False)).start()

    return play


@pytest.mark.parametrize(
    ("name", "index"),
    [("default", 2), ("USB Audio", 1), ("usb audio", 1), ("USB", 1), ("USB Audio: - (hw:7,0)", 1), ("webcam", 3)],
)
def test_a_microphone_is_found_by_the_part_of_its_name_that_stays(name, index):
    system = FakeSystem(
        [device("HDMI", 0), device("USB Audio: - (hw:2,0)"), device("Built-in"), device("My USB Audio Webcam")],
        default=2,
        play=then_gone(),
    )
    run(system, name)
    assert system.streams[0].device == index and system.streams[0].closed
    assert [found["index"] for found in inputs(system)] == [1, 2, 3]


def test_names_lose_their_numbers():
    assert stable_name("HDA Intel PCH: ALC257 Analog (hw:0,0)") == "HDA Intel PCH: ALC257 Analog"
    assert stable_name("Mikrofon (Realtek Audio)") == "Mikrofon (Realtek Audio)"


def test_channels_are_averaged_and_blocks_stamped_by_our_clock():
    clock = SimulatedClock()
    clock.wait_until(7.0)
    left_right = [[0.5, -0.1]] * 4

    def play(stream):
        assert stream.channels == 2 and stream.samplerate == 48000 and stream.dtype == "float32"
        deliver(stream, left_right, [[1.0, 0.0]] * 3)
        stream.active = False

    system = FakeSystem([device("x", 2, 48000.0)], play=play, refuse={1: "Invalid number of channels"})
    events, fault = run(system, clock=clock)
    assert [len(event.samples) for event in events] == [4, 3] and events[0].time == 7.0
    np.testing.assert_allclose(events[0].samples, 0.2, atol=1e-6)
    assert events[0].rate == 48000 and fault.state is State.LOST


def test_blocks_are_copies():
    reused = np.full((4, 1), 0.25, np.float32)

    def play(stream):
        stream.callback(reused, 4, None, types.SimpleNamespace(input_overflow=False))
        reused[:] = 9.0
        stream.active = False

    events, _ = run(FakeSystem([device("x")], play=play))
    assert events[0].samples[0] == np.float32(0.25)


def test_overflows_and_blocks_that_we_were_too_slow_for_are_flagged():
    blocks = [[[0.1]]] * 150  # of which 100 wait
    events, _ = run(FakeSystem([device("x")], play=then_gone(*blocks, overflow=(120,))))
    assert len(events) == 100
    assert [index for index, event in enumerate(events) if event.overflow] == [0, 70]


def test_silence_of_the_system_is_noticed():
    began = time.perf_counter()
    _, fault = run(FakeSystem([device("x")]))
    assert fault.state is State.LOST and 0.9 < time.perf_counter() - began < 10 and "plugged" in str(fault)


@pytest.mark.parametrize(
    ("words", "state", "word"),
    [
        ("Device unavailable [PaErrorCode -9985]", State.BUSY, "another program"),
        ("Bad rate", State.MISSING, "Bad rate"),
    ],
)
def test_why_it_cannot_be_opened_is_named(words, state, word):
    _, fault = run(FakeSystem([device("x", 8)], refuse={1: words, 2: words, 8: words}))
    assert fault.state is state and word in str(fault)


def test_what_is_not_there_is_named_with_what_is():
    for devices, word in (([device("Webcam")], "'Webcam'"), ([], "none")):
        _, fault = run(FakeSystem(devices), "Brio")
        assert fault.state is State.MISSING and word in str(fault)


def test_the_list_of_devices_is_looked_at_anew_before_the_second_try():
    system, events = FakeSystem([device("x")], play=then_gone()), []
    microphone = Microphone("y", SystemClock(), lambda: system)
    for tries in (0, 2):
        with pytest.raises(DeviceError):
            microphone.run(events.append, threading.Event())
        assert system.looks == tries
    system.devices = [device("x"), device("y")]
    with pytest.raises(DeviceError, match="plugged"):
        microphone.run(events.append, threading.Event())
    assert system.streams[0].device == 1


def test_stop_closes_the_stream():
    system, stop = FakeSystem([device("x")]), threading.Event()
    stop.set()
    Microphone("x", SystemClock(), lambda: system).run(print, stop)
    assert system.streams[0].closed


@pytest.mark.parametrize(
    ("fault", "word"), [(ImportError("no"), r"avgn\[live\]"), (OSError("PortAudio library not found"), "libportaudio2")]
)
def test_without_sounddevice_or_portaudio_the_microphone_is_missing_and_says_how_to_get_it(monkeypatch, fault, word):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "sounddevice":
                raise fault

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(DeviceError, match=word) as refused:
        portaudio()
    assert refused.value.state is State.MISSING
