"""LiteRT against the numpy twin of the tiny graphs: ai-edge-litert here, tflite-runtime in a venv of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
import tiny_tflite
from avgn.bundle import BundleWriter, open_bundle
from avgn.contract import contract
from avgn.errors import InputError, MissingError, ProofError
from export.to_tflite import finished
from runtimes.backends import Backend, open_engine
from runtimes.backends.loaded import joined
from runtimes.classifier import Classifier

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files():
    return tiny_tflite.tiny_files()


@pytest.fixture(scope="module")
def bundle(files, tmp_path_factory):
    return open_bundle(tiny_tflite.tiny_bundle(tmp_path_factory.mktemp("bundle"), files))


@pytest.fixture(scope="module")
def engine(bundle):
    return open_engine(bundle, "tflite", threads=1)


def inputs_of(graph, seed):
    random = np.random.default_rng(seed)
    return {
        spec.name: random.integers(0, 4, spec.shape).astype(np.int32)
        if spec.dtype == "int32"
        else random.uniform(-1, 1, spec.shape).astype(np.float32)
        for spec in contract(tiny.CONFIG, graph, tiny.LOCAL)[0]
    }


def assert_same(found, expected, tolerance=1e-5):
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), graph=st.sampled_from(tuple(tiny.MACS)))
def test_graphs_give_what_the_formulas_say(engine, seed, graph):
    inputs = inputs_of(graph, seed)
    assert_same(engine.run(graph, inputs), tiny.reference(graph, inputs))


def test_outputs_are_copies_and_inputs_any_memory(engine):
    first = engine.run("glance", inputs_of("glance", 1))
    kept = {name: value.copy() for name, value in first.items()}
    engine.run("glance", inputs_of("glance", 2))
    assert_same(first, kept)
    strided = np.random.default_rng(3).random((1, 32, 32, 3), np.float32).transpose(0, 3, 1, 2)
    strided.flags.writeable = False
    assert_same(engine.run("focus", {"patch": strided}), tiny.reference("focus", {"patch": strided}))


def test_wrong_inputs_are_named(engine):
    with pytest.raises(InputError, match=r"focus: patch must be float32 \[1, 3, 32, 32\], found float64"):
        engine.run("focus", {"patch": np.zeros((1, 3, 32, 32))})
    with pytest.raises(InputError, match="select: expected the inputs visual"):
        engine.run("select", {})


def test_a_bare_call_works_on_the_inputs_of_the_last_run(engine):
    inputs = inputs_of("focus", 8)
    expected = engine.run("focus", inputs)
    np.testing.assert_array_equal(engine.bare("focus")()["local"], expected["local"])


def test_glances_side_by_side_are_the_very_glances_of_one_thread(bundle, engine):
    """Their interpreters are apart: no call reads what another wrote."""
    two = open_engine(bundle, "tflite", threads=2)
    sets = [inputs_of("glance", seed) for seed in range(5)]
    for _ in range(3):
        found = two.run_each("glance", sets)
        truth = joined([engine.run("glance", inputs) for inputs in sets])
        assert all(np.array_equal(found[name], truth[name]) for name in truth)
        assert_same(found, joined([tiny.reference("glance", inputs) for inputs in sets]))
    with pytest.raises(InputError, match="glance: expected the inputs"):
        two.run_each("glance", [sets[0], {}])


def test_threads_files_and_interpreters(bundle, engine):
    assert (engine.backend, engine.precision, engine.threads) == ("tflite", "fp32", 1)
    assert open_engine(bundle, "tflite").threads >= 1
    runners = {name: graph._runner._interpreter for name, graph in engine._graphs.items()}
    assert runners["glance"] is runners["select"] and runners["glance"] is not runners["focus"]


def test_a_clip_gives_what_the_formulas_give(bundle, engine):
    for seed in (1, 2):
        found = Classifier(bundle, engine).classify_clip(tiny.tiny_clip(seed))
        expected = Classifier(bundle, tiny.NumpyEngine()).classify_clip(tiny.tiny_clip(seed))
        assert (found.label, found.selected, found.centres) == (expected.label, expected.selected, expected.centres)
        assert found.score == pytest.approx(expected.score, abs=1e-5)


def test_int8_files_take_and_give_floats(files, tmp_path):
    """What the converter left int8 at the ends is refused; made float, the file gives the very numbers it stood for."""
    alone = tiny_tflite.tflite([tiny_tflite.graph(tiny_tflite.focus)])
    colours = np.random.default_rng(5).uniform(-1, 1, (16, 1, 3, 1, 1)).astype(np.float32)
    samples = [{"patch": np.broadcast_to(colour, (1, 3, 32, 32)).copy()} for colour in colours]
    quantised = tiny_tflite.int8_file(alone, "focus", samples)
    (taken,), (made,) = tiny_tflite.specs_of(quantised, "focus")
    assert taken.dtype == made.dtype == "int8" and taken.scale and made.scale
    record = tiny.record("focus", "tflite", "int8")
    with pytest.raises(ProofError, match=r"focus: patch is int8 .* export it again"):
        wrong = replace(record, inputs=(taken,), outputs=(made,))
        open_engine(open_bundle(int8_bundle(tmp_path / "wrong", files, quantised, wrong)), "tflite")
    right = int8_bundle(tmp_path / "right", files, finished(quantised), record)
    engine = open_engine(open_bundle(right), "tflite", threads=1)
    run = Interpreter(model_content=quantised).get_signature_runner("focus")
    for sample in samples:
        found = engine.run("focus", sample)["local"]
        stored = np.rint(sample["patch"] / taken.scale + taken.zero_point).clip(-128, 127).astype(np.int8)
        expected = (run(patch=stored)["local"].astype(np.float32) - made.zero_point) * made.scale
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    patch = {"patch": np.full((1, 3, 32, 32), 0.3, np.float32)}
    ends = [(limit - made.zero_point) * made.scale for limit in (-128, 127)]
    expected = np.clip(tiny.reference("focus", patch)["local"], *ends)
    np.testing.assert_allclose(engine.run("focus", patch)["local"], expected, atol=3 * made.scale)


def int8_bundle(folder, files, quantised, focus):
    folder.mkdir()
    with BundleWriter(folder / "t.avgn", tiny.head()) as writer:
        for name in ("glance", "select", "classify"):
            stage = "focus" if name == "classify" else "glance"
            record = replace(tiny.record(name, "tflite", "int8"), found="int8" if name == "glance" else "fp32")
            writer.add(record, {f"{stage}.tflite": files[stage]})
        writer.add(focus, {"patch.tflite": quantised})
    return folder / "t.avgn"


@pytest.mark.parametrize("junk", [b"", b"no model", b"\x1c\0\0\0TFL3" + b"\0" * 64])
def test_a_file_that_is_no_model_is_an_input_error(files, tmp_path, junk):
    with pytest.raises(InputError, match="focus"):
        open_engine(open_bundle(tiny_tflite.tiny_bundle(tmp_path, files | {"focus": junk})), "tflite")


def test_a_file_with_other_tensors_than_the_manifest_is_refused(files, tmp_path):
    with pytest.raises(ProofError, match="focus: the tflite file has no signature"):
        swapped = {"glance": files["glance"], "focus": files["glance"]}
        open_engine(open_bundle(tiny_tflite.tiny_bundle(tmp_path, swapped)), "tflite")
    other = tiny_tflite.tflite(
        [tiny_tflite.graph(lambda patch: (patch.sum((2, 3)),), "focus"), tiny_tflite.graph(tiny_tflite.classify)]
    )
    (tmp_path / "second").mkdir()
    with pytest.raises(ProofError, match=r"focus: local is float32 \[1, 3\]"):
        open_engine(open_bundle(tiny_tflite.tiny_bundle(tmp_path / "second", files | {"focus": other})), "tflite")


def test_a_damaged_file_never_reaches_the_engine(files, tmp_path):
    path = tiny_tflite.tiny_bundle(tmp_path, files)
    damaged = path / "tflite-fp32" / "focus.tflite"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(ProofError, match=r"focus\.tflite"):
        open_engine(open_bundle(path), "tflite")


def test_either_engine_will_do():
    assert Backend("tflite", "m", "tflite", ("no_such_engine",), "numpy").installed
    assert not Backend("tflite", "m", "tflite", ("no_such_engine",), "no_such_other").installed


OLD = ("tflite-runtime==2.14.0", "numpy==1.26.4")
PROGRAM = """
import sys, numpy
from avgn.bundle import BundleWriter, open_bundle
from runtimes.backends import open_engine
engine = open_engine(open_bundle(sys.argv[1]), "tflite", threads=1)
assert "tflite_runtime" in sys.modules and numpy.__version__ == "1.26.4"
inputs = numpy.load(sys.argv[2])
for graph in ("glance", "select", "focus", "classify"):
    given = {name.split("/")[1]: inputs[name] for name in inputs.files if name.split("/")[0] == graph}
    numpy.savez(f"{sys.argv[2]}.{graph}.npz", **engine.run(graph, given))
