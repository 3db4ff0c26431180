"""Local media files and their tracks: opening them safely, choosing streams, decoding past damage.

Each track opens the file for itself (a millisecond or two), so that one can be read from end to end and sought in
without disturbing the other. All times are seconds from the clip's start, `origin` on the file's own clock.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import av
from av.stream import Discard, Disposition

from avgn.errors import InputError

T = TypeVar("T")
Kind = Literal["video", "audio"]

# Formats whose header names other files or commands, or that read any text as a picture. They are refused before
# their header is parsed; within the others, only local files may be opened.
_REFUSED = frozenset(
    [
        "hls",
        "concat",
        "concatf",
        "dash",
        "webm_dash_manifest",
        "imf",
        "sdp",
        "rtp",
        "rtsp",
        "sap",
        "lavfi",
        "image2",
        "alias_pix",
        "brender_pix",
        "tty",
        "sbg",
        "ffmetadata",
        "vapoursynth",
        "avisynth",
    ]
)
# What reading packets may raise; the second where damage makes new streams appear in the middle of a file.
UNREADABLE = (av.FFmpegError, IndexError)
_TIMEOUT = 30.0
_MOST_PIXELS = 1 << 26
_NOT_A_TRACK = Disposition.attached_pic | Disposition.timed_thumbnails
_SLOWEST, _USUAL, _FASTEST = 0.1, 25.0, 1000.0


@cache
def _accepted() -> str:
    return ",".join(sorted(av.formats_available - _REFUSED))


def open_container(path: str | Path) -> av.container.InputContainer:
    """Open a local media file. Raises InputError for what is none: missing, empty, a folder, text, a playlist."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as fault:
        raise InputError(f"{path}: cannot be opened ({getattr(fault, 'strerror', None) or fault}).") from fault
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: not a file; name a video or sound file.")
    if status.st_size == 0:
        raise InputError(f"{path}: the file is empty.")
    options = {"protocol_whitelist": "file", "format_whitelist": _accepted()}
    try:
        return av.open(
            f"file:{Path(path).absolute()}",
            options={"max_pixels": str(_MOST_PIXELS)},
            container_options=options,
            metadata_errors="replace",
            timeout=_TIMEOUT,
        )
    except (av.FFmpegError, OSError, ValueError, MemoryError) as fault:
        raise InputError(f"{path}: not a video or sound file that can be read ({_reason(fault)}).") from fault


def _reason(fault: Exception) -> str:
    return getattr(fault, "strerror", None) or str(fault) or type(fault).__name__


def best_stream(container: av.container.InputContainer, kind: Kind) -> Any:
    """The stream of a kind to use, or None: the default one, then the largest. Cover art is not a picture track."""
    streams = [
        stream
        for stream in container.streams
        if stream.type == kind and stream.codec_context is not None and not stream.disposition & _NOT_A_TRACK
    ]
    return max(streams, key=_rank, default=None)


def _rank(stream: Any) -> tuple[bool, int, int]:
    sides = (stream.width, stream.height) if stream.type == "video" else (stream.channels, stream.rate)
    size = (sides[0] or 0) * (sides[1] or 0)
    return bool(stream.disposition & Disposition.default), size, -stream.index


def discard_others(container: av.container.InputContainer, stream: Any) -> None:
    """Tell the demuxer that only one stream is wanted, so that it need not read the others."""
    for other in container.streams:
        other.discard = Discard.default if other is stream else Discard.all


def frame_period(stream: Any) -> float:
    """Seconds from one packet to the next where the file does not say: a frame, or a typical block of sound."""
    rate = (stream.average_rate or stream.guessed_rate) if stream.type == "video" else None
    return 1.0 / float(rate) if rate and _SLOWEST <= rate <= _FASTEST else 1.0 / _USUAL


def plausible(timed: Iterable[tuple[float, T]], reach: float = 10.0) -> Iterator[tuple[float, T]]:
    """Leave out what a damaged timestamp throws ahead: more than `reach` seconds beyond both its neighbours."""
    last, held = -math.inf, None
    for time, item in timed:
        if held is not None and time >= held[0] - reach:
            last = held[0]
            yield held
        held = (time, item) if time > last + reach else None
        if held is None:
            last = time
            yield time, item
    if held is not None:
        yield held


class Track:
    """One stream, decoded in order from any point on; packets that cannot be decoded are counted in `damaged`."""

    kind: Kind

    def __init__(self, path: str | Path, origin: float) -> None:
        self.path, self.origin, self.damaged = path, origin, 0
        self._open()

    def _open(self) -> None:
        self.container = open_container(self.path)
        self.stream = best_stream(self.container, self.kind)
        if self.stream is None:
            self.container.close()
            raise InputError(f"{self.path}: holds no {self.kind} track.")
        discard_others(self.container, self.stream)
        self.context = self.stream.codec_context
        self.context.thread_type = "AUTO"
        self.context.options = {"max_pixels": str(_MOST_PIXELS)}
        self.tick = float(self.stream.time_base)
        self.period = frame_period(self.stream)

    def reopen(self) -> None:
        """Start again from the beginning, whatever the format thinks of seeking."""
        self.container.close()
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.container.close()

    def seek(self, time: float) -> bool:
        """Go to the last key frame at or before `time`, where the format can; True if it says that it has."""
        try:
            self.container.seek(round((time + self.origin) / self.tick), stream=self.stream)
        except (av.FFmpegError, OverflowError):
            return False
        return True

    def wants(self, packet: av.Packet) -> bool:
        """Whether to decode a packet; a track may also prepare its decoder here."""
        return True

    def decoded(self) -> Iterator[Any]:
        """Frames from the present position to the end of the file or of what can be read of it."""
        try:
            for packet in self.container.demux(self.stream):
                if self.wants(packet):
                    yield from self._decode(packet)
        except UNREADABLE:
            yield from self._decode(None)

    def _decode(self, packet: av.Packet | None) -> list[Any]:
        try:
            return self.stream.decode(packet)
        except (av.FFmpegError, MemoryError):
            self.damaged += packet is not None
            return []
