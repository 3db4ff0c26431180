"""Whole exports to ONNX and ExecuTorch: right files are proven, wrong ones refused, and nothing half done is left."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from rich.console import Console

import tiny
import tiny_nets
from avgn.bundle import open_bundle
from avgn.errors import ProofError
from avgn.network.checkpoint import new_run, save_run
from clips import write_clip
from export import common
from export.formats import FORMATS
from export.parity import BOUNDS
from runtimes.backends import BACKENDS

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL, network

QUIET = Console(quiet=True)
ALL = {"glance", "select", "focus", "classify", "logmel"}
VARIANTS = [("onnx", "fp32"), ("onnx", "fp16"), ("executorch", "fp32")]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "both.mp4"
    write_clip(path, 3.0)
    return path


class PlainSelect(tiny_nets.Select):
    """Saliencies without the sigmoid: on a loud clip it would be 0 to the last digit, where engines may differ."""

    def forward(self, visual, audio, heard, seen):
        _, tokens, logits = super().forward(visual, audio, heard, seen)
        return tokens.reshape(1, 2, tiny.CONFIG.snippets, -1).sum((1, 3)), tokens, logits


@pytest.fixture
def tiny_run(monkeypatch):
    """A run of which the graphs are the tiny ones."""
    run = new_run(tiny.CONFIG, tiny.LABELS)
    monkeypatch.setattr(common, "load_run", lambda _: (SimpleNamespace(config=tiny.CONFIG), run))
    table = {name: tiny_nets.graph(name) for name in tiny_nets.WITH_SOUND}
    table["select"] = tiny_nets.graph("select", PlainSelect())
    monkeypatch.setattr(common, "graphs", lambda *_: table)
    return Path("tiny.run")


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
    assert len(paths) == (2 if backend == "executorch" else 5)


@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_every_graph_is_proven_on_a_real_clip(tiny_run, clip, kept, tmp_path, variant):
    report = common.export(tiny_run, remembering(of_variant(*variant), kept), tmp_path / "a.avgn", [clip], QUIET)
    check(report, tmp_path / "a.avgn", *variant)
    if variant[0] == "executorch":
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


def test_a_wrong_program_is_refused_and_leaves_nothing(tiny_run, clip, tmp_path):
    def wrong(pieces):
        graph = tiny_nets.graph("focus", OneWrongWeight())
        return of_variant("executorch").convert({**pieces, "focus": common.Piece(graph, common.exported(graph))})

    with pytest.raises(ProofError, match="artefact of focus: relative RMS"):
        common.export(tiny_run, of_variant("executorch", convert=wrong), tmp_path / "wrong.avgn", [clip], QUIET)
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


def test_rows_name_real_extras_and_engines():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for row in FORMATS.values():
        assert set(row.extra.split(",")) <= set(project["optional-dependencies"])
        assert row.name in BACKENDS
    assert torch.__version__.startswith(FORMATS["executorch"].pairs["torch"])
