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

# The microphone of a camera's own stream.
OF_CAMERA = "camera"

__all__ = ["open_live", "open_replay"]


def open_live(camera: str | None, mic: str | None, sound: SoundConfig, record: str | Path | None = None) -> Source:
    """Camera (device, file, URL or GStreamer pipeline) and microphone, by name.

    The microphone "default" is the system's, and "camera" the sound of the camera's own stream. `record` is a folder
    that is to hold all that comes. Raises UsageError for an address that makes no sense and where neither is asked for,
    InputError for a folder that cannot be written; a device that is not there is no error.
    """
    from avgn.errors import UsageError
    from runtimes.capture.addresses import parse
    from runtimes.capture.camera import open_camera
    from runtimes.capture.clock import SystemClock
    from runtimes.capture.devices import Device
    from runtimes.capture.live import LiveSource
    from runtimes.capture.microphone import Microphone
    from runtimes.capture.recording import Recorder, RecordingWriter

    own = mic == OF_CAMERA
    if camera is None and (mic is None or own):
        raise UsageError("live: name a camera, a microphone or both.")
    address = None if camera is None else parse(camera)
    if own and address is not None and address.pipeline:
        raise UsageError("live: a GStreamer pipeline brings no sound; name a microphone.")
    clock = SystemClock()
    devices: list[Device] = [] if address is None else [open_camera(address, clock, own)]
    if mic is not None and not own:
        devices.append(Microphone(mic, clock))
    recorder = None if record is None else Recorder(RecordingWriter(record, camera is not None, mic is not None))
    return LiveSource(devices, sound, clock, recorder)


def open_replay(path: str | Path, sound: SoundConfig, realtime: bool = False, faults: tuple[Fault, ...] = ()) -> Source:
    """A recording (a folder), a plain video or sound file, or a folder of such files played one after the other.

    As if live, in real time or as fast as it is read. Raises InputError for what is neither, and UsageError for faults
    that are not known.
    """
    from runtimes.capture.folder import folder_tape
    from runtimes.capture.recorded import is_recording, recorded_tape
    from runtimes.capture.replay import ReplaySource, file_tape

    if not Path(path).is_dir():
        return ReplaySource(file_tape(path, sound), sound, realtime, faults)
    tape = recorded_tape(path) if is_recording(path) else folder_tape(path, sound)
    return ReplaySource(tape, sound, realtime, faults)
