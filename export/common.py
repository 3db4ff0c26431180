"""The steps every exporter shares: load the run, convert each graph, prove it on real clips, write the bundle."""

from __future__ import annotations

import json
import platform
import re
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

from avgn.bundle import Bundle, BundleWriter, open_bundle
from avgn.errors import AvgnError, InputError, ProofError
from avgn.extras import import_extra, version_of
from avgn.manifest import GraphRecord, Manifest, TensorSpec
from avgn.media import read_clip
from avgn.network.avgn import AVGN
from avgn.network.checkpoint import Run, load_run
from avgn.schema import plain
from avgn.training.macs import macs_by_graph
from export.graphs import Graph, graphs
from export.parity import BOUNDS, Proof, prove
from runtimes.backends import Engine, open_engine
from runtimes.backends.torch import StackingTorchEngine, TorchEngine
from runtimes.classifier import Classifier

if TYPE_CHECKING:
    from quantize.quantizer import Spelling

DEFAULT_RUN = Path(str(files("avgn") / "models" / "default.run"))
DEFAULT_CLIPS = Path(__file__).resolve().parent.parent / "samples" / "demo.mp4"


@dataclass(frozen=True, eq=False)
class Piece:
    """One graph and what torch.export made of it (core ATen, decomposed): what converters start from.

    `about` is what a file may say of itself, in formats that have a place for it (see `about`).
    """

    graph: Graph
    program: torch.export.ExportedProgram
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def quantised(self) -> bool:
        """Whether anything in it is quantised."""
        return any("quantize" in str(node.target) for node in self.program.graph.nodes)


@dataclass(frozen=True)
class Converted:
    """One graph in an engine's format; `tensors` (inputs, outputs) where they are not the contract's own float32."""

    files: dict[str, bytes]
    found: str  # precision found in the files by inspection
    notes: dict[str, str] = field(default_factory=dict)  # what inspection showed besides, such as a delegated share
    tensors: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]] | None = None


_OPERATOR = re.compile(r"\baten(\.|::)\w+")
Convert = Callable[[Mapping[str, Piece]], Iterator[dict[str, Converted]]]


def one_by_one(convert: Callable[[Piece], Converted]) -> Convert:
    """A converter of single graphs as one of all graphs, for formats where each graph has files of its own."""

    def each(pieces: Mapping[str, Piece]) -> Iterator[dict[str, Converted]]:
        for name, piece in pieces.items():
            yield {name: convert(piece)}

    return each


@dataclass(frozen=True)
class Target:
    """One engine and precision: how the graphs become files.

    `convert` yields after each file (or set of files) the graphs that live in it, all of them in the end. `notes` go
    into the manifest beside the versions of `tools`, such as what could not be run. `engine` opens the files for the
    proof where the device's own engine cannot run on the machine that exports.
    """

    backend: str
    precision: str
    convert: Convert
    tools: tuple[str, ...]  # packages whose versions go into the manifest
    notes: Mapping[str, str] = field(default_factory=dict)
    engine: Callable[[Bundle], Engine] | None = None
    spelling: Spelling | None = None  # how the quantised parts are spelled; None: graphs of the float model


@dataclass(frozen=True)
class Report:
    """What an export did: the bundle, the proof; by graph bytes and seconds (of its file), and what was found in it."""

    bundle: Path
    target: str
    proof: Proof
    sizes: dict[str, int]
    seconds: dict[str, float]
    found: dict[str, str]
    notes: dict[str, dict[str, str]]

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return {**plain(self), "bundle": str(self.bundle)}


