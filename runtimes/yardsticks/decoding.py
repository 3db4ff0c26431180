"""Reading a clip: what our reader and the `ffmpeg` program take for the same frames and the same sound."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avgn.errors import MissingError
from avgn.media import read_clip
from runtimes.contestant import Contest, Contestant, Timed, timed

if TYPE_CHECKING:
    from avgn.config import Config
    from avgn.snippets import Clip

READ, FFMPEG = "read frames and sound", "ffmpeg, the same frames and sound"
_NEAR = 0.002  # seconds; frames lie further apart


def decoding(contest: Contest) -> list[Contestant]:
    """Our reader in this process, `ffmpeg` as a child; each gives T pictures of G x G, RGB, and mono sound.

    MissingError where there is no `ffmpeg`, or it does not give as many frames.
    """
    tool = shutil.which("ffmpeg")
    if tool is None:
        raise MissingError("no ffmpeg on PATH")
    config, path = contest.subjects[0].classifier.config, contest.clip
    command = command_line(tool, path, read_clip(path, config), config)

    def ours() -> Timed:
        return {READ: timed(lambda: pixels(path, config))}

    def theirs() -> Timed:
        return {FFMPEG: timed(lambda: _run(command))}

    frame, wanted = 3 * config.frame.size**2, len(set(read_clip(path, config).times.tolist()))
    found = len(_run(command)) / frame
    if found != wanted:
        raise MissingError(f"ffmpeg gives {found:g} frames of {path.name} where {wanted} are wanted")
    return [
        Contestant("pyav", "", 0, {READ: 0}, ours),
        Contestant("ffmpeg", "", 0, {FFMPEG: 0}, theirs),
    ]


def pixels(path: Path, config: Config) -> int:
    """Read a clip and make the glance's pictures; how many."""
    shown = [picture for picture in read_clip(path, config).pictures if picture is not None]
    return len([picture.squashed(config.frame.size) for picture in shown])


def command_line(tool: str, path: Path, clip: Clip, config: Config) -> list[str]:
    """`ffmpeg` for the frames at the clip's own times, squashed to G x G, on standard output; the sound beside it.

    It chooses its threads by itself, and skips nothing: it knows no other way to find frames by their time.
    """
    side, rate = config.frame.size, config.sound.rate
    chosen = "+".join(f"lt(abs(t-{time:.6f}),{_NEAR})" for time in np.unique(clip.times[clip.seen]).tolist())
    line = [tool, "-v", "error", "-nostdin", "-i", str(path), "-map", "0:v:0", "-vf"]
    line += [f"select='{chosen}',scale={side}:{side}:flags=bilinear", "-fps_mode", "passthrough"]
    line += ["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]
    sound = ["-map", "0:a:0", "-ac", "1", "-ar", str(rate), "-f", "f32le", "-y", "/dev/null"]
    return line + (sound if clip.heard.any() else [])


def _run(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise MissingError(f"ffmpeg failed ({done.stderr.decode(errors='replace').strip()[-200:]})")
    return done.stdout