"""


@pytest.fixture(scope="session")
def old_python(tmp_path_factory):
    """A Python with tflite-runtime, which needs numpy below 2 and so an environment of its own."""
    if sys.version_info[:2] > (3, 11):
        pytest.skip("tflite-runtime 2.14 has no wheel for this Python")
    folder = tmp_path_factory.mktemp("old") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", *OLD]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"tflite-runtime cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return python


def test_tflite_runtime_gives_the_same_values(old_python, engine, bundle, tmp_path):
    given = {graph: inputs_of(graph, 9) for graph in tiny.MACS}
    np.savez(
        tmp_path / "in.npz", **{f"{graph}/{name}": value for graph in given for name, value in given[graph].items()}
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [old_python, "-c", PROGRAM, bundle.path, tmp_path / "in.npz"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for graph, inputs in given.items():
        found, here = dict(np.load(tmp_path / f"in.npz.{graph}.npz")), engine.run(graph, inputs)
        assert_same(found, here)


def test_tflite_runtime_with_numpy_2_is_named(bundle, monkeypatch):
    import runtimes.backends.tflite as backend

    def broken(**_):
        raise AttributeError("_ARRAY_API not found")

    monkeypatch.setattr(backend, "Interpreter", broken)
    with pytest.raises(MissingError, match="numpy below 2"):
        open_engine(bundle, "tflite")


def test_an_operator_that_the_engine_lacks_is_named(bundle, monkeypatch):
    import runtimes.backends.tflite as backend

    def lacking(**_):
        raise ValueError("Didn't find op for builtin opcode 'X' version '9'.")

    monkeypatch.setattr(backend, "Interpreter", lacking)
    with pytest.raises(MissingError, match="version '9'"):
        open_engine(bundle, "tflite")
