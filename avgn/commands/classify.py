"""`avgn classify`: one decision per file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avgn.commands.options import (
    BackendOption,
    BundleOption,
    CacheOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    console,
    print_fault,
    print_json,
    print_warning,
    printable,
)
from avgn.errors import AvgnError, UsageError

if TYPE_CHECKING:
    from runtimes.classifier import Classifier
    from runtimes.decision import Decision

BARS = " ▁▂▃▄▅▆▇█"


def classify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Videos, of any kind FFmpeg reads.")],
    bundle: BundleOption = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = None,
    k: Annotated[int | None, typer.Option("--k", help="Focus on at most K snippets (default: the bundle's).")] = None,
    threads: ThreadsOption = None,
    exit_confidence: Annotated[
        float | None,
        typer.Option("--exit", help="Answer from the glance alone from this probability on; above 1: never."),
    ] = None,
    cache: CacheOption = None,
    json: JsonOption = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw how the decision was reached (one FILE).")] = None,
) -> None:
    """Say what each video shows, and how that was found."""
    if plot:
        _check_plot(plot, files)
    import avgn

    classifier = avgn.load(
        bundle,
        backend=backend,
        precision=precision,
        k=k,
        threads=threads,
        exit_confidence=exit_confidence,
        cache=cache,
    )
    decisions, worst = _decide(classifier, files, json)
    if json:
        print_json([decision.as_json() for decision in decisions])
    if plot and decisions:
        from runtimes.plot import draw

        draw(decisions[0], classifier.config, plot)
    if worst:
        raise typer.Exit(worst)


def _check_plot(plot: Path, files: list[Path]) -> None:
    from runtimes.plot import check_plot

    if len(files) > 1:
        raise UsageError("--plot draws one file: name one FILE.")
    check_plot(plot)


def _decide(classifier: Classifier, files: list[Path], json: bool) -> tuple[list[Decision], int]:
    """The decisions, told as they come, and the worst exit code: one bad file does not stop the others."""
    from rich.progress import track

    decisions, worst = [], 0
    screen = console(stderr=True)
    # the rows themselves are progress enough
    hidden = not json or len(files) == 1 or not screen.is_terminal
    for number, file in enumerate(track(files, "classify", console=screen, transient=True, disable=hidden), 1):
        try:
            decision = classifier.classify(file)
        except AvgnError as fault:
            print_fault(fault)
            worst = max(worst, fault.exit_code)
            continue
        decisions.append(decision)
        for warning in decision.warnings:
            print_warning(f"{decision.file}: {warning}")
        if not json:
            lines = _lines(decision) if len(files) == 1 else [_row(decision, f"{number}/{len(files)}")]
            for line in lines:
                console().print(line, markup=False, soft_wrap=True)
    return decisions, worst


def _row(decision: Decision, number: str) -> str:
    name, ms = printable(decision.file), decision.timings_ms["total"]
    return f"{number:>9}  {decision.label:<20} {decision.score:6.1%}  {ms:7.1f} ms  {name}"


def _lines(decision: Decision) -> list[str]:
    width = max(len(scored.label) for scored in decision.top)
    chosen = "".join("^" if index in decision.selected else " " for index in range(len(decision.saliency)))
    return [
        f"{printable(decision.file)}: {decision.label} ({decision.score:.1%})",
        *(f"  {top.label:<{width}} {top.score:6.1%}  {'█' * round(30 * top.score) or '▏'}" for top in decision.top),
        f"saliency  {saliency_line(decision.saliency)}  {decision.times[0]:.1f} to {decision.times[-1]:.1f} s",
        f"focused   {chosen}  {_told(decision)}".rstrip(),
        f"ms        {'  '.join(f'{stage} {ms:.1f}' for stage, ms in decision.timings_ms.items())}",
        f"engine    {decision.backend} {decision.precision}, {decision.macs / 1e9:.2f} GMACs",
    ]


def _told(decision: Decision) -> str:
    parts = [
        "" if decision.seen else "no picture",
        "" if decision.heard else "no sound",
        "the glance was sure enough" if decision.exited else "",
    ]
    return ", ".join(part for part in parts if part)


def saliency_line(saliency: tuple[float, ...]) -> str:
    """One bar a snippet, from the least (lowest bar) to the most salient (full)."""
    low, high = min(saliency), max(saliency)
    step = (len(BARS) - 2) / (high - low) if high > low else 0.0
    return "".join(BARS[1 + round((value - low) * step)] for value in saliency)
