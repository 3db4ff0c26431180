"""The command line that the scripts `export/to_*.py` share; `avgn export` calls the same function."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from avgn.errors import AvgnError, InputError, UsageError
from export.common import DEFAULT_CLIPS, DEFAULT_RUN, Report, Target, export, print_report


@dataclass(frozen=True)
class Request:
    """What to export: a run, precisions, the bundle to write, the clips to prove it on."""

    run: Path
    precisions: tuple[str, ...]
    out: Path
    clips: tuple[Path, ...]


def run_targets(targets: Mapping[str, Target], request: Request, console: Console) -> list[Report]:
    """Export each precision in turn. Raises UsageError for a precision that the engine lacks, before any work."""
    for precision in request.precisions:
        if precision not in targets:
            raise UsageError(f"precision {precision!r}: this engine has {', '.join(targets)}.")
    if request.out.suffix != ".avgn":
        raise UsageError(f"{request.out}: the name of a bundle ends in .avgn.")
    try:
        request.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InputError(f"{request.out.parent}: cannot be made a folder ({fault}); choose another path.") from fault
    reports = []
    for precision in request.precisions:
        report = export(request.run, targets[precision], request.out, request.clips, console)
        print_report(report, console)
        reports.append(report)
    return reports


def main(targets: Mapping[str, Target]) -> None:
    """Parse the process's arguments, export, print the bundle's path; exit codes as for the `avgn` command."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help="folder of a run (default: the one that ships)")
    parser.add_argument("--precision", nargs="+", default=["fp32"], help=f"of {', '.join(targets)}")
    parser.add_argument("--out", type=Path, default=Path("out/default.avgn"), help="bundle to write or add to")
    parser.add_argument("--clips", nargs="+", type=Path, default=[DEFAULT_CLIPS], help="clips to prove the export on")
    given = parser.parse_args()
    try:
        request = Request(given.run, tuple(given.precision), given.out, tuple(given.clips))
        run_targets(targets, request, Console(stderr=True))
    except AvgnError as fault:
        print(f"{Path(sys.argv[0]).name}: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)
    print(given.out)
