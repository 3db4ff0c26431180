"""Files and folders that appear whole or not at all, and JSON that can be read in one way only.

What is written goes to a sibling of the target first, `.NAME.new-XXXXXXXX`; a folder that is replaced waits as
`.NAME.old-XXXXXXXX` until the new one stands. The writer holds a lock on its leftovers (flock, which the kernel drops
with the process), so the next write to the same target can tell those of dead runs: it removes them, and puts an old
folder back where the new one never came. Where there is no flock (Windows), leftovers are left alone.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from avgn.errors import InputError

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_ADVICE = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit on file sizes",
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.EROFS: "choose a folder you may write to",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "choose another path",
    errno.EISDIR: "choose another path",
}
_TAIL = re.compile("(?:new|old)-[0-9a-f]{8}")
_MAX_DIGITS = 20  # enough for any 64-bit integer with its sign
# A JSON string; matches any opening quote and never looks back, so that the time is linear whatever the text.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def write_file(path: str | Path, data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path`, replacing what is there; a reader meets the old file or the new one.

    Raises InputError (full disk, read-only folder, no such folder, not a regular file) and leaves nothing behind.
    """
    target = _target(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    with _explained(target):
        if target.exists() and not target.is_file():
            raise InputError(f"{target}: is not a regular file; choose another path.")
        _sweep(target)
        with _temporary(target, lambda place: place.touch(exist_ok=False)) as temporary:
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
            _sync(target.parent)


@contextmanager
def replace_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty sibling folder that takes the place of `path` on a clean exit; on an error it is thrown away.

    The old folder, if any, stays whole until the new one is complete and on disk. Killed at any moment, the old one
    is whole, at its place or (in the instant between two renames) beside it, from where the next call puts it back.
    Raises InputError for what the system refuses, in here or in the body of the `with`.
    """
    target = _target(path)
    with _explained(target):
        if target.exists() and not target.is_dir():
            raise InputError(f"{target}: is a file, not a folder; choose another path.")
        _sweep(target)
        with _temporary(target, Path.mkdir) as temporary:
            yield temporary
            _sync_tree(temporary)
            _swap(temporary, target)


def interrupted(path: str | Path) -> Path | None:
    """Where the old folder of `path` waits after a `replace_folder` that was killed between its two renames."""
    target = _target(path)
    with suppress(OSError):
        return next((place for kind, place in _leftovers(target) if kind == "old" and not target.exists()), None)
    return None


def parse_json(data: bytes, where: str, depth: int = 32) -> Any:
    """Read UTF-8 JSON strictly; InputError, naming `where`, for anything that two readers may take differently.

    Refused besides bad syntax: duplicate keys, NaN and infinities (also by overflow, as in 1e999), integers of more
    than 20 characters, and nesting deeper than `depth` (counted before parsing, so that no input exhausts the stack).
    """
    try:
        text = data.decode("utf-8")
        level = 0
        for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
            level += 1 if bracket in "[{" else -1
            if level > depth:
                raise ValueError(f"nested deeper than {depth} levels")
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer
        )
    except ValueError as fault:
        raise InputError(f"{where}: is not valid JSON ({fault}).") from fault


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {key!r:.60} appears twice")
        table[key] = value
    return table


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.30} is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"{text:.30} is too large")
    return int(text)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an InputError that says what to do."""
    try:
        yield
    except OSError as fault:
        advice = _ADVICE.get(fault.errno or 0, "check the path and the disk")
        raise InputError(f"{path}: cannot be written ({fault}); {advice}.") from fault


def _target(path: str | Path) -> Path:
    """The real place behind links, so that a link stays a link and its siblings lie on the same disk."""
    try:
        target = Path(os.path.realpath(path))
    except (OSError, ValueError) as fault:
        raise InputError(f"{str(path)!r}: is not a path ({fault}).") from fault
    if not target.name:
        raise InputError(f"{target}: has no name of its own; choose another path.")
    return target


def _sibling(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}-{secrets.token_hex(4)}")


def _leftovers(target: Path) -> list[tuple[str, Path]]:
    prefix = f".{target.name}."
    with os.scandir(target.parent) as entries:
        tails = [entry.name.removeprefix(prefix) for entry in entries if entry.name.startswith(prefix)]
    return [(tail[:3], target.with_name(prefix + tail)) for tail in tails if _TAIL.fullmatch(tail)]


def _sweep(target: Path) -> None:
    """Clear what dead runs left of `target`; what a living process holds is not touched."""
    for kind, place in _leftovers(target):
        handle = _lock(place, wait=False)
        if handle is None:
            continue
        try:
            if kind == "old" and not target.exists():
                place.rename(target)
            else:
                _remove(place)
        finally:
            os.close(handle)


def _lock(place: Path, wait: bool) -> int | None:
    """A handle that holds `place` until it is closed; None where it is gone, held by another or cannot be locked."""
    if fcntl is None:
        return None
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle


@contextmanager
def _temporary(target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new, locked sibling of `target`; removed in the end unless it was renamed."""
    temporary, handle = _claim(target, make)
    try:
        yield temporary
    finally:
        _remove(temporary)
        if handle is not None:
            os.close(handle)


def _claim(target: Path, make: Callable[[Path], None]) -> tuple[Path, int | None]:
    while True:
        temporary = _sibling(target, "new")
        make(temporary)
        handle = _lock(temporary, wait=True)
        if temporary.exists():
            return temporary, handle
        if handle is not None:  # another writer's sweep took it between the making and the locking
            os.close(handle)


def _swap(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        _sync(target.parent)
        return
    aside = _sibling(target, "old")
    handle = _lock(target, wait=False)
    try:
        target.rename(aside)
        try:
            new.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        _sync(target.parent)
        _remove(aside)
    finally:
        if handle is not None:
            os.close(handle)


def _remove(place: Path) -> None:
    """Remove a file or a tree; what resists is left for the next sweep."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with suppress(OSError):
            place.unlink()


def _sync_tree(folder: Path) -> None:
    for place in [*folder.rglob("*"), folder]:
        _sync(place)


def _sync(place: Path) -> None:
    """Have a file or folder on disk before going on (Windows cannot open folders, nor sync what is open to read)."""
    if os.name == "nt":
        return
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as fault:
        if fault.errno != errno.EINVAL:  # some file systems do not sync folders
            raise
    finally:
        os.close(handle)
