"""`avgn evaluate`: accuracy, saliency, patches, cost and time of a bundle on rendered Scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from avgn.errors import UsageError
from avgn.extras import import_extra


def evaluate(
    data: Annotated[Path, typer.Option("--data", help="Folder of clips with scenes.jsonl (see `avgn scenes`).")],
    bundle: BundleOption = None,
    run: Annotated[Path | None, typer.Option("--run", help="A run, in PyTorch, instead of a bundle.")] = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    k: Annotated[int | None, typer.Option("--k", help="Focus on fewer snippets.")] = None,
    exit_confidence: Annotated[
        float | None, typer.Option("--exit", help="Early exit from this probability on.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a bundle, or a run, on clips whose truth is known."""
    from rich.progress import track

    import avgn

    scenes = import_extra("avgn.data.scenes", "train", "avgn evaluate")
    judging = import_extra("avgn.training.evaluation", "train", "avgn evaluate")
    if run is not None and bundle is not None:
        raise UsageError("give --run or --bundle, not both.")
    if run is not None:
        classifier = import_extra("export.common", "export", "avgn evaluate --run").eager_classifier(
            run, k, exit_confidence
        )
    else:
        classifier = avgn.load(bundle, backend, precision, k, threads, exit_confidence)
    folder = data if data.is_dir() else data.parent
    records = [(folder / record.file, record) for record in scenes.read_scenes(data)]
    watched = track(records, "evaluate", console=console(stderr=True))
    found = judging.summary(judging.evaluate(classifier.classify, watched, classifier.labels, classifier.config))
    if json:
        print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("clips", "", "top-1", "mAP", "saliency AP", "patch hit", box=None)
    rows = {"all": found, **found["by_kind"]}
    for name, row in rows.items():
        figures = ("" if row[key] is None else f"{row[key]:.3f}" for key in ("top1", "map", "saliency_ap", "patch_hit"))
        table.add_row(name, str(row["clips"]), *figures)
    screen = console()
    screen.print(table)
    for name, pair in found["intervals"].items():
        if pair:
            screen.print(f"{name}: 95 % interval {pair[0]:.3f} to {pair[1]:.3f} (bootstrap over clips)")
    latency = found["latency_ms"]
    screen.print(
        f"{found['macs_mean'] / 1e9:.3f} GMACs a clip; without decoding p50 {latency['p50']:.1f} ms, "
        f"p90 {latency['p90']:.1f} ms, p99 {latency['p99']:.1f} ms"
    )
    screen.print("mAP: softmax scores, non-interpolated, mean over all classes (AR-Net's definition)")
