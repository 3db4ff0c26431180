"""Camera and microphone on one clock: live, replayed, or made to fail on purpose.

`open_live` and `open_replay` give a `Source`; `runtimes.capture.source` says what that is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avgn.config import SoundConfig
    from runtimes.capture.faults import Fault
    from runtimes.capture.source import Source

__all__ = ["open_live", "open_replay"]


def open_live(camera: str | None, mic: str | None, sound: SoundConfig, record: str | Path | None = None) -> Source:
    """Camera (device, file, URL or GStreamer pipeline) and microphone (by name, "default" for the system's).

    `record` is a folder that is to hold all that comes. Raises UsageError for an address that makes no sense, where
    neither is asked for, and InputError for a folder that cannot be written; a device that is not there is no error.
    """
    raise NotImplementedError


def open_replay(path: str | Path, sound: SoundConfig, realtime: bool = False, faults: tuple[Fault, ...] = ()) -> Source:
    """A recording (a folder) or a plain video or sound file, as if live, in real time or as fast as it is read.

    Raises InputError for what is neither, and UsageError for faults that are not known.
    """
    from runtimes.capture.recorded import recorded_tape
    from runtimes.capture.replay import ReplaySource, file_tape

    tape = recorded_tape(path) if Path(path).is_dir() else file_tape(path, sound)
    return ReplaySource(tape, sound, realtime, faults)
