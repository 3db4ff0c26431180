"""The `avgn` command: each verb is a thin function in `avgn.commands`; a fault is one line and an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence

import typer

from avgn.commands import (
    bench,
    classify,
    doctor,
    evaluate,
    export,
    info,
    live,
    macs,
    profile,
    quantize,
    report,
    scenes,
    study,
    train,
)
from avgn.commands.options import print_fault
from avgn.errors import AvgnError, InputError, MissingError, UsageError

VERBS: tuple[Callable[..., None], ...] = (
    classify.classify,
    live.live,
    info.info,
    bench.bench,
    profile.profile,
    doctor.doctor,
    macs.macs,
    scenes.scenes,
    train.train,
    evaluate.evaluate,
    study.study,
    quantize.quantize,
    export.export,
    report.report,
)

app = typer.Typer(
    name="avgn",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in VERBS:
    app.command(verb.__name__)(verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"avgn {version('avgn')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Recognise what happens in a video, cheaply, on this device.

    Exit codes: 0 done; 2 wrong usage; 3 bad input; 4 a device or engine is missing; 5 a proof failed.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code; faults go to stderr in one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names and bars that the terminal's encoding lacks become "?"
            stream.reconfigure(errors="replace")
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="avgn", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except (BrokenPipeError, SystemExit) as fault:
        # the reader went away (typer makes an exit of it): no fault of ours
        if not isinstance(fault.__context__ or fault, BrokenPipeError):
            raise
        # without this the interpreter complains while it flushes stdout at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as fault:
        known = _known(fault)
        if known is None:
            raise
        print_fault(known)
        return known.exit_code


def main() -> None:
    """Entry point of the `avgn` script."""
    sys.exit(run())


def _known(fault: Exception) -> AvgnError | None:
    """The project's error that says what `fault` means to a user; None for a fault in the program itself."""
    if isinstance(fault, AvgnError):
        return fault
    if hasattr(fault, "format_message"):  # typer's own usage errors; their base class is not public
        return UsageError(f"{fault.format_message().rstrip('.')}; try --help.")
    if isinstance(fault, MemoryError):
        return MissingError("not enough memory: close other programs, or take a smaller clip or bundle.")
    if isinstance(fault, OSError):
        advice = "free some space" if fault.errno == errno.ENOSPC else "check the path and its permissions"
        name = f"{fault.filename}: " if fault.filename else ""
        return InputError(f"{name}{fault.strerror or fault}; {advice}.")
    return None
