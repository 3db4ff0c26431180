"""`avgn bench`: our pipeline, the bare graphs and the alternatives, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avgn.commands.options import (
    BackendOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    console,
    print_json,
)
from avgn.errors import AvgnError, MissingError, UsageError
from avgn.extras import import_extra

if TYPE_CHECKING:
    from avgn.bundle import Bundle
    from runtimes.backends import LoadedEngine
    from runtimes.bench import Bench
    from runtimes.contestant import Yardstick

# made from a run, with PyTorch: apart from runtimes.yardsticks
PYTORCH, DENSE, DENSE_INT8 = "PyTorch", "dense", "dense int8"


def bench(
    clips: Annotated[
        list[Path] | None, typer.Option("--clips", help="Video to run on, again for more (default: the sample).")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", help="Interleaved rounds, after a warm-up.")] = 15,
    bundle: Annotated[
        list[Path] | None, typer.Option("--bundle", help="Bundle to run, again for more (default: the one that ships).")
    ] = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run of the first bundle, for PyTorch (default: that of the one that ships)."),
    ] = None,
    dense: Annotated[
        Path | None, typer.Option("--dense", help="A trained run of the dense net (default: untrained weights).")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="NAME", help="Leave a yardstick out; may be repeated.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="OUT", help="Draw accuracy against time.")] = None,
    accuracy: Annotated[
        list[str] | None,
        typer.Option(
            "--accuracy",
            metavar="TITLE=FILE",
            help="What `avgn evaluate --json` printed, for the plot (default: what the bundles record).",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Time every engine and precision of a bundle beside its bare graphs and the alternatives, in one run.

    What is found decides from then on what `--backend auto` takes on this machine.
    """
    from avgn.bundle import default_bundle, open_bundle
    from runtimes import tradeoff
    from runtimes.bench import Options, run_bench
    from runtimes.plot import check_plot
    from runtimes.stored_bench import store
    from runtimes.yardsticks import YARDSTICKS

    how = Options(rounds, backend, precision, threads, tuple(clips or ()))
    known = tradeoff.evaluated(accuracy or ())
    if plot is not None:
        check_plot(plot)
    opened = [open_bundle(path) for path in bundle or [default_bundle()]]
    table: dict[str, Yardstick] = dict(YARDSTICKS)
    left_out = _left_out(without or (), [*table, PYTORCH, DENSE, DENSE_INT8])
    others: list[LoadedEngine] = []
    not_run = dict.fromkeys(left_out, "not run: left out with --without")
    with console(stderr=True).status("avgn bench") as status:
        if PYTORCH not in left_out:
            status.update("compiling with PyTorch, which takes a minute or more (--without PyTorch leaves it out)")
            others, missing = _pytorch(run, opened[0], threads)
            not_run |= missing
        for name in (name for name in (DENSE, DENSE_INT8) if name not in left_out):
            try:
                making = import_extra("export.dense_yardstick", "export", "the dense net")
                table[name] = making.dense_yardstick(dense, int8=name == DENSE_INT8)
            except MissingError as fault:
                not_run[name] = f"not run: {fault}"
        used = {name: make for name, make in table.items() if name not in left_out}
        found = run_bench(opened, how, others, used, not_run, tell=status.update)
    for one in opened:
        decisions = found.decisions(one.manifest.name)
        store(one.digest(), threads, {key: decisions[key] for key in one.variants() if key in decisions})
    if json:
        print_json(found.as_json())
    else:
        _show(found)
    if plot is not None:
        tradeoff.draw(found, {**tradeoff.recorded(opened), **known}, plot)


def _left_out(names: Sequence[str], all_names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in all_names:
            raise UsageError(f"--without {name}: there is no such yardstick; there are {', '.join(all_names)}.")
    return list(names)


def _pytorch(run: Path | None, bundle: Bundle, threads: int | None) -> tuple[list[LoadedEngine], dict[str, str]]:
    """PyTorch eager and compiled on the bundle's run; where none was named and none fits, why they are not run."""
    from importlib.resources import files

    place = run or Path(str(files("avgn") / "models" / "default.run"))
    try:
        if run is None and not place.is_dir():
            raise MissingError("name the bundle's run with --run")
        found: tuple[list[LoadedEngine], dict[str, str]] = import_extra(
            "export.yardsticks", "export", "PyTorch beside a bundle"
        ).torch_engines(place, bundle, threads)
    except AvgnError as fault:
        if run is not None:
            raise
        return [], {PYTORCH: f"not run: {fault}"}
    return found


def _show(found: Bench) -> None:
    from rich.table import Table

    screen = console()
    machine = found.machine
    for line in (
        f"machine   {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}",
        f"versions  {', '.join(f'{tool} {text}' for tool, text in found.versions.items())}",
        f"clips     {', '.join(found.clips)}",
        f"rounds    {found.rounds}, interleaved, after {found.warm_up} of warm-up that do not count",
    ):
        screen.print(line, markup=False, soft_wrap=True)
    names = ("name", "bundle", "backend", "precision", "threads", "p50 ms", "p25 to p75", "p90 ms", "p99 ms", "GMACs")
    table = Table(*names, "to ours", box=None)
    for column in table.columns[4:]:
        column.justify = "right"
    for row in found.rows:
        spread = f"{row.spread.p25:.2f} to {row.spread.p75:.2f}"
        levels = (f"{row.ms.p50:.3f}", spread, f"{row.ms.p90:.3f}", f"{row.ms.p99:.3f}")
        figures = (f"{row.macs / 1e9:.4f}" if row.macs else "", f"{row.ratio_to_ours:.3f}")
        threads = str(row.threads) if row.threads else "own"
        table.add_row(row.name, row.bundle, row.backend, row.precision, threads, *levels, *figures)
    screen.print(table)
    _show_roofline(found)
    for name, why in found.not_run.items():
        screen.print(f"{name}: {why}", markup=False, soft_wrap=True)
    for head in found.headline:
        variant = f"{head.bundle} {head.backend} {head.precision}"
        screen.print(
            f"avgn classify (without decoding) / bare graphs, {variant}: {head.ours_to_bare:.3f} "
            f"({head.spread.p25:.3f} to {head.spread.p75:.3f})",
            markup=False,
        )


def _show_roofline(found: Bench) -> None:
    for line in found.roofline:
        console().print(
            f"{line.bundle} {line.backend} {line.precision} {line.graph}: {line.gmacs_per_s:.1f} of "
            f"{line.peak_gmacs_per_s:.1f} GMACs/s ({line.share:.0%}); {line.why}",
            markup=False,
            soft_wrap=True,
        )
