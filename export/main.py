"""The command line that the scripts `export/to_*.py` share; `avgn export` calls the same function."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from avgn.errors import AvgnError, InputError, UsageError
from avgn.network.checkpoint import QUANTISATION
from export.common import DEFAULT_CLIPS, DEFAULT_RUN, Report, export, print_report
from export.formats import FORMATS, check_format


@dataclass(frozen=True)
class Request:
    """What to export: a run, precisions, the bundle to write, clips to prove it on, patches of one call of focus."""

    run: Path
    precisions: tuple[str, ...]
    out: Path
    clips: tuple[Path, ...]
    batch: int = 1


def check_request(name: str, request: Request) -> None:
    """All that can be said before any work; see `export.formats.check_format` for the errors."""
    if "int8" in request.precisions and not (request.run / QUANTISATION).is_file():
        raise UsageError(
            f"{request.run}: has no quantisation to export; run `avgn quantize --run {request.run} --data MATERIAL "
            "--out RUN8` first, then export RUN8."
        )
    weights = request.run / "model.safetensors"
    check_format(
        name, request.precisions, request.batch, weights.stat().st_size if weights.is_file() else 0, request.out
    )
    if request.batch < 1:
        raise UsageError(f"batch {request.batch}: one call of focus takes 1 patch or more.")
    if request.out.suffix != ".avgn":
        raise UsageError(f"{request.out}: the name of a bundle ends in .avgn.")


def run_format(name: str, request: Request, console: Console) -> list[Report]:
    """Export to one format, each precision in turn; raises what `check_request` and `export.common.export` raise."""
    check_request(name, request)
    targets = FORMATS[name].targets()
    try:
        request.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InputError(f"{request.out.parent}: cannot be made a folder ({fault}); choose another path.") from fault
    reports = []
    for precision in request.precisions:
        report = export(request.run, targets[precision], request.out, request.clips, console, request.batch)
        print_report(report, console)
        reports.append(report)
    return reports


def main(name: str) -> None:
    """Parse the process's arguments, export, print the bundle's path; exit codes as for the `avgn` command."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help="folder of a run (default: the one that ships)")
    parser.add_argument("--precision", nargs="+", default=["fp32"], help=f"of {', '.join(FORMATS[name].precisions)}")
    parser.add_argument("--out", type=Path, default=Path("out/default.avgn"), help="bundle to write or add to")
    parser.add_argument("--clips", nargs="+", type=Path, default=[DEFAULT_CLIPS], help="clips to prove the export on")
    parser.add_argument("--batch", type=int, default=1, help="patches that one call of focus takes, 1 to k")
    given = parser.parse_args()
    try:
        request = Request(given.run, tuple(given.precision), given.out, tuple(given.clips), given.batch)
        run_format(name, request, Console(stderr=True))
    except AvgnError as fault:
        print(f"{Path(sys.argv[0]).name}: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)
    print(given.out)
