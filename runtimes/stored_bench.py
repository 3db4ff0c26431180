"""What `avgn bench` measured on this machine, kept so that `--backend auto` can take the fastest engine.

One JSON file in the user's cache, by the digest of the bundle and the threads asked for: a bundle that was changed is
another. Only benches that timed two or more variants side by side are kept. What cannot be read, was measured on
another processor or with other versions of the tools is as if it were not there.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from avgn.errors import InputError
from avgn.files import parse_json, write_file
from runtimes.machine import machine, versions

Variant = tuple[str, str]  # backend, precision
FORMAT = 1
MOST = 50  # entries kept; the oldest go first
_LIMIT = 1 << 20  # bytes of the file


def place() -> Path:
    """Where the file lies: $XDG_CACHE_HOME/avgn/bench.json, or ~/.cache/avgn/bench.json."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
    return root / "avgn" / "bench.json"


def store(digest: str, threads: int | None, milliseconds: Mapping[Variant, float]) -> None:
    """Keep the median of a decision by variant. A cache that cannot be written is left alone: it is only a cache."""
    if len(milliseconds) < 2:
        return
    rows = [{"backend": name, "precision": kind, "ms": ms} for (name, kind), ms in milliseconds.items()]
    entries = _entries()
    entries.pop(_key(digest, threads), None)
    entries[_key(digest, threads)] = {"made": _made(), "rows": rows}
    kept = dict(list(entries.items())[-MOST:])
    with suppress(InputError, OSError):
        place().parent.mkdir(parents=True, exist_ok=True)
        write_file(place(), json.dumps({"format": FORMAT, "entries": kept}, indent=1) + "\n")


def measured(digest: str, threads: int | None) -> dict[Variant, float]:
    """Milliseconds of a decision by variant, of one bench; empty where there is none that holds here and now."""
    entry = _entries().get(_key(digest, threads))
    try:
        if entry is None or entry["made"] != _made():
            return {}
        found = {(str(row["backend"]), str(row["precision"])): float(row["ms"]) for row in entry["rows"]}
    except (KeyError, TypeError, ValueError):
        return {}
    return found if all(math.isfinite(ms) and ms > 0 for ms in found.values()) else {}


def _key(digest: str, threads: int | None) -> str:
    return f"{digest} {threads or 'own'}"


def _made() -> dict[str, Any]:
    """What a measurement holds for."""
    here = machine()
    return {"cpu": here["cpu"], "cores": here["cores"], "versions": versions()}


def _entries() -> dict[str, Any]:
    try:
        if place().stat().st_size > _LIMIT:
            return {}
        data = parse_json(place().read_bytes(), str(place()))
    except (OSError, InputError, RuntimeError):  # RuntimeError: there is no home
        return {}
    entries = data.get("entries") if isinstance(data, dict) and data.get("format") == FORMAT else None
    return dict(entries) if isinstance(entries, dict) else {}
