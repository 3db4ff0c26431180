"""The Core ML engine's own part, with a stand-in for Apple's: what it is handed, what is checked, what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import tiny
from avgn.bundle import GraphRecord, contract
from avgn.contract import TensorSpec
from avgn.errors import InputError, MissingError, ProofError
from runtimes.backends import BACKENDS, coreml
from runtimes.backends.coreml import CoreMlEngine, CoreMlGraph, check_description, picture

PICTURES = ("frame", "patch")


def record_of(graph):
    inputs, outputs = contract(tiny.CONFIG, graph, tiny.LOCAL)
    taken = tuple(
        replace(spec, dtype="uint8", scale=1 / 255, zero_point=0) if spec.name in PICTURES else spec for spec in inputs
    )
    return GraphRecord(graph, "coreml", "fp32", "run", 1, (), taken, outputs, "fp32", "not run: a test")


class Kind(SimpleNamespace):
    """A protobuf FeatureType, as far as it is looked at."""

    def WhichOneof(self, _):  # noqa: N802 - protobuf's name
        return "imageType" if hasattr(self, "imageType") else "multiArrayType"


def feature(spec, order="RGB"):
    if spec.dtype == "uint8":
        colours = SimpleNamespace(Name=lambda _: order)
        size = {"height": spec.shape[2], "width": spec.shape[3]}
        return SimpleNamespace(
            name=spec.name, type=Kind(imageType=SimpleNamespace(colorSpace=0, ColorSpace=colours, **size))
        )
    kinds = SimpleNamespace(Name=lambda _: spec.dtype.upper())
    array = SimpleNamespace(shape=list(spec.shape), dataType=0, ArrayDataType=kinds)
    return SimpleNamespace(name=spec.name, type=Kind(multiArrayType=array))


class AppleModel:
    """Takes what coremltools' MLModel takes, and computes the tiny graphs' formulas."""

    def __init__(self, record, order="RGB"):
        self.record = record
        inputs = [feature(spec, order) for spec in record.inputs]
        self.description = SimpleNamespace(input=inputs, output=[feature(spec) for spec in record.outputs])
        self.given = None

    def get_spec(self):
        return SimpleNamespace(description=self.description)

    def predict(self, given):
        self.given = given
        arrays = {
            name: value if isinstance(value, np.ndarray) else np.asarray(value).transpose(2, 0, 1)[None] / 255
            for name, value in given.items()
        }
        return tiny.reference(self.record.graph, arrays)


def inputs_of(graph):
    random = np.random.default_rng(3)
    made = {}
    for spec in record_of(graph).inputs:
        if spec.dtype == "uint8":
            made[spec.name] = random.integers(0, 256, spec.shape).astype(np.uint8) * np.float32(1 / 255)
        elif spec.dtype == "int32":
            made[spec.name] = random.integers(0, 4, spec.shape).astype(np.int32)
        else:
            made[spec.name] = random.uniform(-1, 1, spec.shape).astype(np.float32)
    return made


@pytest.fixture
def engine():
    pytest.importorskip("PIL.Image", reason="pictures are handed over with Pillow, which is not installed")
    return CoreMlEngine("fp32", lambda graph: CoreMlGraph(record_of(graph), AppleModel(record_of(graph))))


@pytest.mark.parametrize("graph", tiny.MACS)
def test_graphs_get_what_they_take_and_give_what_the_contract_says(engine, graph):
    inputs = inputs_of(graph)
    found, expected = engine.run(graph, inputs), tiny.reference(graph, inputs)
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)
    engine.bare(graph)()


def test_a_frame_is_handed_over_as_the_very_picture_it_came_from(engine):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32)).astype(np.uint8)
    inputs = inputs_of("glance") | {"frame": pixels * np.float32(1 / 255)}
    engine.run("glance", inputs)
    handed = engine._graph("glance")._model.given["frame"]
    assert handed.mode == "RGB" and (np.asarray(handed) == pixels[0].transpose(1, 2, 0)).all()


def test_every_8_bit_value_survives():
    spec = TensorSpec("frame", (1, 3, 16, 16), "uint8", 1 / 255, 0)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, 1)
    assert (picture(spec, pixels * np.float32(1 / 255)) == pixels[0].transpose(1, 2, 0)).all()
    assert (picture(spec, np.full((1, 3, 16, 16), 1.5, np.float32)) == 255).all()


def test_inputs_are_checked_as_the_host_has_them(engine):
    with pytest.raises(InputError, match="frame must be float32"):
        engine.run("glance", inputs_of("glance") | {"frame": np.zeros((1, 3, 32, 32), np.uint8)})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"order": "BGR"}, r"frame is BGR picture \[1, 3, 32, 32\] .* picture \[1, 3, 32, 32\] in the manifest"),
        ({"name": "image"}, "frame is not there in the coreml graph"),
        ({"shape": (1, 3, 32, 40)}, r"frame is picture \[1, 3, 32, 40\]"),
    ],
)
def test_a_model_that_is_not_the_manifests_is_refused(change, sentence):
    record = record_of("glance")
    order = change.pop("order", "RGB")
    described = AppleModel(replace(record, inputs=(replace(record.inputs[0], **change), *record.inputs[1:])), order)
    with pytest.raises(ProofError, match=sentence):
        check_description(record, described.description)


def test_a_failing_engine_is_a_named_error(engine):
    def fail(_):
        raise RuntimeError("no such unit")

    engine._graph("focus")._model.predict = fail
    with pytest.raises(MissingError, match="coreml: focus could not be run"):
        engine.run("focus", inputs_of("focus"))


@pytest.mark.skipif(sys.platform == "darwin", reason="here Core ML runs")
def test_it_runs_on_macos_only():
    assert not BACKENDS["coreml"].installed
    with pytest.raises(MissingError, match="macOS"):
        coreml.open_engine(None, "fp32", None, None)
