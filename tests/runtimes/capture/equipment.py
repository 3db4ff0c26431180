"""Real devices for tests, as programs of their own: a network camera, and a sound server that PortAudio hears."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import scenery

from runtimes.capture.devices import DeviceError
from runtimes.capture.microphone import portaudio


class Station:
    """Serves one listener at a time, see `station.py`; being killed is what happens to it."""

    def __init__(self):
        if "libx264" not in av.codecs_available or "mp2" not in av.codecs_available:
            pytest.skip("PyAV is built without the encoders that a camera needs")
        self.port = _free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"
        self.program = None

    def go_on_air(self, *clip):
        script = Path(__file__).with_name("station.py")
        self.program = subprocess.Popen(
            [sys.executable, str(script), str(self.port), *map(str, clip)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def wait_for_listener(self):
        """Until the first picture goes out."""
        assert self.program.stdout.readline() == b"on air\n"

    def go_off_air(self):
        if self.program is not None:
            self.program.kill()
            self.program.communicate(timeout=10)


class SoundServer:
    """A PulseAudio of our own, in a folder of its own, with one sink that leads nowhere."""

    def __init__(self, folder, monkeypatch):
        missing = [name for name in ("pulseaudio", "pactl", "paplay") if shutil.which(name) is None]
        if missing:
            pytest.skip(f"needs {', '.join(missing)}: apt-get install pulseaudio pulseaudio-utils")
        self.folder, self.socket = folder, folder / "native"
        self.program = self.player = None
        for name in ("HOME", "XDG_RUNTIME_DIR"):
            monkeypatch.setenv(name, str(folder))
        monkeypatch.setenv("PULSE_SERVER", f"unix:{self.socket}")

    def start(self):
        modules = (f"module-native-protocol-unix socket={self.socket}", "module-null-sink sink_name=room rate=44100")
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        self.program = subprocess.Popen(
            [*command, *(part for module in modules for part in ("-L", module))], stderr=subprocess.DEVNULL
        )
        scenery.wait_for(lambda: subprocess.run(["pactl", "info"], capture_output=True).returncode == 0)

    def check(self):
        """Skip the test where PortAudio does not find the server."""
        try:
            system = portaudio()
        except DeviceError as fault:
            pytest.skip(str(fault))
        system._terminate()
        system._initialize()
        if not any(device["name"] == "pulse" for device in system.query_devices()):
            pytest.skip("PortAudio has no way to PulseAudio: apt-get install libasound2-plugins")

    def play(self, samples, rate):
        """Play `samples` [n], -1..1, in the room."""
        path = self.folder / "played.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        self.player = subprocess.Popen(["paplay", "--latency-msec=40", str(path)])

    def hush(self):
        """Stop what is played."""
        if self.player is not None:
            self.player.kill()
            self.player.wait(20)

    def stop(self):
        self.hush()
        self.program.kill()
        self.program.wait(10)
        self.socket.unlink(missing_ok=True)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
