"""A network camera as a program: MPEG-TS over TCP to one listener, in real time, for ever. Says when it is `on air`.

`python station.py PORT`: a picture that grows brighter, and a tone. `python station.py PORT CLIP`: the pictures of a
file, again and again, without its sound.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import av
import numpy as np

FPS, RATE, TONE, BLOCK = 20, 32000, 5.0, 1152


def on_air(port):
    return av.open(f"tcp://127.0.0.1:{port}?listen=1", "w", format="mpegts", options={"flush_packets": "1"})


def say_so(container):
    container.start_encoding()
    print("on air", flush=True)
    return time.perf_counter()


def wait_until(moment):
    time.sleep(max(0.0, moment - time.perf_counter()))


def serve(port):
    with on_air(port) as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"preset": "ultrafast", "tune": "zerolatency"}
        video.codec_context.gop_size = 10
        audio = container.add_stream("mp2", rate=RATE, layout="mono")
        begun, number, sample = say_so(container), 0, 0
        while True:
            wait_until(begun + number / FPS)
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


def serve_clip(port, clip):
    """Packets as they are in the file, each when its frame is due."""
    with on_air(port) as container, av.open(clip) as file:
        source = file.streams.video[0]
        target = container.add_stream_from_template(source)
        lasts, round_, begun = source.duration, 0, say_so(container)
        while True:
            for packet in file.demux(source):
                if packet.pts is None:
                    continue
                packet.pts += round_ * lasts
                packet.dts += round_ * lasts
                wait_until(begun + float(packet.pts * packet.time_base))
                packet.stream = target
                container.mux(packet)
            file.seek(0)
            round_ += 1


if __name__ == "__main__":
    port, *clip = sys.argv[1:]
    serve_clip(port, *clip) if clip else serve(port)