def export(
    run_folder: Path, target: Target, out: Path, clips: Sequence[Path], console: Console, batch: int = 1
) -> Report:
    """Convert every graph of a run, prove the files on `clips` and add them to the bundle `out`.

    `batch` is how many patches (1..k) one call of focus takes.

    Raises InputError (run or clips unusable) and ProofError (a bound of `export.parity.BOUNDS` is broken); then the
    bundle is as it was before.
    """
    if not clips:
        raise InputError("no clips to prove the export on: name some with --clips.")
    model, run = load_run(run_folder)
    table = graphs(model, batch)
    source = table if target.spelling is None else graphs(_quantised(run_folder, target.spelling), batch)
    pieces, converted, seconds = _convert(source, target, about(run), console)
    head = manifest_head(run, out.name.removesuffix(".avgn"), target)
    found = {name: item.found for name, item in converted.items()}
    records = _with_tensors(graph_records(table, run, (target.backend, target.precision), found), converted)
    with console.status(f"{target.backend} {target.precision}: proof on {len(clips)} clips"):
        proof = _prove(table, target, head, pieces, records, converted, clips)
    proof = replace(proof, quantised=tuple(name for name, piece in pieces.items() if piece.quantised))
    faults = proof.broken(BOUNDS[target.precision])
    if faults:
        raise ProofError(f"{target.backend} {target.precision} does not match PyTorch: {'; '.join(faults)}.")
    unproven = "not run: no clip called this graph"
    with BundleWriter(out, head) as writer:
        for name, record in records.items():
            writer.add(replace(record, parity=proof.artefact.get(name, unproven)), converted[name].files)
    sizes = {name: sum(map(len, item.files.values())) for name, item in converted.items()}
    notes = {name: item.notes for name, item in converted.items() if item.notes}
    return Report(out, f"{target.backend} {target.precision}", proof, sizes, seconds, found, notes)


def _quantised(folder: Path, spelling: Spelling) -> AVGN:
    """The model with its quantised parts in the spelling that an engine wants."""
    state = import_extra("quantize.state", "quantize", "export to int8")
    model, _ = state.load_quantised(folder)
    made: AVGN = import_extra("quantize.quantizer", "quantize", "export to int8").spelled(model, spelling)
    return made


def about(run: Run) -> dict[str, str]:
    """What a graph's file may say of itself: `run`, `version`, `licence`; `labels` and `config` as JSON."""
    licences = ", ".join(dict.fromkeys(source.licence for source in run.sources))
    return {
        "run": run.run,
        "version": version_of("avgn") or "not installed",
        "licence": f"Apache-2.0; weights and data: {licences or 'not known'}",
        "labels": json.dumps(run.labels, ensure_ascii=False),
        "config": json.dumps(plain(run.config)),
    }


def most_bytes(weights: Iterable[tuple[str, int]]) -> str:
    """Of (precision, bytes) of each weight in a file, the precision that holds most; fp32 where there are none."""
    sizes: Counter[str] = Counter()
    for precision, size in weights:
        sizes[precision] += size
    return max(sizes, key=lambda precision: sizes[precision], default="fp32")


@contextmanager
def explained(title: str) -> Iterator[None]:
    """Turns what a converter raises, whatever its type, into an InputError of one sentence."""
    try:
        yield
    except AvgnError:
        raise
    except Exception as fault:  # converters raise anything
        lines = [line.strip() for line in str(fault).splitlines() if line.strip()] or [type(fault).__name__]
        named = [line for line in lines if _OPERATOR.search(line)]
        raise InputError(f"{title}: a graph cannot be converted ({(named or lines)[0]:.300}).") from fault


def exported(graph: Graph) -> torch.export.ExportedProgram:
    """What torch.export makes of a graph, decomposed into core ATen."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch's own business
        return torch.export.export(graph.module, graph.example()).run_decompositions({})


def _convert(
    table: Mapping[str, Graph], target: Target, said: Mapping[str, str], console: Console
) -> tuple[dict[str, Piece], dict[str, Converted], dict[str, float]]:
    """All graphs as pieces, converted, and the seconds that the file of each took."""
    title = f"{target.backend} {target.precision}"
    with console.status(f"{title}: torch.export"), explained(title):
        pieces = {name: Piece(graph, exported(graph), said) for name, graph in table.items()}
    converted: dict[str, Converted] = {}
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    with console.status(f"{title}: converting"), torch.no_grad(), explained(title):
        for done in target.convert(pieces):
            converted |= done
            seconds |= dict.fromkeys(done, time.perf_counter() - start)
            start = time.perf_counter()
    return pieces, {name: converted[name] for name in table}, seconds


def manifest_head(run: Run, name: str, target: Target | None = None) -> Manifest:
    """Everything of a manifest but the graphs."""
    tools = target.tools if target else ()
    versions = {tool: version_of(tool) or "not installed" for tool in ("torch", *tools)}
    notes = dict(target.notes) if target else {}
    return Manifest(
        format=1,
        name=name,
        run=run.run,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        labels=run.labels,
        config=run.config,
        graphs=(),
        accuracy="not run: no evaluation of this bundle yet",
        tools={"python": platform.python_version()} | versions | notes,
        sources=run.sources,
        exit_confidence=run.exit_confidence,
    )


def graph_records(
    table: Mapping[str, Graph], run: Run, variant: tuple[str, str], found: Mapping[str, str]
) -> dict[str, GraphRecord]:
    """What the manifest will say of each graph, before files and parity are known."""
    macs = macs_by_graph({name: (graph.module, graph.example()) for name, graph in table.items()})
    unproven = "not run: being proven"
    return {
        name: GraphRecord(name, *variant, run.run, macs[name], (), graph.inputs, graph.outputs, found[name], unproven)
        for name, graph in table.items()
    }


def _with_tensors(records: Mapping[str, GraphRecord], converted: Mapping[str, Converted]) -> dict[str, GraphRecord]:
    """Where a file's inputs and outputs are not float32, the record says what they are."""
    return {
        name: replace(record, inputs=tensors[0], outputs=tensors[1]) if (tensors := converted[name].tensors) else record
        for name, record in records.items()
    }


