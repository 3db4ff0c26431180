"""Whole exports to ONNX and ExecuTorch: right files are proven, wrong ones refused, and nothing half done is left."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from rich.console import Console

import tiny
import tiny_nets
from avgn.bundle import BundleWriter, open_bundle
from avgn.errors import MissingError, ProofError
from avgn.network.checkpoint import new_run, save_run
from clips import write_clip
from export import common
from export.formats import FORMATS
from export.mil.delegate import NAME, DelegateEngine
from export.parity import BOUNDS
from export.pte import call_values, method_values, read_pte
from runtimes.backends import BACKENDS, open_engine

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL, network

QUIET = Console(quiet=True)
ALL = {"glance", "select", "focus", "classify", "logmel"}
VARIANTS = [("onnx", "fp32"), ("onnx", "fp16"), ("executorch", "fp32"), ("executorch_coreml", "fp32")]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "both.mp4"
    write_clip(path, 3.0)
    return path


@pytest.fixture
def tiny_run(monkeypatch):
    return tiny_nets.as_run(monkeypatch)


@pytest.fixture(scope="module")
def kept():
    """What the right exports converted, by variant and graph."""
    return {}


def remembering(target, kept):
    def convert(pieces):
        for some in target.convert(pieces):
            kept.setdefault((target.backend, target.precision), {}).update(some)
            yield some

    return replace(target, convert=convert)


def of_variant(backend, precision="fp32", **change):
    return replace(FORMATS[backend].targets()[precision], **change)


def check(report, out, backend, precision):
    assert set(report.proof.artefact) == set(report.proof.exported) == ALL
    assert report.proof.broken(BOUNDS[precision]) == []
    bundle = open_bundle(out)
    bundle.verify()
    assert bundle.variants() == [(backend, precision)]
    found = {record.graph: record.found for record in bundle.manifest.graphs}
    assert (found["glance"], found["focus"], found["logmel"]) == (precision, precision, "fp32")
    paths = {record.files[0].path for record in bundle.manifest.graphs}
    assert len(paths) == (5 if backend == "onnx" else 2)


@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_every_graph_is_proven_on_a_real_clip(tiny_run, clip, kept, tmp_path, variant):
    report = common.export(tiny_run, remembering(of_variant(*variant), kept), tmp_path / "a.avgn", [clip], QUIET)
    check(report, tmp_path / "a.avgn", *variant)
    if variant[0] != "onnx":
        assert all(" of " in notes["delegated"] for notes in report.notes.values())


def test_a_real_network_too(clip, tmp_path):
    """To ExecuTorch, whose conversion has the most ways to go wrong."""
    save_run(tmp_path / "run", network(), new_run(SMALL, tuple("abcde")))
    report = common.export(tmp_path / "run", of_variant("executorch"), tmp_path / "a.avgn", [clip], QUIET)
    check(report, tmp_path / "a.avgn", "executorch", "fp32")


def indexed(name, axis, order):
    """The model with its input `name` taken in another `order` along `axis`."""

    def change(model):
        for node in model.graph.node:
            node.input[:] = ["taken" if wanted == name else wanted for wanted in node.input]
        model.graph.initializer.append(numpy_helper.from_array(np.array(order), "order"))
        model.graph.node.insert(0, onnx.helper.make_node("Gather", [name, "order"], ["taken"], axis=axis))

    return change


def one_wrong_weight(model):
    weights = next(item for item in model.graph.initializer if item.name == "w_local")
    changed = numpy_helper.to_array(weights).copy()
    changed.flat[5] += 0.1 * np.abs(changed).max()
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))


@pytest.mark.parametrize(
    ("graph", "change"),
    [
        ("glance", indexed("frame", 1, [2, 1, 0])),
        ("focus", indexed("patch", 1, [2, 1, 0])),
        ("glance", indexed("mel", 2, [*range(1, tiny.SOUND.mels), 0])),
        ("focus", one_wrong_weight),
    ],
    ids=["swapped channels", "swapped channels of the patch", "shifted mel", "one wrong weight"],
)
def test_a_wrong_onnx_file_is_refused_and_leaves_nothing(tiny_run, clip, kept, tmp_path, graph, change):
    right = kept["onnx", "fp32"]
    model = onnx.load_model_from_string(right[graph].files[f"{graph}.onnx"])
    change(model)
    wrong = {**right, graph: replace(right[graph], files={f"{graph}.onnx": model.SerializeToString()})}
    target = of_variant("onnx", convert=lambda _: iter([wrong]))
    with pytest.raises(ProofError, match=f"artefact of {graph}: relative RMS") as caught:
        common.export(tiny_run, target, tmp_path / "wrong.avgn", [clip], QUIET)
    assert caught.value.exit_code == 5 and list(tmp_path.iterdir()) == []


class OneWrongWeight(tiny_nets.Focus):
    def __init__(self):
        super().__init__()
        self.w_local[1, 3] += 0.1


@pytest.mark.parametrize("backend", ["executorch", "executorch_coreml"])
def test_a_wrong_program_is_refused_and_leaves_nothing(tiny_run, clip, tmp_path, backend):
    def wrong(pieces):
        graph = tiny_nets.graph("focus", OneWrongWeight())
        return of_variant(backend).convert({**pieces, "focus": common.Piece(graph, common.exported(graph))})

    with pytest.raises(ProofError, match="artefact of focus: relative RMS"):
        common.export(tiny_run, of_variant(backend, convert=wrong), tmp_path / "wrong.avgn", [clip], QUIET)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_the_old_bundle(tiny_run, clip, kept, tmp_path):
    right, out = kept["onnx", "fp32"], tmp_path / "small.avgn"
    common.export(tiny_run, of_variant("onnx", convert=lambda _: iter([right])), out, [clip], QUIET)
    before = open_bundle(out).digest()

    def stopped(pieces):
        yield {"glance": right["glance"]}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        common.export(tiny_run, of_variant("onnx", convert=stopped), out, [clip], QUIET)
    assert open_bundle(out).digest() == before and [path.name for path in tmp_path.iterdir()] == ["small.avgn"]


def delegate_bundle(pieces, folder):
    """Pieces lowered to the Core ML delegate, as a bundle."""
    run, path = new_run(tiny.CONFIG, tiny.LABELS), folder / "a.avgn"
    records = common.graph_records(
        {name: piece.graph for name, piece in pieces.items()}, run, (NAME, "fp32"), dict.fromkeys(pieces, "fp32")
    )
    with BundleWriter(path, common.manifest_head(run, "a")) as writer:
        for converted in of_variant(NAME).convert(pieces):
            for name, item in converted.items():
                writer.add(records[name], item.files)
    return open_bundle(path)


def test_what_a_delegate_gives_is_told_apart_by_the_file(tmp_path):
    """The program inside has an order and names of its own: `glance` and `select` give their outputs in another one."""
    bundle = delegate_bundle(tiny_nets.pieces(), tmp_path)
    engine, orders = DelegateEngine(bundle, "fp32"), set()
    for record in bundle.manifest.graphs:
        random = np.random.default_rng(1)
        inputs = {
            spec.name: random.integers(0, 4, spec.shape).astype(np.int32)
            if spec.dtype == "int32"
            else random.uniform(0, 1, spec.shape).astype(np.float32)
            for spec in record.inputs
        }
        found, expected = engine.run(record.graph, inputs), tiny.reference(record.graph, inputs)
        assert list(found) == [spec.name for spec in record.outputs] and set(found) == set(expected)
        for name, values in found.items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)
        program = read_pte(next(iter(bundle.read(record).values())))
        inputs_and_outputs = [value for side in method_values(program, record.graph) for value in side]
        orders.add(call_values(program, record.graph) == [inputs_and_outputs])
    assert orders == {True, False}
    assert of_variant(NAME).notes["apple runtime"].startswith("not run:")
    with pytest.raises(MissingError, match=r"executorch_coreml: .* choose another with --backend, or export to one of"):
        open_engine(bundle)  # the evaluator is for the proof only


def test_rows_name_real_extras_and_engines():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for row in FORMATS.values():
        assert set(row.extra.split(",")) <= set(project["optional-dependencies"])
        assert row.name in BACKENDS or all(target.engine for target in row.targets().values())
    assert torch.__version__.startswith(FORMATS["executorch"].pairs["torch"])
