"""`avgn report`: every engine and precision of a bundle in one table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avgn.commands.options import BundleOption, JsonOption, ThreadsOption, console, print_json
from avgn.extras import import_extra

if TYPE_CHECKING:
    from avgn.bundle import Bundle
    from avgn.data.scenes import SceneRecord
    from avgn.training.evaluation import ClipResult

Variant = tuple[str, str]


def report(
    data: Annotated[Path, typer.Option("--data", help="Folder of clips with scenes.jsonl (see `avgn scenes`).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the table, its plot and every answer.")],
    bundle: BundleOption = None,
    rounds: Annotated[
        int, typer.Option("--rounds", help="Interleaved rounds of latency; 0: none is measured.", min=0)
    ] = 20,
    timed: Annotated[int, typer.Option("--timed", help="Clips that latency is measured on.", min=1)] = 3,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Size, accuracy, agreement with fp32, latency and share of int8 of every engine and precision of a bundle.

    Goes on where it stopped: every answer is kept in the output folder.
    """
    from rich.progress import track

    from avgn.bundle import default_bundle, open_bundle

    scenes = import_extra("avgn.data.scenes", "train", "avgn report")
    reporting = import_extra("quantize.report", "train", "avgn report")
    folder = data if data.is_dir() else data.parent
    records = [(folder / record.file, record) for record in scenes.read_scenes(data)]
    both = [path for path, record in records if record.kind == "both"] or [path for path, _ in records]
    trial = BundleTrial(open_bundle(bundle or default_bundle()), tuple(both[:timed]), rounds, threads)
    screen = console(stderr=True)

    def watch(clips: Sequence[Any], name: str) -> Iterable[Any]:
        return track(clips, name, console=screen)

    found = reporting.conduct(trial, records, _made(folder, records, trial), out, watch)
    import_extra("quantize.report_plot", "plot", "avgn report").draw(found, out)
    if json:
        print_json(found.as_json())
    else:
        _show(found, reporting.cells)
        console().print(str(out / "report.md"), markup=False, soft_wrap=True)


class BundleTrial:
    """A bundle's variants, each on its own engine (see `quantize.report.Trial`)."""

    def __init__(self, bundle: Bundle, timed: tuple[Path, ...], rounds: int, threads: int | None) -> None:
        held = import_extra("quantize.report", "train", "avgn report").Held
        from runtimes.backends import why_absent

        self.title = f"{bundle.manifest.name} (run {bundle.manifest.run})"
        self.labels = bundle.manifest.labels
        self.rounds, self.threads = rounds, threads
        self._bundle, self._timed = bundle, timed
        self.held = [
            held(*variant, *_weighed(bundle, variant), why_absent(variant[0])) for variant in bundle.variants()
        ]

    def decider(self, variant: Variant) -> Callable[[Path, SceneRecord, int], ClipResult]:
        """See `quantize.report.Trial`."""
        from runtimes.backends import open_engine
        from runtimes.classifier import Classifier

        judge = import_extra("avgn.training.evaluation", "train", "avgn report").judge
        classifier = Classifier(self._bundle, open_engine(self._bundle, *variant, self.threads))

        def decide(path: Path, record: SceneRecord, label: int) -> ClipResult:
            found: ClipResult = judge(classifier.classify(path), record, label, classifier.config)
            return found

        return decide

    def int8_shares(self, variant: Variant) -> dict[str, float]:
        """See `quantize.report.Trial`."""
        inspection = import_extra("export.inspection", "export", "the share of int8")
        found: dict[str, float] = inspection.int8_shares(self._bundle, variant[0])
        return found

    def latencies(self, variants: Sequence[Variant]) -> dict[Variant, Any]:
        """See `quantize.report.Trial`."""
        from runtimes.bench import time_decisions

        latency = import_extra("quantize.report", "train", "avgn report").Latency
        if not (self.rounds and variants):
            return {}
        found = time_decisions(self._bundle, variants, self._timed, self.rounds, self.threads)
        return {variant: latency(levels.p50, levels.p90) for variant, levels in found.items()}


def _weighed(bundle: Bundle, variant: Variant) -> tuple[int, str]:
    """Bytes of a variant's files, those that graphs share once, and one digest of them all."""
    records = [record for record in bundle.manifest.graphs if (record.backend, record.precision) == variant]
    files = {file.path: file for record in records for file in record.files}
    digest = hashlib.sha256("".join(f"{path} {files[path].sha256}\n" for path in sorted(files)).encode())
    return sum(file.size for file in files.values()), digest.hexdigest()


def _made(folder: Path, records: Sequence[tuple[Path, SceneRecord]], trial: BundleTrial) -> str:
    """On which clips, machine and versions, and how latency was measured."""
    from runtimes.machine import machine, versions

    here = machine()
    splits = "+".join(sorted({record.split for _, record in records}))
    tools = ", ".join(f"{tool} {text}" for tool, text in versions().items())
    timed = f"Latency: {trial.rounds} interleaved rounds, {trial.threads or 'own choice of'} threads."
    return (
        f"Written by `avgn report` on the clips of `{folder.resolve().name}` (split {splits}). {here['cpu']}, "
        f"{here['cores']} cores, {here['system']}; {tools}. {timed if trial.rounds else 'Latency: not run.'}"
    )


def _show(found: Any, cells: Callable[[Any], tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    heads = ("engine", "precision", "MB", "top-1", "difference", "same label", "p50 ms", "p90 ms", "faster", "int8")
    table = Table(*heads, "status", box=None)
    for row in found.rows:
        table.add_row(*(Text(cell) for cell in cells(row)))
    console().print(table)
