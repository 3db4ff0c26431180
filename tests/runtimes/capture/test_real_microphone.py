"""A real path of sound: a player, PulseAudio's null sink, its monitor, ALSA, PortAudio, and back to us."""

from __future__ import annotations

import os
import shutil
import subprocess
import wave

import numpy as np
import pytest
import scenery

from runtimes.capture import open_live
from runtimes.capture.devices import DeviceError
from runtimes.capture.microphone import portaudio
from runtimes.capture.source import State

PITCH = 1000.0


class SoundServer:
    """A PulseAudio of our own, in a folder of its own, with one sink that leads nowhere."""

    def __init__(self, folder):
        self.folder, self.program = folder, None
        self.socket = folder / "native"

    def start(self):
        modules = (f"module-native-protocol-unix socket={self.socket}", "module-null-sink sink_name=room rate=44100")
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        self.program = subprocess.Popen(
            [*command, *(part for module in modules for part in ("-L", module))], stderr=subprocess.DEVNULL
        )
        scenery.wait_for(lambda: subprocess.run(["pactl", "info"], capture_output=True).returncode == 0)

    def stop(self):
        self.program.kill()
        self.program.wait(10)
        self.socket.unlink(missing_ok=True)


@pytest.fixture
def server(tmp_path, monkeypatch):
    missing = [name for name in ("pulseaudio", "pactl", "paplay") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install pulseaudio pulseaudio-utils")
    for name, value in (("HOME", tmp_path), ("XDG_RUNTIME_DIR", tmp_path)):
        monkeypatch.setenv(name, str(value))
    made = SoundServer(tmp_path)
    monkeypatch.setenv("PULSE_SERVER", f"unix:{made.socket}")
    made.start()
    try:
        system = portaudio()
    except DeviceError as fault:
        made.stop()
        pytest.skip(str(fault))
    system._terminate()
    system._initialize()
    if not any(device["name"] == "pulse" for device in system.query_devices()):
        made.stop()
        pytest.skip("PortAudio has no way to PulseAudio: apt-get install libasound2-plugins")
    yield made
    made.stop()


def play(folder, seconds):
    path = folder / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 44100, 0, "NONE", ""))
        tone = 0.5 * np.sin(2 * np.pi * PITCH * np.arange(int(seconds * 44100)) / 44100)
        file.writeframes((tone * 32767).astype("<i2").tobytes())
    return subprocess.Popen(["paplay", str(path)], env=dict(os.environ))


def test_what_is_played_is_heard_and_a_server_that_comes_back_is_found(server, tmp_path):
    source = open_live(None, "pulse", scenery.SOUND)
    source.start()
    try:
        scenery.wait_for(lambda: source.status.state is State.RUNNING)
        scenery.wait_for(lambda: source.status.sound.state is State.SILENT)
        player = play(tmp_path, 20)
        quiet = scenery.SOUND.samples // 2
        snippet = scenery.wait_for_snippet(source, lambda found: np.abs(found.sound[:quiet]).max() > 0.3)
        player.kill()
        player.wait(20)
        assert snippet.heard and snippet.sound_age < 1.0
        spectrum = np.abs(np.fft.rfft(snippet.sound * np.hanning(len(snippet.sound))))
        assert (
            abs(spectrum.argmax() * scenery.SOUND.rate / len(snippet.sound) - PITCH) < 30
        )  # while it is still pulled to its place
        assert 0.4 < np.abs(snippet.sound).max() < 0.6

        server.stop()
        scenery.wait_for(lambda: source.status.state is State.LOST)
        server.start()
        scenery.wait_for(lambda: source.status.state is State.RUNNING)
        assert source.counters.reconnects == 1
    finally:
        source.close()
    assert source.status.state is State.ENDED
