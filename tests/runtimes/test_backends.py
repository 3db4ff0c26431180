"""Engines against the numpy twin of the tiny graphs, and every way of asking for one wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtimes.backends as backends
import tiny
from avgn.bundle import BundleWriter, open_bundle
from avgn.contract import contract
from avgn.errors import InputError, MissingError, ProofError, UsageError
from runtimes.backends import Backend, choose_variant, open_engine
from runtimes.backends.lanes import Lanes
from runtimes.backends.loaded import LoadedGraph, joined

GRAPHS = tuple(tiny.MACS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def engine(bundle):
    return open_engine(bundle, threads=1)


def inputs_of(graph, seed):
    random = np.random.default_rng(seed)
    return {
        spec.name: random.integers(0, 4, spec.shape).astype(np.int32)
        if spec.dtype == "int32"
        else random.uniform(-1, 1, spec.shape).astype(np.float32)
        for spec in contract(tiny.CONFIG, graph, tiny.LOCAL)[0]
    }


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].dtype == np.float32
        # bfloat16, which the CPU plugin takes by default, would be off by 1e-2
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), graph=st.sampled_from(GRAPHS))
def test_graphs_give_what_the_formulas_say(engine, seed, graph):
    inputs = inputs_of(graph, seed)
    assert_same(engine.run(graph, inputs), tiny.reference(graph, inputs))


def test_float32_stays_float32(tmp_path):
    # a sum in which bfloat16 loses everything: (1 + 1/1024) - 1 over the mean of the patch
    import openvino
    from openvino import opset13 as op

    patch = op.parameter([1, 3, 32, 32], np.float32)
    patch.output(0).set_names({"patch"})
    weights = op.constant(np.full((3, tiny.LOCAL), 1 + 1 / 1024, np.float32))
    local = op.matmul(op.reduce_mean(patch, np.array([2, 3]), False), weights, False, False)
    local.output(0).set_names({"local"})
    models = tiny.openvino_models() | {"focus": openvino.Model([op.result(local.output(0))], [patch], "focus")}
    engine = open_engine(open_bundle(tiny.tiny_bundle(tmp_path, models=models)), threads=1)
    found = engine.run("focus", {"patch": np.ones((1, 3, 32, 32), np.float32)})["local"]
    np.testing.assert_allclose(found, 3 * (1 + 1 / 1024), rtol=1e-6)


def test_outputs_are_copies(engine):
    first = engine.run("glance", inputs_of("glance", 1))
    kept = {name: value.copy() for name, value in first.items()}
    engine.run("glance", inputs_of("glance", 2))
    assert_same(first, kept)


def test_a_reused_buffer_is_read_anew_each_time(engine):
    inputs = inputs_of("focus", 1)
    engine.run("focus", inputs)
    inputs["patch"][:] = 0.25
    assert_same(engine.run("focus", inputs), tiny.reference("focus", inputs))


@pytest.mark.parametrize("way", ["strided", "read-only"])
def test_any_memory_layout(engine, way):
    wide = np.random.default_rng(3).random((1, 32, 32, 3), np.float32)
    if way == "read-only":
        wide = np.ascontiguousarray(wide.transpose(0, 3, 1, 2))
        view = wide.view()
        view.flags.writeable = False
    else:
        view = wide.transpose(0, 3, 1, 2)
    assert_same(engine.run("focus", {"patch": view}), tiny.reference("focus", {"patch": view}))
    wide[:] = 0.5  # the same array object again, with other contents
    assert_same(engine.run("focus", {"patch": view}), tiny.reference("focus", {"patch": view}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patch": np.zeros((1, 3, 32, 31), np.float32)}, "float32 [1, 3, 32, 32], found float32 [1, 3, 32, 31]"),
        ({"patch": np.zeros((1, 3, 32, 32))}, "must be float32 [1, 3, 32, 32], found float64"),
        ({"patch": [[0.0]]}, "must be a numpy array, found list"),
        ({"patch": None}, "must be a numpy array, found NoneType"),
        ({"extra": np.zeros(1)}, "expected the inputs patch; found patch, extra"),
    ],
)
def test_wrong_inputs_are_named(engine, change, says):
    good = inputs_of("focus", 5)
    with pytest.raises(InputError) as caught:
        engine.run("focus", good | change)
    assert "focus" in str(caught.value) and says in str(caught.value)
    assert_same(engine.run("focus", good), tiny.reference("focus", good))


def test_a_missing_input_is_named(engine):
    with pytest.raises(InputError, match="select: expected the inputs visual, audio, heard, seen; found visual"):
        engine.run("select", {"visual": inputs_of("select", 1)["visual"]})


def test_a_bare_call_works_on_the_inputs_of_the_last_run(engine):
    inputs = inputs_of("focus", 8)
    engine.run("focus", inputs)
    inputs["patch"][:] = 0.75
    engine.bare("focus")()
    assert_same(engine._graphs["focus"]._spares[0].outputs, tiny.reference("focus", inputs))


def test_own_buffers_are_read_afresh_and_kept_apart(engine):
    """Each set has a request of its own: what is written into one shows in its own next run, and in no other's."""
    first, second = engine.buffers("focus", 2)
    first["patch"][:], second["patch"][:] = 0.25, 0.75
    before = engine.run("focus", first)
    assert_same(before, tiny.reference("focus", first))
    assert_same(engine.run("focus", second), tiny.reference("focus", second))
    first["patch"][:] = 0.5
    assert_same(engine.run("focus", first), tiny.reference("focus", first))
    assert_same(before, tiny.reference("focus", {"patch": np.full_like(first["patch"], 0.25)}))
    for sets in ([first, second], [second, second], [inputs_of("focus", 5), inputs_of("focus", 6)]):
        assert_same(engine.run_each("focus", sets), joined([tiny.reference("focus", inputs) for inputs in sets]))
    plain = inputs_of("focus", 3)
    assert_same(engine.run("focus", plain), tiny.reference("focus", plain))
    engine.bare("focus")()


