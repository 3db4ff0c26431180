"""A real path of sound: a player, PulseAudio's null sink, its monitor, ALSA, PortAudio, and back to us."""

from __future__ import annotations

import numpy as np
import scenery

from runtimes.capture import open_live
from runtimes.capture.source import State

PITCH, RATE = 1000.0, 44100


def test_what_is_played_is_heard_and_a_server_that_comes_back_is_found(server):
    source = open_live(None, "pulse", scenery.SOUND)
    source.start()
    try:
        scenery.wait_for(lambda: source.status.state is State.RUNNING)
        scenery.wait_for(lambda: source.status.sound.state is State.SILENT)
        server.play(0.5 * np.sin(2 * np.pi * PITCH * np.arange(20 * RATE) / RATE), RATE)
        quiet = scenery.SOUND.samples // 2
        snippet = scenery.wait_for_snippet(source, lambda found: np.abs(found.sound[:quiet]).max() > 0.3)
        server.hush()
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
