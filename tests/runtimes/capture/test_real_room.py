"""A real network camera and a real microphone at once, in `avgn live` as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "samples" / "demo.mp4"  # a guitar is seen and heard from 3 to 6.5 of its 8 s
ROUNDS = 8


def sound_of(clip):
    """Samples [n] and their rate, as long as the pictures last."""
    with av.open(str(clip)) as file:
        picture, rate = file.streams.video[0], file.streams.audio[0].rate
        count = round(float(picture.duration * picture.time_base) * rate)
        blocks = [frame.to_ndarray()[0] for frame in file.decode(audio=0)]
    samples = np.zeros(count, np.float32)
    found = np.concatenate(blocks)[:count]
    samples[: len(found)] = found
    return samples, rate


@pytest.fixture
def live(station):
    """`avgn live` on the camera and the microphone, with the default bundle; its decisions are lines of JSON."""
    options = ["--mic", "pulse", "--json", "--no-rest", "--threads", "1", "--duration", str(8 * ROUNDS)]
    words = ["avgn", "live", "--camera", station.url, *options]
    code = f"from avgn.cli import main; import sys; sys.argv = {words!r}; main()"
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    yield program
    program.terminate()
    program.communicate(timeout=30)
    assert program.returncode == 0


def test_what_is_shown_and_played_is_recognised(server, station, live):
    samples, rate = sound_of(DEMO)
    station.go_on_air(DEMO)
    station.wait_for_listener()
    server.play(np.tile(samples, ROUNDS), rate)
    told = []
    for line in live.stdout:
        told.append(json.loads(line))
        if told[-1]["label"] == "electric_guitar" and told[-1]["score"] > 0.9:
            break
    last = told[-1]
    assert last["label"] == "electric_guitar", [(line["time"], line["label"], line["score"]) for line in told]
    assert last["seen"] and last["heard"] and last["picture"] == last["sound"] == "running"
    assert abs(last["av_offset_ms"]) < 80
    assert last["age_ms"]["frame"] < 1000 and last["age_ms"]["sound"] < 1000