@pytest.fixture(scope="module")
def wide(bundle):
    return open_engine(bundle, threads=2)


def test_calls_side_by_side_give_what_each_alone_gives(wide):
    sets = wide.buffers("glance", 5)
    for seed, buffers in enumerate(sets):
        for name, value in inputs_of("glance", seed).items():
            buffers[name][:] = value
    wanted = [tiny.reference("glance", inputs_of("glance", seed)) for seed in range(5)]
    assert wide._graphs["glance"]._streams == 2
    for order in ([0, 1, 2, 3, 4], [3, 1], [4]):
        found = wide.run_each("glance", [sets[place] for place in order])
        assert_same(found, joined([wanted[place] for place in order]))
    requests = list(wide._graphs["glance"]._own.values())
    for request in requests:
        request.outputs["visual"][:] = 0
    found = wide.asked("glance", sets[:4])()
    assert_same(wide.told("glance", found), joined(wanted[:4]))
    assert not requests[4].outputs["visual"].any()


def test_a_call_that_fails_among_others_is_told_when_none_is_running_any_more(wide, monkeypatch):
    events = []

    class Request:  # and the engine's own in it
        def __init__(self, name):
            self.request, self._name = self, name

        def start_async(self):
            events.append(f"start {self._name}")
            if self._name == "b":
                raise RuntimeError("b is busy")

        def wait(self):
            events.append(f"wait {self._name}")

    with pytest.raises(MissingError, match="glance could not be run"):
        wide._graphs["glance"].call_each([Request(name) for name in "abc"])
    assert events == [f"{step} {name}" for step in ("start", "wait") for name in "abc"]


def test_lanes_share_out_the_calls_and_wait_for_all_when_one_fails():
    ran = []

    class Graph(LoadedGraph):
        def __init__(self, number):
            self.number = number

        def ready(self, inputs):
            return inputs

        def call(self, ready):
            if ready.get("bad") is not None:
                raise MissingError("glance could not be run")
            ran.append(self.number)
            return ready["x"] * 2

        def told(self, found):
            return {"x": np.concatenate(found)}

    lanes = Lanes([Graph(number) for number in (1, 2, 3)])
    sets = [{"x": np.full(1, number)} for number in range(7)]
    assert lanes.told(lanes.call_each(lanes.ready_each(sets)))["x"].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(ran) == [1, 1, 1, 2, 2, 3, 3]
    ran.clear()
    assert [int(x[0]) for x in lanes.call_each(sets[:4])] == [0, 2, 4, 6]
    assert sorted(ran) == [1, 1, 2, 3]
    ran.clear()
    with pytest.raises(MissingError, match="could not be run"):
        lanes.call_each([{"bad": sets[0]["x"]}, *sets[1:]])
    assert sorted(ran) == [2, 2, 3, 3]  # the failed lane stops, the others end
    assert lanes.call_each([]) == [] and int(lanes.run(sets[3])["x"][0]) == 6


