"""Core ML packages of a small network: what the proof lets through, what it catches, what the files say."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from avgn.bundle import BundleWriter, open_bundle
from avgn.config import Config
from avgn.contract import GRAPHS
from avgn.errors import MissingError, ProofError, UsageError
from avgn.network.checkpoint import load_run
from avgn.schema import build
from export.common import Converted, Piece, eager_engine, export
from export.common import exported as program_of
from export.formats import check_format
from export.graphs import graphs
from export.mil.engine import MilEngine
from export.mil.tools import coremltools, quiet
from export.parity import BOUNDS, Bound, prove
from export.to_coreml import TARGETS, WHERE, convert
from faults import Faulty, coloured_clip, shifted_mel
from runtimes.backends import open_engine
from runtimes.classifier import Classifier

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL

pytestmark = pytest.mark.timeout(1800)  # two exports: half a minute of computing, but on a busy machine much longer
QUIET = Console(quiet=True)
FLOATS = {precision: TARGETS[precision] for precision in ("fp32", "fp16")}
CLIPS = [coloured_clip(seed) for seed in (1, 2)]
ROUGH = Bound(3e-2, 0.99, 0.5, 6e-2)  # of fp16: untrained weights amplify rounding, and have near ties
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def exported(run, clips, tmp_path_factory):
    """Both precisions in one bundle, from one torch.export of each graph."""
    out = tmp_path_factory.mktemp("out") / "small.avgn"
    programs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOUNDS, "fp16", ROUGH)
        patch.setattr(
            "export.common.exported",
            lambda graph: programs.get(graph.name) or programs.setdefault(graph.name, program_of(graph)),
        )
        reports = {precision: export(run, target, out, clips, QUIET) for precision, target in FLOATS.items()}
    return reports, out, programs


@pytest.mark.parametrize("precision", FLOATS)
def test_every_graph_is_proven(exported, precision):
    report = exported[0][precision]
    assert set(report.proof.artefact) == set(GRAPHS)
    assert report.proof.broken(BOUNDS["fp32"] if precision == "fp32" else ROUGH) == []
    worst = max(parity.relative_rms for parity in report.proof.artefact.values())
    assert worst < 1e-5 if precision == "fp32" else 1e-5 < worst < ROUGH.relative_rms


def test_the_manifest_says_what_was_not_run(exported):
    manifest = open_bundle(exported[1]).manifest
    assert manifest.tools["apple runtime"] == WHERE
    assert sys.platform == "darwin" or WHERE.startswith("not run: needs macOS")
    assert "coremltools" in manifest.tools


def test_the_manifest_says_what_the_files_are(exported):
    bundle = open_bundle(exported[1])
    assert bundle.variants() == [("coreml", "fp32"), ("coreml", "fp16")]
    for precision in FLOATS:
        found = {graph: bundle.record(graph, "coreml", precision).found for graph in GRAPHS}
        assert found == dict.fromkeys(GRAPHS, precision) | {"logmel": "fp32"}
    frame, mel, _ = bundle.record("glance", "coreml", "fp16").inputs
    assert (frame.dtype, frame.zero_point) == ("uint8", 0) and frame.scale == pytest.approx(1 / 255)
    assert mel.dtype == "float32"
    assert "fp16 weights on fp16" in exported[0]["fp16"].notes["glance"]["MACs"]


def test_a_package_says_what_it_is(exported, run, tmp_path):
    bundle = open_bundle(exported[1])
    files = bundle.read(bundle.record("focus", "coreml", "fp16"))
    assert set(files) == {f"focus.mlpackage/{name}" for name in ("Manifest.json", MODEL, WEIGHTS)}
    path = tmp_path / "model.mlmodel"
    path.write_bytes(files[f"focus.mlpackage/{MODEL}"])
    ct = coremltools()
    with quiet():
        spec = ct.utils.load_spec(str(path))
    said = spec.description.metadata.userDefined
    assert json.loads(said["avgn.labels"]) == list("abcde")
    assert said["avgn.run"] == load_run(run)[1].run and said["avgn.graph"] == "focus"
    assert build(Config, json.loads(said["avgn.config"]), "config") == SMALL
    assert spec.description.metadata.license.startswith("Apache-2.0")
    assert spec.specificationVersion == 7  # iOS 16
    assert spec.description.input[0].type.imageType.width == SMALL.patch.size


def test_the_same_answer_as_pytorch_end_to_end(exported, run):
    bundle = open_bundle(exported[1])
    eager = Classifier(bundle, eager_engine(graphs(load_run(run)[0])))
    ours = eager.with_engine(MilEngine(bundle, "fp32"))
    for clip in CLIPS:
        first, second = eager.classify_clip(clip), ours.classify_clip(clip)
        assert (first.label, first.selected) == (second.label, second.selected)
        assert first.score == pytest.approx(second.score, abs=1e-5)


def with_files(exported, folder, graph, change):
    """A copy of the fp32 variant in which `change` was made to the files of one graph (names without the package)."""
    bundle = open_bundle(exported[1])
    out = folder / "changed.avgn"
    with BundleWriter(out, bundle.manifest) as writer:
        for name in GRAPHS:
            record = bundle.record(name, "coreml", "fp32")
            files = bundle.read(record)
            writer.add(replace(record, files=()), change(files) if name == graph else files)
    return open_bundle(out)


def faults_of(bundle, run):
    engine = eager_engine(graphs(load_run(run)[0]))
    eager = Classifier(bundle, engine)
    return prove(eager, engine, eager.with_engine(MilEngine(bundle, "fp32")), CLIPS).broken(ROUGH)


def test_one_wrong_weight_is_caught(exported, run, tmp_path):
    def change(files):
        name = f"focus.mlpackage/{WEIGHTS}"
        data = bytearray(files[name])
        values = np.frombuffer(data, np.float32)
        kernels = np.flatnonzero((np.abs(values) > 0.05) & (np.abs(values) < 10))  # numbers that look like weights
        place = int(kernels[len(kernels) // 2])
        np.frombuffer(memoryview(data), np.float32)
        data[4 * place : 4 * place + 4] = np.float32(values[place] + 5).tobytes()
        return files | {name: bytes(data)}

    assert any(
        "artefact of focus" in fault for fault in faults_of(with_files(exported, tmp_path, "focus", change), run)
    )


def test_swapped_channels_are_caught(exported, run, tmp_path):
    """The same program, but the file says that its picture is BGR: it no longer is what the manifest promises."""
    ct = coremltools()

    def change(files):
        name = f"focus.mlpackage/{MODEL}"
        spec = ct.proto.Model_pb2.Model.FromString(files[name])
        order = spec.description.input[0].type.imageType
        order.colorSpace = order.ColorSpace.Value("BGR")
        return files | {name: spec.SerializeToString()}

    faults = faults_of(with_files(exported, tmp_path, "focus", change), run)
    assert any("artefact of focus" in fault for fault in faults)


def test_a_wrong_artefact_is_refused_and_leaves_nothing(exported, run, clips, tmp_path, monkeypatch):
    """A whole export whose glance hears a shifted sound; the other graphs' files are those of the good export."""
    bundle, programs = open_bundle(exported[1]), exported[2]

    def wrong(pieces):
        for name, piece in pieces.items():
            record = bundle.record(name, "coreml", "fp32")
            if name == "glance":
                graph = replace(piece.graph, module=Faulty(piece.graph.module, shifted_mel).eval())
                yield {name: convert(Piece(graph, program_of(graph)), "fp32")}
            else:
                tensors = (record.inputs, record.outputs)
                yield {name: Converted(bundle.read(record), record.found, tensors=tensors)}

    monkeypatch.setattr("export.common.exported", lambda graph: programs[graph.name])
    target = replace(TARGETS["fp32"], convert=wrong, engine=partial(MilEngine, precision="fp32"))
    with pytest.raises(ProofError, match="artefact of glance") as caught:
        export(run, target, tmp_path / "wrong.avgn", clips, QUIET)
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def test_a_picture_input_holds_one_picture(tmp_path):
    with pytest.raises(UsageError, match="one picture"):
        check_format("coreml", ("fp32",), 2, 1, tmp_path / "a.avgn")


@pytest.mark.skipif(sys.platform == "darwin", reason="here Core ML runs")
def test_the_device_side_says_that_core_ml_needs_macos(exported):
    with pytest.raises(MissingError, match="runs on macOS only"):
        open_engine(open_bundle(exported[1]), "coreml")