def eager_classifier(
    folder: Path, k: int | None = None, exit_confidence: float | None = None, room: int | None = None
) -> Classifier:
    """A classifier on a run itself, in PyTorch eager: the device's own host code, no bundle on disk.

    With `room` it can focus on up to so many snippets; it still focuses on the run's own k unless told otherwise.
    """
    model, run = load_run(folder)
    if room is not None:
        k = run.config.chosen if k is None else k
        model.config = replace(run.config, chosen=max(room, k))
        run = replace(run, config=model.config)
    table = graphs(model)
    records = graph_records(table, run, (TorchEngine.backend, "fp32"), dict.fromkeys(table, "fp32"))
    manifest = replace(manifest_head(run, folder.name), graphs=tuple(records.values()))
    return Classifier(Bundle(folder, manifest, b""), eager_engine(table, StackingTorchEngine), k, exit_confidence)


def eager_engine(table: Mapping[str, Graph], kind: type[TorchEngine] = TorchEngine) -> TorchEngine:
    """The graphs' modules in PyTorch eager."""
    return kind({name: (graph.module, tuple(spec.name for spec in graph.outputs)) for name, graph in table.items()})


def print_report(report: Report, console: Console) -> None:
    """A table: per graph the errors, sizes and seconds; then the whole clips."""
    columns = ("graph", "max error", "relative RMS", "PSNR dB", "ExportedProgram", "KB", "seconds", "found")
    grid = Table(*columns, title=report.target)
    for name, size in report.sizes.items():
        parity, exported = report.proof.artefact.get(name), report.proof.exported.get(name)
        errors = ("not run", "", "")
        if parity:
            errors = (f"{parity.max_error:.2g}", f"{parity.relative_rms:.2g}", f"{parity.psnr_db:.0f}")
        program = f"{exported.relative_rms:.2g}" if exported else ""
        grid.add_row(name, *errors, program, f"{size / 1000:.0f}", f"{report.seconds[name]:.1f}", report.found[name])
    console.print(grid)
    for name, notes in report.notes.items():
        console.print(f"{name}: " + "; ".join(f"{key} {value}" for key, value in notes.items()), markup=False)
    whole = report.proof.whole
    console.print(
        f"{whole.clips} clips: same label on {whole.same_labels}, same chosen set on {whole.same_sets} "
        f"({whole.near_ties} of them near ties)\n{report.bundle}"
    )


def _prove(
    table: Mapping[str, Graph],
    target: Target,
    head: Manifest,
    pieces: Mapping[str, Piece],
    records: Mapping[str, GraphRecord],
    converted: Mapping[str, Converted],
    clips: Sequence[Path],
) -> Proof:
    """Write the files to a scratch bundle, open it as a device would, and compare."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "scratch.avgn"
        with BundleWriter(path, head) as writer:
            for name, record in records.items():
                writer.add(record, converted[name].files)
        bundle = open_bundle(path)
        eager = Classifier(bundle, eager_engine(table))
        opened = target.engine(bundle) if target.engine else open_engine(bundle, target.backend, target.precision)
        outputs = {name: tuple(spec.name for spec in piece.graph.outputs) for name, piece in pieces.items()}
        program = TorchEngine({name: (piece.program.module(), outputs[name]) for name, piece in pieces.items()})
        read = [read_clip(clip, head.config) for clip in clips]
        return prove(eager, program, eager.with_engine(opened), read, BOUNDS[target.precision].margin)
