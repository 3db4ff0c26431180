"""The media files of a recording: frames as H.264 and sound as FLAC, in Matroska, which can be read while it grows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from avgn.pictures import FramePicture, display_matrix
from runtimes.capture.events import FrameEvent

# Clusters of half a second, written at once: that much a kill costs.
_GROWING = {"cluster_time_limit": "500", "flush_packets": "1"}
_MILLISECONDS = Fraction(1, 1000)
# One frame in, one frame out, in order; a key frame at least every 60.
_X264: dict[str, Any] = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "threads": "1"}
_MPEG4: dict[str, Any] = {"qscale": "3", "bf": "0"}
_KEY_EVERY = 60


class PicturePart:
    """Frames of one size. Odd sizes lose a row or a column: H.264 has none."""

    def __init__(self, path: Path, first: FrameEvent) -> None:
        self.stored = first.size
        height, width = _shown(first).shape[:2] if not _plain(first) else first.size[::-1]
        self._size = max(2, width // 2 * 2), max(2, height // 2 * 2)
        self._container = av.open(str(path), "w", format="matroska", container_options=_GROWING)
        fast = "libx264" in av.codecs_available
        self._stream: Any = self._container.add_stream("libx264" if fast else "mpeg4", rate=30)
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self._stream.time_base = _MILLISECONDS
        self._stream.codec_context.gop_size = _KEY_EVERY
        self._stream.options = _X264 if fast else _MPEG4
        self._scaler = VideoReformatter()
        self._pts = -1

    def write(self, event: FrameEvent) -> int:
        """Encode a frame; returns its pts, its time in milliseconds, but never that of another."""
        self._pts = max(self._pts + 1, round(event.time * 1000))
        if isinstance(event.picture, FramePicture) and _plain(event):
            frame = event.picture.frame
        else:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(_shown(event)), format="rgb24")
        # a scaler of our own: the frame's belongs to whoever looks at it
        frame = self._scaler.reformat(frame, *self._size, format="yuv420p", threads=1)
        frame.pts, frame.time_base = self._pts, _MILLISECONDS
        self._container.mux(self._stream.encode(frame))
        return self._pts

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()


def _plain(event: FrameEvent) -> bool:
    """Whether the decoder's frame is as shown: upright, with square pixels."""
    picture = event.picture
    if not isinstance(picture, FramePicture):
        return False
    return picture.aspect in (None, 0, 1) and display_matrix(picture.frame) == (1, 0, 0, 1)


def _shown(event: FrameEvent) -> NDArray[np.uint8]:
    return event.picture.scaled(min(event.size))


class SoundPart:
    """Mono sound of one rate, 16 bits."""

    def __init__(self, path: Path, rate: int) -> None:
        self.rate = rate
        self._container = av.open(str(path), "w", format="matroska", container_options=_GROWING)
        self._stream: Any = self._container.add_stream("flac", rate=rate, layout="mono")
        self._stream.codec_context.format = "s16"
        self._samples = 0

    def write(self, samples: NDArray[np.float32]) -> None:
        """Encode samples [n], -1..1."""
        whole = np.round(np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(whole[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self._samples, Fraction(1, self.rate)
        self._samples += len(samples)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
