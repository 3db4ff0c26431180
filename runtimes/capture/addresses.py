"""What a user may call a camera: a device, its name, a file, a URL or a GStreamer pipeline."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from avgn.errors import UsageError

_STREAM = {"fflags": "nobuffer", "analyzeduration": "1000000", "probesize": "1000000"}
_RTSP = {**_STREAM, "rtsp_transport": "tcp", "max_delay": "200000"}
# URLs by their scheme, and FFmpeg's options for each.
URLS: dict[str, dict[str, str]] = {
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "http": _STREAM,
    "https": _STREAM,
    "tcp": _STREAM,
    "udp": _STREAM,
}
# What a stream may open by itself: never a file of this machine.
_PROTOCOLS = "tcp,udp,rtp,srtp,rtsp,rtsps,http,https,httpproxy,tls,crypto"
# FFmpeg's device formats, and how they name the first camera.
_DEVICES = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none"), "win32": ("dshow", "video={}")}
# What may be wished of a device, as in "0?video_size=1280x720&framerate=30".
_WISHES = ("video_size", "framerate", "input_format", "pixel_format")
_CSI = (
    "nvarguscamerasrc sensor-id={} ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 ! nvvidconv ! "
    "video/x-raw,format=BGRx"
)
_SINK = " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
_SYSFS = Path("/sys/class/video4linux")


@dataclass(frozen=True)
class Address:
    """What to open. `shown` may be printed: it has no password in it."""

    shown: str
    url: str = ""
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    pipeline: str = ""
    """A GStreamer pipeline, in place of all of the above."""
    file: bool = False
    """A file: it ends, and is played in real time."""


def parse(camera: str) -> Address:
    """Understand the address of a camera. Raises UsageError for one that makes no sense."""
    if "!" in camera:
        return Address("pipeline", pipeline=camera if "appsink" in camera else camera + _SINK)
    if csi := re.fullmatch(r"csi://(\d+)", camera):
        return Address(camera, pipeline=_CSI.format(csi[1]) + _SINK)
    if scheme := re.match(r"([a-zA-Z0-9+.-]+)://", camera):
        return _url(camera, scheme[1].lower())
    if re.match(r"\d+(\?|$)|/dev/", camera):
        return _device(camera)
    if Path(camera).is_file():
        return Address(camera, camera, file=True)
    if "/" in camera or re.search(r"\.\w{2,4}$", camera):
        raise UsageError(f"camera {camera!r}: there is no such file; name a file, a device or a URL.")
    return _device(camera)


def _url(camera: str, scheme: str) -> Address:
    if scheme not in URLS:
        raise UsageError(f"camera {camera.split('@')[-1]!r}: use one of csi://, {'://, '.join(URLS)}://.")
    shown = re.sub(r"://[^/@]*@", "://", camera).split("?")[0]
    return Address(shown, camera, options={"protocol_whitelist": _PROTOCOLS, **URLS[scheme]})


def _device(camera: str) -> Address:
    """A device by number, path or name; which path a name has now is looked up when it is opened."""
    name, _, wishes = camera.partition("?")
    options = dict(parse_qsl(wishes, keep_blank_values=True))
    if unknown := options.keys() - _WISHES:
        raise UsageError(f"camera {camera!r}: {min(unknown)!r} is unknown; use one of {', '.join(_WISHES)}.")
    form, pattern = _DEVICES.get(sys.platform, _DEVICES["linux"])
    return Address(name, pattern.format(name) if name.isdigit() else name, form, options)


def cameras() -> dict[str, str]:
    """Cameras that this machine lists, by path: their names. Empty where the system has no such list (not Linux)."""
    found = {}
    for entry in sorted(_SYSFS.glob("video*")):
        try:
            found[f"/dev/{entry.name}"] = (entry / "name").read_text(encoding="utf-8").strip()
        except OSError:
            continue
    return found


def device_path(name: str) -> str | None:
    """The path that the camera whose name contains `name` has today; None where there is no such camera."""
    if name.startswith("/dev/") or sys.platform != "linux":
        return name
    matches = [path for path, known in cameras().items() if name.lower() in known.lower()]
    return matches[0] if matches else None
