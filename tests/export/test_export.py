import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from avgn.bundle import open_bundle
from avgn.errors import InputError, MissingError, ProofError, UsageError
from avgn.logmel import log_mel_windows
from avgn.media import read_clip
from avgn.network.avgn import Batch
from avgn.network.checkpoint import load_run
from export.common import Piece, Target, eager_engine, export, one_by_one
from export.common import exported as program_of
from export.formats import FORMATS, Format, check_format
from export.graphs import graphs
from export.main import Request, run_format
from export.parity import BOUNDS, EndToEnd, Proof, compare, prove, whole
from export.to_openvino import TARGETS as ALL_TARGETS
from export.to_openvino import convert
from faults import Faulty, coloured_clip, one_wrong_weight, shifted_mel, swapped_channels
from runtimes.backends import open_engine
from runtimes.classifier import Classifier
from tiny import NumpyEngine

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL, network

QUIET = Console(quiet=True)
TARGETS = {name: target for name, target in ALL_TARGETS.items() if name != "int8"}  # see tests/quantize


@pytest.fixture(scope="module")
def exported(run, clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "small.avgn"
    return [export(run, target, out, clips, QUIET) for target in TARGETS.values()], out


def test_every_graph_is_proven_on_real_clips(exported):
    reports, out = exported
    for report, precision in zip(reports, TARGETS, strict=True):
        assert (
            set(report.proof.artefact)
            == set(report.proof.exported)
            == {"glance", "select", "focus", "classify", "logmel"}
        )
        assert report.proof.broken(BOUNDS[precision]) == []
        assert report.proof.whole.same_labels == report.proof.whole.same_sets == 3
        json.dumps(report.as_json(), allow_nan=False)
    bundle = open_bundle(out)
    assert bundle.variants() == [("openvino", "fp32"), ("openvino", "fp16")]
    assert all(not isinstance(record.parity, str) for record in bundle.manifest.graphs)
    assert {record.found for record in bundle.manifest.graphs if record.precision == "fp16"} == {"fp16"}


def test_fp32_files_match_torch_to_1e_4_relative(exported):
    worst = max(parity.relative_rms for parity in exported[0][0].proof.artefact.values())
    assert worst < 1e-4


def test_a_file_through_the_device_equals_the_network_itself(exported, run, clips):
    """The whole device path against `AVGN.forward`'s own stages on the same frames, patches cut at the same places."""
    classifier = Classifier(open_bundle(exported[1]), open_engine(open_bundle(exported[1]), "openvino", "fp32"))
    decision, clip = classifier.classify(clips[0]), read_clip(clips[0], SMALL)
    frames = np.stack([picture.squashed(SMALL.frame.size) for picture in clip.pictures])
    pictures = np.stack([picture.scaled(SMALL.patch.short_side).transpose(2, 0, 1) for picture in clip.pictures])
    mel = torch.from_numpy(log_mel_windows(clip.sound, clip.starts, SMALL.sound))[None]
    there = torch.ones(1, SMALL.snippets)
    batch = Batch(*(torch.from_numpy(part)[None] / 255 for part in (frames, pictures)), mel, there, there)
    model = load_run(run)[0]
    with torch.no_grad():
        glance = model.glance_all(batch)
        selected = model.select(glance.visual[None], glance.audio[None], there, there)
        when = torch.tensor([decision.selected])
        logits, _ = model.look(batch, glance, selected, when, centres=torch.tensor([decision.centres]))
        free = model(batch)
    assert torch.allclose(selected.saliency[0], torch.tensor(decision.saliency), atol=1e-4)
    assert logits.softmax(1).max().item() == pytest.approx(decision.score, abs=1e-4)
    assert run_labels(run)[int(logits.argmax())] == decision.label
    assert torch.allclose(free, logits, atol=0.2)  # bilinear at most half a pixel beside the cut


def run_labels(run):
    return load_run(run)[1].labels


@pytest.mark.parametrize(
    ("graph", "fault"),
    [
        ("glance", None),
        ("glance", swapped_channels),
        ("focus", swapped_channels),
        ("glance", shifted_mel),
        ("focus", one_wrong_weight),
    ],
)
def test_each_fault_is_caught_by_the_proof(exported, run, graph, fault):
    table = graphs(load_run(run)[0])
    wrong = dict(table)
    if fault:
        wrong[graph] = replace(table[graph], module=Faulty(table[graph].module, fault).eval())
    classifier = Classifier(open_bundle(exported[1]), eager_engine(table))
    clips = [coloured_clip(seed) for seed in (1, 2)]
    proof = prove(classifier, eager_engine(table), classifier.with_engine(eager_engine(wrong)), clips)
    faults = proof.broken(BOUNDS["fp16"])
    assert any(f"artefact of {graph}:" in sentence for sentence in faults) == (fault is not None)
    assert not any("ExportedProgram" in sentence for sentence in faults)


def test_a_wrong_artefact_is_refused_and_leaves_nothing(run, clips, tmp_path):
    def wrong(piece):
        if piece.graph.name != "glance":
            return convert(piece)
        graph = replace(piece.graph, module=Faulty(piece.graph.module, shifted_mel).eval())
        return convert(Piece(graph, program_of(graph)))

    target = Target("openvino", "fp32", one_by_one(wrong), ("openvino",))
    with pytest.raises(ProofError, match="artefact of glance"):
        export(run, target, tmp_path / "wrong.avgn", clips[:1], QUIET)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_finite_is_no_parity():
    class Broken(NumpyEngine):
        def run(self, graph, inputs):
            return {name: value * np.nan for name, value in super().run(graph, inputs).items()}

    inputs = {"patch": np.zeros((1, 3, 32, 32), np.float32)}
    call = (inputs, NumpyEngine().run("focus", inputs))
    assert compare(NumpyEngine(), "focus", [call], 1).relative_rms == 0
    with pytest.raises(ProofError, match="not finite"):
        compare(Broken(), "focus", [call], 1)


def test_bounds_on_whole_clips():
    assert Proof({}, {}, EndToEnd(10, 10, 10, 1)).broken(BOUNDS["fp32"]) == []
    assert "labels" in Proof({}, {}, EndToEnd(10, 9, 10, 0)).broken(BOUNDS["fp32"])[0]
    assert "sets" in Proof({}, {}, EndToEnd(10, 10, 9, 0)).broken(BOUNDS["fp32"])[0]


def test_near_ties_count_as_the_same_set(exported, clips):
    classifier = Classifier(open_bundle(exported[1]), open_engine(open_bundle(exported[1])))
    first = replace(classifier.classify(clips[0]), saliency=(0.5, 0.5 + 1e-6, 0.9, 0.1, 0.1, 0.1), selected=(0, 2))
    other, far = replace(first, selected=(1, 2)), replace(first, selected=(2, 5))
    assert whole([first], [other]) == EndToEnd(1, 1, 1, 1)
    assert whole([first], [far]) == EndToEnd(1, 1, 0, 0)
    assert whole([first], [replace(first, label="other")]) == EndToEnd(1, 0, 1, 0)


def test_bad_requests_are_refused_before_any_work(run, clips, tmp_path):
    with pytest.raises(UsageError, match="int4"):
        run_format("openvino", Request(run, ("int4",), tmp_path / "a.avgn", tuple(clips)), QUIET)
    with pytest.raises(UsageError, match="caffe"):
        run_format("caffe", Request(run, ("fp32",), tmp_path / "a.avgn", tuple(clips)), QUIET)
    with pytest.raises(UsageError, match="batch 0"):
        run_format("openvino", Request(run, ("fp32",), tmp_path / "a.avgn", tuple(clips), 0), QUIET)
    with pytest.raises(UsageError, match=r"ends in \.avgn"):
        run_format("openvino", Request(run, ("fp32",), tmp_path / "a.zip", tuple(clips)), QUIET)
    with pytest.raises(InputError, match="no clips"):
        export(run, TARGETS["fp32"], tmp_path / "a.avgn", [], QUIET)
    with pytest.raises(InputError, match=r"run\.json"):
        export(tmp_path, TARGETS["fp32"], tmp_path / "a.avgn", clips, QUIET)


@pytest.mark.parametrize(
    ("row", "fault", "match"),
    [
        (
            {"needs": ("no_such_library",)},
            MissingError,
            r'no_such_library, .*: pip install "avgn\[export\]"',
        ),
        ({"needs": ("no_such.part",)}, MissingError, "missing"),
        ({"pairs": {"torch": "0.1"}}, MissingError, 'pip install "torch==0.1"'),
        ({"pairs": {"no-such-package": "1"}}, MissingError, "none is installed"),
        ({"refuses": {"fp32": "it has no floats"}, "precisions": ("int8",)}, UsageError, "it has no floats"),
        ({"refuses": {"batch": "one at a time"}}, UsageError, "one at a time"),
    ],
)
def test_what_a_format_lacks_is_said_before_any_work(monkeypatch, tmp_path, row, fault, match):
    monkeypatch.setitem(FORMATS, "openvino", replace(FORMATS["openvino"], **row))
    with pytest.raises(fault, match=match):
        check_format("openvino", ("fp32",), 2, 1, tmp_path / "a.avgn")


def test_a_full_disk_is_said_before_any_work(tmp_path):
    with pytest.raises(InputError, match="make room"):
        check_format("openvino", ("fp32",), 1, 1 << 60, tmp_path / "not" / "there" / "a.avgn")


def test_every_format_has_the_converters_its_row_promises():
    for row in FORMATS.values():
        assert isinstance(row, Format)
        assert set(row.targets()) >= set(row.precisions)
        assert all(target.backend == row.name for target in row.targets().values())


def test_several_patches_a_call_give_the_same_decision(run, clips, exported, tmp_path):
    one = Classifier(open_bundle(exported[1]), open_engine(open_bundle(exported[1]), "openvino", "fp32"))
    export(run, TARGETS["fp32"], tmp_path / "two.avgn", clips, QUIET, batch=2)
    bundle = open_bundle(tmp_path / "two.avgn")
    assert bundle.record("focus", "openvino", "fp32").inputs[0].shape[0] == 2
    two = Classifier(bundle, open_engine(bundle))
    for clip in clips:
        first, second = one.classify(clip), two.classify(clip)
        assert (first.label, first.selected, first.centres) == (second.label, second.selected, second.centres)
        assert first.score == pytest.approx(second.score, abs=1e-5)


def test_graphs_have_the_contracts_outputs():
    for graph in graphs(network()).values():
        with torch.no_grad():
            outputs = graph.module(*graph.example())
        assert [tuple(output.shape) for output in outputs] == [spec.shape for spec in graph.outputs]
