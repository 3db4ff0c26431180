"""LiteRT files of a small network: the proof holds for right files, and for no wrong one."""

from __future__ import annotations

import copy
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import export.common as common
import tiny
import tiny_tflite
from avgn.bundle import BundleWriter, open_bundle
from avgn.contract import HEAVY
from avgn.errors import InputError, MissingError, ProofError
from avgn.network.checkpoint import load_run
from export import to_tflite
from export.common import Piece, Target, eager_classifier, export
from export.formats import FORMATS, check_format
from export.graphs import STAGE_FILES, graphs
from export.parity import BOUNDS, prove
from export.tflite_file import inspect
from export.to_tflite import converted, halved, tflite
from faults import coloured_clip
from runtimes.backends import open_engine

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL

QUIET = Console(quiet=True)
CODES = schema.BuiltinOperator


@pytest.fixture(scope="module")
def table(run):
    return graphs(load_run(run)[0])


@pytest.fixture(scope="module")
def files(table):
    """The bytes by stage: what takes long is done once."""
    return {stage: tflite([table[name] for name in names]) for stage, names in STAGE_FILES.items()}


def target(files, precision="fp32"):
    """A target that has nothing left to convert."""

    def convert(pieces):
        for stage, data in files.items():
            found = inspect(data)
            names = STAGE_FILES[stage]
            yield {name: converted(f"{stage}.tflite", data, found[name], pieces[name].graph) for name in names}

    return Target("tflite", precision, convert, ("litert-torch",))


@pytest.fixture(scope="module", autouse=True)
def programs():
    """Every export here is of the same run: what torch.export makes of its graphs is made once."""
    made, really = {}, common.exported

    def exported(graph):
        if graph.name not in made:
            made[graph.name] = really(graph)
        return made[graph.name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "exported", exported)
        yield


