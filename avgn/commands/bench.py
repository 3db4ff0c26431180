"""`avgn bench`: our pipeline and the bare graphs, every engine of a bundle and PyTorch, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avgn.commands.options import (
    BackendOption,
    BundleOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    console,
    print_json,
)
from avgn.extras import import_extra

if TYPE_CHECKING:
    from runtimes.backends.torch import TorchEngine
    from runtimes.bench import Bench


def bench(
    clips: Annotated[
        list[Path] | None, typer.Option("--clips", help="Video to run on, again for more (default: the sample).")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", help="Interleaved rounds, after a warm-up.")] = 30,
    bundle: BundleOption = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Run the bundle was made from: PyTorch eager and compiled beside it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Time every engine and precision of a bundle: the whole pipeline and its bare graphs, side by side.

    What is found decides from then on what `--backend auto` takes on this machine.
    """
    from avgn.bundle import default_bundle, open_bundle
    from runtimes.bench import run_bench
    from runtimes.stored_bench import store

    opened = open_bundle(bundle or default_bundle())
    others: list[TorchEngine] = []
    not_run: dict[str, str] = {}
    if run is not None:
        others, not_run = import_extra("export.yardsticks", "export", "avgn bench --run").torch_engines(
            run, opened, threads
        )
    found = run_bench(opened, tuple(clips or ()), rounds, backend, precision, threads, others, not_run)
    decisions = found.decisions()
    store(
        opened.digest(), threads, {variant: decisions[variant] for variant in opened.variants() if variant in decisions}
    )
    if json:
        print_json(found.as_json())
    else:
        _show(found)


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
    table = Table("name", "backend", "precision", "threads", "p50 ms", "p90 ms", "p99 ms", "GMACs", "to ours", box=None)
    for column in table.columns[3:]:
        column.justify = "right"
    for row in found.rows:
        levels = (f"{ms:.3f}" for ms in (row.ms.p50, row.ms.p90, row.ms.p99))
        figures = (f"{row.macs / 1e9:.4f}" if row.macs else "", f"{row.ratio_to_ours:.3f}")
        table.add_row(row.name, row.backend, row.precision, str(row.threads), *levels, *figures)
    screen.print(table)
    for name, why in found.not_run.items():
        screen.print(f"{name}: {why}", markup=False, soft_wrap=True)
    for head in found.headline:
        variant = f"{head.backend} {head.precision}"
        screen.print(
            f"avgn classify (without decoding) / bare graphs, {variant}: {head.ours_to_bare:.3f}", markup=False
        )
