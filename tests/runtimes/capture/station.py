"""A network camera as a program: MPEG-TS over TCP to one listener, a picture that grows brighter and a tone.

In real time, for ever: `python station.py PORT`.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import av
import numpy as np

FPS, RATE, TONE, BLOCK = 20, 32000, 5.0, 1152


def serve(port):
    with av.open(f"tcp://127.0.0.1:{port}?listen=1", "w", format="mpegts", options={"flush_packets": "1"}) as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"preset": "ultrafast", "tune": "zerolatency"}
        video.codec_context.gop_size = 10
        audio = container.add_stream("mp2", rate=RATE, layout="mono")
        begun, number, sample = time.perf_counter(), 0, 0
        while True:
            time.sleep(max(0.0, begun + number / FPS - time.perf_counter()))
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 + number % 180, np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
            number += 1
            while sample < number * RATE // FPS:
                wave = 0.5 * np.sin(2 * np.pi * TONE * (sample + np.arange(BLOCK)) / RATE)
                block = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], "s16", "mono")
                block.sample_rate, block.pts, block.time_base = RATE, sample, Fraction(1, RATE)
                container.mux(audio.encode(block))
                sample += BLOCK


if __name__ == "__main__":
    serve(int(sys.argv[1]))
