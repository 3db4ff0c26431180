"""`avgn evaluate`: accuracy, saliency, patches, cost and time of a bundle on rendered Scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avgn.commands.options import (
    BackendOption,
    BundleOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    console,
    print_json,
    print_warning,
)
from avgn.errors import UsageError
from avgn.extras import import_extra

if TYPE_CHECKING:
    from avgn.data.scenes import SceneRecord
    from avgn.training.ablations import Ablation
    from runtimes.classifier import Classifier
    from runtimes.decision import Decision

    Classify = Callable[[Path, SceneRecord], Decision]


def _list_ablations(names: list[str] | None) -> list[str] | None:
    """Print what can be ablated, where that is asked for: before any other option is looked at."""
    if names and "help" in names:
        from rich.table import Table

        table = Table("name", "what it does", box=None)
        for name, ablation in _ablations().ABLATIONS.items():
            table.add_row(name, ablation.says)
        console().print(table)
        raise typer.Exit
    return names


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
    ablate: Annotated[
        list[str] | None,
        typer.Option(
            "--ablate",
            metavar="NAME",
            help="Replace or deafen a part of the method; may be repeated. `help` lists the names.",
            callback=_list_ablations,
            is_eager=True,
        ),
    ] = None,
    record: Annotated[
        str | None,
        typer.Option("--record", metavar="DATA", help="Write top-1 into the bundle, under this data's name."),
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
    if record is not None and (run is not None or ablate or k is not None or exit_confidence is not None):
        raise UsageError("--record is for a bundle as it is: not with --run, --ablate, --k or --exit.")
    names = list(dict.fromkeys(ablate or ()))
    ablation = _ablations().combined(names) if names else None
    if run is not None:
        classifier = import_extra("export.common", "export", "avgn evaluate --run").eager_classifier(
            run, k, exit_confidence
        )
    else:
        classifier = avgn.load(bundle, backend, precision, k, threads, exit_confidence)
    folder = data if data.is_dir() else data.parent
    records = [(folder / record.file, record) for record in scenes.read_scenes(data)]
    watched = track(records, "evaluate", console=console(stderr=True))
    classify, decisions = _remembering(_classify(classifier, ablation))
    results = judging.evaluate(classify, watched, classifier.labels, classifier.config)
    found = {"ablated": names, **judging.summary(results), "warnings": []}
    if not names:
        found["warnings"] = _warnings(classifier, decisions, records)
    if record is not None:
        _record(classifier, found, record, "+".join(sorted({scene.split for _, scene in records})))
    for warning in found["warnings"]:
        print_warning(warning)
    if json:
        print_json(found)
    else:
        _show(found)


def _remembering(classify: Classify) -> tuple[Classify, list[Decision]]:
    """The same, and the decisions that it made."""
    made: list[Decision] = []

    def remembering(path: Path, record: SceneRecord) -> Decision:
        made.append(classify(path, record))
        return made[-1]

    return remembering, made


def _warnings(classifier: Classifier, decisions: list[Decision], records: list[tuple[Path, SceneRecord]]) -> list[str]:
    from runtimes.ablated import Rehearsal

    health = import_extra("avgn.training.health", "train", "avgn evaluate")
    told: list[str] = health.warnings_of(decisions, Rehearsal(classifier), records)
    return told


def _record(classifier: Classifier, found: dict[str, Any], data: str, split: str) -> None:
    from avgn.bundle import Accuracy, record_accuracy

    engine, (low, high) = classifier.engine, found["intervals"]["top1"]
    row = Accuracy(engine.backend, engine.precision, data, split, found["clips"], found["top1"], low, high)
    record_accuracy(classifier.bundle, row)


def _ablations() -> ModuleType:
    return import_extra("avgn.training.ablations", "train", "avgn evaluate --ablate")


def _classify(classifier: Classifier, ablation: Ablation | None) -> Classify:
    if ablation is None:
        return lambda path, record: classifier.classify(path)
    from runtimes.ablated import ablated

    return ablated(classifier, ablation)


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("clips", "", "top-1", "mAP", "saliency AP", "patch hit", box=None)
    rows = {"all": found, **found["by_kind"]}
    for name, row in rows.items():
        figures = ("" if row[key] is None else f"{row[key]:.3f}" for key in ("top1", "map", "saliency_ap", "patch_hit"))
        table.add_row(name, str(row["clips"]), *figures)
    screen = console()
    screen.print(table)
    if found["ablated"]:
        screen.print(f"ablated: {', '.join(found['ablated'])}")
    for name, pair in found["intervals"].items():
        if pair:
            screen.print(f"{name}: 95 % interval {pair[0]:.3f} to {pair[1]:.3f} (bootstrap over clips)")
    latency = found["latency_ms"]
    screen.print(
        f"{found['macs_mean'] / 1e9:.3f} GMACs a clip; without decoding p50 {latency['p50']:.1f} ms, "
        f"p90 {latency['p90']:.1f} ms, p99 {latency['p99']:.1f} ms"
    )
    screen.print("mAP: softmax scores, non-interpolated, mean over all classes (AR-Net's definition)")
