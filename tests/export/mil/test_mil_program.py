"""Loading, checking and running whole programs, and what happens when something is wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from avgn.errors import InputError, MissingError, ProofError
from export.mil.program import load
from export.mil.tools import quiet
from export.mil.values import UnsupportedError
from mil_programs import MB, build_program, ct, evaluator, normal

X = normal(1, 3, 8, 8)


def two_layers(x):
    weight = normal(4, 3, 3, 3, seed=1).astype(np.float32)
    made = MB.conv(x=x, weight=weight, pad_type="same", strides=[2, 2], name="first")
    return MB.relu(x=made, name="y")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A small network with a picture for an input, saved as Core ML saves it."""
    path = tmp_path_factory.mktemp("package") / "small.mlpackage"
    with quiet():
        program = build_program(two_layers, {"x": X.astype(np.float32)})
        picture = ct.ImageType(name="x", shape=X.shape, scale=1 / 255, color_layout=ct.colorlayout.RGB)
        made = ct.convert(
            program,
            inputs=[picture],
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT16,
            skip_model_load=True,
        )
        made.save(str(path))
    return path


def test_a_saved_package_is_computed_from_its_files(package):
    program = load(package)
    assert program.images == {"x": "RGB"}
    pixels = np.random.default_rng(0).integers(0, 256, X.shape).astype(np.float32)
    twin = evaluator(two_layers, {"x": X.astype(np.float32)})
    expected = twin.run({"x": pixels / 255})["y"]
    found = program.run({"x": pixels})["y"]
    assert 0 < np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()  # fp16


def test_another_weight_gives_another_answer(package, tmp_path):
    copy = shutil.copytree(package, tmp_path / "copy.mlpackage")
    weights = copy / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    data = bytearray(weights.read_bytes())
    data[-150:-100] = bytes(50)
    weights.write_bytes(bytes(data))
    pixels = {"x": np.full(X.shape, 255, np.float32)}
    assert (load(copy).run(pixels)["y"] != load(package).run(pixels)["y"]).any()


@pytest.mark.parametrize("name", ["model.mlmodel", "weights/weight.bin"])
def test_a_damaged_package_is_an_input_error(package, tmp_path, name):
    copy = shutil.copytree(package, tmp_path / "copy.mlpackage")
    path = copy / "Data" / "com.apple.CoreML" / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="cannot be read as a Core ML program"):
        load(copy)


def test_an_unknown_operation_has_a_named_error():
    with pytest.raises(UnsupportedError, match=r"MIL cumsum 'total'.*no such operation"):
        evaluator(lambda x: MB.cumsum(x=x, axis=0, name="total"), {"x": X[0, 0].astype(np.float32)})
    assert issubclass(UnsupportedError, MissingError)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda x: MB.gelu(x=MB.identity(x=x), mode="EXACT", name="soft"), None),
        (
            lambda x: MB.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="valid", ceil_mode=True, name="m"),
            "MIL max_pool 'm': ceil_mode",
        ),
        (lambda x: MB.concat(values=[x, x], axis=1, interleave=True, name="c"), "MIL concat 'c': interleave"),
    ],
)
def test_an_unknown_option_has_a_named_error(build, sentence):
    program = evaluator(build, {"x": X.astype(np.float32)})
    if sentence is None:
        program.run({"x": X})
    else:
        with pytest.raises(UnsupportedError, match=sentence):
            program.run({"x": X})


def test_shapes_that_depend_on_the_input_are_refused():
    def build(x):
        return MB.non_zero(x=x, name="where")

    with pytest.raises(UnsupportedError):
        evaluator(build, {"x": X.astype(np.float32)})


@pytest.mark.parametrize("wrong", [{"shape": (1, 3, 8, 9)}, {"dtype": "int32"}, {"dtype": "bool"}])
def test_a_result_that_is_not_what_the_program_declares_is_a_broken_proof(wrong):
    program = evaluator(lambda x: MB.relu(x=x, name="y"), {"x": X.astype(np.float32)})
    step = program.steps[0]
    lie = replace(step, outputs=(replace(step.outputs[0], **wrong),))
    with pytest.raises(ProofError, match=r"MIL relu 'y': y .*declared"):
        replace(program, steps=(lie,)).run({"x": X.astype(np.float32)})


def test_inputs_are_checked():
    program = evaluator(lambda x: MB.relu(x=x, name="y"), {"x": X.astype(np.float32)})
    with pytest.raises(InputError, match="expects x"):
        program.run({"z": X})
    with pytest.raises(InputError, match="x must be fp32"):
        program.run({"x": X[:, :2]})
    with pytest.raises(InputError, match="x must be fp32"):
        program.run({"x": X.astype(np.int32)})


def test_every_value_of_a_half_program_is_rounded_to_half():
    """2049 lies between two fp16 numbers: the sum is rounded before it is halved again."""

    def build(x):
        return MB.sub(x=MB.add(x=x, y=np.float16(1)), y=np.float16(2048))

    x = np.array([2048.0], np.float16)
    assert evaluator(build, {"x": x}).run({"x": x}).popitem()[1].tolist() == [0.0]
    assert evaluator(lambda x: MB.mul(x=x, y=x), {"x": x}).run({"x": x}).popitem()[1].tolist() == [np.inf]


def test_answers_are_the_callers_own():
    program = evaluator(lambda x: MB.identity(x=x, name="y"), {"x": X.astype(np.float32)})
    given = X.astype(np.float32)
    first = program.run({"x": given})["y"]
    first[:] = 7
    assert (program.run({"x": given})["y"] == given).all()
