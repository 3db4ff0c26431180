"""The system's files below a root folder, and the few commands that know more than the files.

With another root than "/" everything comes from that folder: files from a copied tree, the output of commands from
`cmd/NAME_WORDS.txt` in it (`nvpmodel -q` is `cmd/nvpmodel_q.txt`). So a device can be read without having it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 1 << 16  # no file that is read here is longer
PATIENCE_S = 5.0
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_ORDER = re.compile(r"(\d+)")
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class Tree:
    """Paths are relative to `root`, without a leading slash."""

    root: Path = Path("/")

    @property
    def real(self) -> bool:
        """Whether this is the machine itself, not a copied tree."""
        return self.root == Path("/")

    def read(self, path: str) -> str | None:
        """The text of a file, stripped of white space and NUL; None where it is missing or its read fails.

        Sensors that are switched off fail with EAGAIN or EIO; Python's buffered files stumble over that, so the file
        is read with plain calls.
        """
        try:
            handle = os.open(f"{self.root}/{path}", _FLAGS)
        except (OSError, ValueError):
            return None
        try:
            data = os.read(handle, LIMIT)
        except OSError:
            return None
        finally:
            os.close(handle)
        return data.decode("utf-8", "replace").strip(" \t\r\n\0")

    def label(self, path: str) -> str | None:
        """`read`, of a name that never changes."""
        return self.read(path)

    def number(self, path: str) -> int | None:
        """The whole number that a file holds; None for anything else in it."""
        return whole(self.read(path))

    def denied(self, path: str) -> bool:
        """Whether the file is there and may not be read."""
        try:
            os.close(os.open(self.root / path, _FLAGS))
        except PermissionError:
            return True
        except (OSError, ValueError):
            return False
        return False

    def exists(self, path: str) -> bool:
        """Whether there is anything at `path`."""
        return (self.root / path).exists()

    def find(self, *patterns: str) -> list[str]:
        """All paths that fit a pattern, numbers in their order (hwmon2 before hwmon10)."""
        found: dict[str, None] = {}
        for pattern in patterns:
            try:
                paths = [place.relative_to(self.root).as_posix() for place in self.root.glob(pattern)]
            except OSError:
                continue
            found.update(dict.fromkeys(sorted(paths, key=natural)))
        return list(found)

    def command(self, *words: str) -> str | None:
        """What a command prints (both streams); None where it is not there, hangs, or prints nothing."""
        if not self.real:
            name = "_".join(word.strip("-") for word in words)
            return self.read(f"cmd/{name}.txt") or None
        program = shutil.which(words[0])
        if program is None:
            return None
        try:
            done = subprocess.run(
                [program, *words[1:]], capture_output=True, timeout=PATIENCE_S, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return (done.stdout + done.stderr)[:LIMIT].decode("utf-8", "replace").strip() or None


@dataclass(frozen=True)
class Remembered(Tree):
    """A tree that looks for paths and names once, so that reading it again and again costs little; numbers are new."""

    places: dict[tuple[str, ...], list[str]] = field(default_factory=dict, repr=False)
    labels: dict[str, str | None] = field(default_factory=dict, repr=False)

    def label(self, path: str) -> str | None:
        """See `Tree.label`; read once."""
        if path not in self.labels:
            self.labels[path] = self.read(path)
        return self.labels[path]

    def find(self, *patterns: str) -> list[str]:
        """See `Tree.find`; what appears later is not found."""
        if patterns not in self.places:
            self.places[patterns] = super().find(*patterns)
        return self.places[patterns]


def whole(text: str | None) -> int | None:
    """The whole number that `text` is; None where it is anything else."""
    return int(text) if text is not None and text.isascii() and _INTEGER.fullmatch(text) else None


def natural(path: str) -> list[tuple[int, str]]:
    """A key that sorts numbers inside names by their value."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in _ORDER.split(path)]