def test_threads_and_names(bundle):
    engine = open_engine(bundle, "openvino", "fp32", threads=1)
    assert (engine.backend, engine.precision, engine.threads) == ("openvino", "fp32", 1)
    with pytest.raises(UsageError, match="threads: 0"):
        open_engine(bundle, threads=0)


def test_a_cache_folder_is_filled_and_changes_nothing(bundle, tmp_path):
    for _ in range(2):
        engine = open_engine(bundle, threads=1, cache=tmp_path)
        inputs = inputs_of("glance", 4)
        assert_same(engine.run("glance", inputs), tiny.reference("glance", inputs))
    assert list(tmp_path.iterdir())


VARIANTS = [("coreml", "fp16"), ("openvino", "int8"), ("openvino", "fp32")]


@pytest.mark.parametrize(
    ("backend", "precision", "expected"),
    [
        ("auto", None, ("openvino", "int8")),  # coreml comes first, but nothing here runs it
        ("auto", "fp32", ("openvino", "fp32")),
        ("auto", "fp16", ("coreml", "fp16")),
        ("openvino", None, ("openvino", "int8")),
        ("openvino", "fp32", ("openvino", "fp32")),
        ("coreml", None, ("coreml", "fp16")),
    ],
)
def test_which_variant(backend, precision, expected):
    assert choose_variant(VARIANTS, backend, precision) == expected


@pytest.mark.parametrize(("backend", "precision"), [("tflite", None), ("openvino", "fp16"), ("auto", "int4")])
def test_unknown_variants_list_what_there_is(backend, precision):
    with pytest.raises(UsageError) as caught:
        choose_variant(VARIANTS, backend, precision)
    assert "coreml fp16, openvino int8, openvino fp32" in str(caught.value)


def test_a_bundle_without_graphs_has_no_variant(tmp_path):
    with BundleWriter(tmp_path / "empty.avgn", tiny.head()):
        pass
    with pytest.raises(UsageError, match="no complete variant"):
        open_engine(open_bundle(tmp_path / "empty.avgn"))


def test_an_engine_that_is_not_installed_names_the_command(tmp_path, monkeypatch):
    bundle = open_bundle(tiny.tiny_bundle(tmp_path, (("tflite", "int8"), ("coreml", "fp16"))))
    with pytest.raises(MissingError, match="coreml"):
        open_engine(bundle, "coreml")
    row = Backend("tflite", "runtimes.backends.tflite", "tflite", ("no_such_engine",))
    monkeypatch.setitem(backends.BACKENDS, "tflite", row)
    for backend in ("tflite", "auto"):
        with pytest.raises(MissingError) as caught:
            open_engine(bundle, backend)
        assert 'pip install "avgn[tflite]"' in str(caught.value)


def test_every_listed_backend_exists():
    import importlib.util
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for name, row in backends.BACKENDS.items():
        assert row.name == name
        assert importlib.util.find_spec(row.module) is not None
        assert row.extra is None or row.extra in project["optional-dependencies"]


def test_a_damaged_file_never_reaches_the_engine(tmp_path):
    path = tiny.tiny_bundle(tmp_path)
    weights = path / "openvino-fp32" / "focus.bin"
    data = bytearray(weights.read_bytes())
    data[0] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ProofError, match=r"focus\.bin"):
        open_engine(open_bundle(path))


@pytest.mark.parametrize("junk", [b"", b"<net", b"\0" * 100, b"<net name='a' version='11'><layers/></net>"])
def test_a_file_that_is_no_model_is_an_input_error(tmp_path, junk):
    files = {graph: tiny.openvino_files(model) for graph, model in tiny.openvino_models().items()}
    files["select"] = (junk, b"")
    with BundleWriter(tmp_path / "b.avgn", tiny.head()) as writer:
        for graph, (xml, weights) in files.items():
            writer.add(tiny.record(graph), {f"{graph}.xml": xml, f"{graph}.bin": weights})
    with pytest.raises((InputError, ProofError), match="select"):
        open_engine(open_bundle(tmp_path / "b.avgn"))


def test_a_model_with_other_tensors_than_the_manifest_is_refused(tmp_path):
    models = tiny.openvino_models()
    models["focus"], models["classify"] = models["classify"], models["focus"]
    with pytest.raises(ProofError, match="focus"):
        open_engine(open_bundle(tiny.tiny_bundle(tmp_path, models=models)))
    models = tiny.openvino_models()
    models["focus"].reshape([1, 3, 64, 64])
    with pytest.raises(ProofError, match=r"focus: patch is float32 \[1, 3, 64, 64\]"):
        open_engine(open_bundle(tiny.tiny_bundle(tmp_path / "second", models=models)))