@pytest.fixture(scope="module")
def exported(run, files, clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "small.avgn"
    half = {stage: halved(data) for stage, data in files.items()}
    return {
        "fp32": export(run, target(files), out, clips, QUIET),
        "fp16": export(run, target(half, "fp16"), out, clips, QUIET),
    }, out


def test_every_graph_is_proven_on_real_clips(exported, clips):
    reports, out = exported
    for precision, report in reports.items():
        assert set(report.proof.artefact) == {name for names in STAGE_FILES.values() for name in names}
        assert report.proof.broken(BOUNDS[precision]) == []
        assert report.proof.whole.same_labels == report.proof.whole.same_sets == len(clips)
        json.dumps(report.as_json(), allow_nan=False)
    bundle = open_bundle(out)
    bundle.verify()
    assert bundle.variants() == [("tflite", "fp32"), ("tflite", "fp16")]
    found = {record.graph: record.found for record in bundle.manifest.graphs if record.precision == "fp16"}
    assert found == {name: "fp16" if name in HEAVY else "fp32" for name in found} and len(found) == 5
    assert {Path(file.path).name for record in bundle.manifest.graphs for file in record.files} == {
        "glance.tflite",
        "focus.tflite",
    }


def test_what_is_found_in_a_file(exported, files, table, run):
    """Weights and work against the network itself: bytes of its parameters, and its own count of MACs."""
    records = {record.graph: record for record in open_bundle(exported[1]).manifest.graphs}
    for stage, data in files.items():
        for name, signature in inspect(data).items():
            assert name in STAGE_FILES[stage] and signature.found == "fp32" and signature.share("fp32") == 1
            assert signature.inputs == {spec.name: spec for spec in table[name].inputs}
            assert signature.outputs == {spec.name: spec for spec in table[name].outputs}
            if name in HEAVY:
                assert signature.macs["fp32"] == pytest.approx(records[name].macs, rel=0.01)
    parameters = sum(weight.numel() for weight in load_run(run)[0].focus_encoder.parameters())
    assert inspect(files["focus"])["focus"].weights["fp32"] == pytest.approx(4 * parameters, rel=0.02)
    half = inspect(halved(files["focus"]))["focus"]
    assert half.weights["fp16"] == pytest.approx(2 * parameters, rel=0.02) and half.share("fp32") == 1
    assert exported[0]["fp32"].notes["focus"] == {"MACs in fp32": "100.0%"}


def test_int8_work_is_told_from_int8_weights():
    alone = tiny_tflite.tflite([tiny_tflite.graph(tiny_tflite.focus)])
    whole = inspect(tiny_tflite.int8_file(alone, "focus", [{"patch": np.ones((1, 3, 32, 32), np.float32)}]))["focus"]
    assert whole.found == "int8" and whole.macs == {"int8": 3 * tiny.LOCAL} and whole.share("int8") == 1
    assert whole.inputs["patch"].dtype == "int8"
    from ai_edge_quantizer import quantizer, recipe

    dynamic = inspect(
        bytes(quantizer.Quantizer(bytearray(alone), recipe.dynamic_wi8_afp32()).quantize().quantized_model)
    )
    assert dynamic["focus"].inputs["patch"].dtype == "float32" and dynamic["focus"].share("int8") == 0


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_bytes_that_are_no_file_are_an_input_error(junk, marked):
    with pytest.raises(InputError, match=r"\.tflite"):
        inspect(b"\x1c\0\0\0TFL3" + junk if marked else junk)


def edited(data, signature, edit):
    """The file with a fault in one of its graphs."""
    model = copy.deepcopy(flatbuffer_utils.read_model_from_bytearray(bytearray(data)))
    index = next(each.subgraphIndex for each in model.signatureDefs if each.signatureKey.decode() == signature)
    edit(model, model.subgraphs[index])
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def nodes(model, graph, code):
    return [
        node
        for node in graph.operators
        if max(
            model.operatorCodes[node.opcodeIndex].builtinCode,
            model.operatorCodes[node.opcodeIndex].deprecatedBuiltinCode,
        )
        == code
    ]


def constant(model, tensor, dtype):
    return model.buffers[tensor.buffer].data.view(dtype).reshape(tensor.shape).copy()


def replaced(model, graph, node, place, values):
    """Give a node a constant of its own."""
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
    graph.tensors.append(copy.copy(graph.tensors[node.inputs[place]]))
    graph.tensors[-1].buffer = len(model.buffers) - 1
    node.inputs[place] = len(graph.tensors) - 1


def swapped_channels(model, graph):
    node = next(node for node in nodes(model, graph, CODES.CONV_2D) if graph.tensors[node.inputs[1]].shape[-1] == 3)
    weights = constant(model, graph.tensors[node.inputs[1]], np.float32)
    replaced(model, graph, node, 1, np.ascontiguousarray(weights[..., ::-1]))


def shifted_mel(model, graph):
    sound = SMALL.sound
    shape = [1, sound.mels, sound.frames, 1]
    node = next(node for node in nodes(model, graph, CODES.PAD) if list(graph.tensors[node.inputs[0]].shape) == shape)
    amounts = constant(model, graph.tensors[node.inputs[1]], np.int32)
    amounts[2] += (-1, 1)
    replaced(model, graph, node, 1, amounts)


def one_wrong_weight(model, graph):
    node = nodes(model, graph, CODES.CONV_2D)[0]
    weights = constant(model, graph.tensors[node.inputs[1]], np.float32)
    weights.flat[5] += 0.1 * np.abs(weights).max()
    replaced(model, graph, node, 1, weights)


def as_it_was(model, graph):
    pass


@pytest.mark.parametrize(
    ("graph", "fault"),
    [
        ("glance", as_it_was),
        ("glance", swapped_channels),
        ("focus", swapped_channels),
        ("glance", shifted_mel),
        ("focus", one_wrong_weight),
    ],
)
def test_each_wrong_file_is_caught_by_the_proof(exported, run, files, tmp_path, graph, fault):
    wrong = files | {graph: edited(files[graph], graph, fault)}
    held = open_bundle(exported[1])
    with BundleWriter(tmp_path / "wrong.avgn", replace(held.manifest, graphs=())) as writer:
        for stage, names in STAGE_FILES.items():
            for name in names:
                record = replace(held.record(name, "tflite", "fp32"), files=())
                writer.add(record, {f"{stage}.tflite": wrong[stage]})
    eager = eager_classifier(run)
    artefact = eager.with_engine(open_engine(open_bundle(tmp_path / "wrong.avgn"), "tflite", threads=1))
    proof = prove(eager, eager.engine, artefact, [coloured_clip(seed) for seed in (1, 2)])
    faults = Counter(sentence.split(":")[0] for sentence in proof.broken(BOUNDS["fp16"]))
    assert (f"artefact of {graph}" in faults) == (fault is not as_it_was), proof.artefact[graph]


def test_a_wrong_file_is_refused_and_leaves_nothing(run, files, clips, tmp_path):
    wrong = files | {"focus": edited(files["focus"], "focus", one_wrong_weight)}
    with pytest.raises(ProofError, match="artefact of focus") as caught:
        export(run, target(wrong), tmp_path / "wrong.avgn", clips[:1], QUIET)
    assert caught.value.exit_code == 5 and list(tmp_path.iterdir()) == []


def test_a_float_file_is_no_int8_export(files, table, monkeypatch):
    """As the converter makes one, without a word, where it is not told to look for quantisers."""
    monkeypatch.setattr(to_tflite, "tflite", lambda graphs, int8: files["glance"])
    program = SimpleNamespace(graph=SimpleNamespace(nodes=()))  # nothing in it is quantised
    pieces = {name: Piece(graph, program) for name, graph in table.items()}
    with pytest.raises(ProofError, match="tflite int8: only 0% of the work of glance") as caught:
        list(to_tflite.TARGETS["int8"].convert(pieces))
    assert caught.value.exit_code == 5


def test_an_export_that_is_interrupted_leaves_nothing(run, clips, tmp_path):
    def convert(pieces):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(run, Target("tflite", "fp32", convert, ()), tmp_path / "cut.avgn", clips[:1], QUIET)
    assert list(tmp_path.iterdir()) == []


def test_an_operator_that_litert_lacks_is_named():
    def strange(patch):
        return (torch.linalg.eigvals(patch[0, :, :3, :3]).real.sum() + torch.zeros(1, tiny.LOCAL),)

    with pytest.raises(InputError, match=r"focus: LiteRT cannot express them \(.+\); export to another format"):
        tflite([tiny_tflite.graph(strange, "focus")])


def test_what_is_missing_is_said_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setitem(FORMATS, "tflite", replace(FORMATS["tflite"], needs=("no_such_converter",)))
    with pytest.raises(MissingError, match=r'pip install "avgn\[tflite-export\]"'):
        check_format("tflite", ("fp32",), 1, 1, tmp_path / "a.avgn")
