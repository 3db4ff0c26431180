"""Options that several verbs share, and how their results are printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 160
BundleOption = Annotated[Path | None, typer.Option("--bundle", help="Bundle to run (default: the one that ships).")]
BackendOption = Annotated[str, typer.Option("--backend", help="Engine: auto, or one that the bundle has.")]
PrecisionOption = Annotated[str | None, typer.Option("--precision", help="fp32, fp16 or int8 (default: first).")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="Threads of the engine (default: its own).")]
StreamThreadsOption = Annotated[
    int, typer.Option("--threads", help="Threads of the engine; in a stream more than one mostly wait.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache", envvar="AVGN_CACHE", help="Folder for compiled graphs: quicker starts. Trust what is in it."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print pure JSON on standard output.")]


def console(stderr: bool = False) -> Console:
    """A rich console that leaves plain words plain, wide enough for tables where nobody's window is the limit."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=PIPE_WIDTH)


def print_json(data: Any) -> None:
    """`data` as JSON on standard output, and nothing else; NaN and infinities never pass."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def printable(text: object) -> str:
    """`text` in one line, without anything that a terminal would obey (file names may hold it)."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def print_fault(fault: Exception) -> None:
    """One line on standard error."""
    print(f"avgn: {printable(fault)}", file=sys.stderr)


def print_warning(text: str) -> None:
    """One line on standard error, for what is no fault but worth a look."""
    print(f"avgn: warning: {printable(text)}", file=sys.stderr)
