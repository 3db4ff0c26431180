"""Each engine's files of the tiny graphs, through its own runtime, against numpy; and every way they can be wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import tiny
import tiny_nets
from avgn.bundle import BundleWriter, open_bundle
from avgn.errors import InputError, ProofError
from export.common import Piece, explained, exported
from export.formats import FORMATS
from export.to_executorch import lower, xnnpack
from runtimes.backends import open_engine
from runtimes.backends.loaded import joined
from runtimes.backends.onnx import providers

VARIANTS = [("onnx", "fp32"), ("onnx", "fp16"), ("executorch", "fp32")]
TOLERANCE = {"fp32": 1e-5, "fp16": 1e-2}


@pytest.fixture(scope="module")
def pieces():
    return tiny_nets.pieces()


@pytest.fixture(scope="module")
def converted(pieces):
    """Files of every variant, by graph."""
    found = {}
    for backend, precision in VARIANTS:
        done = {}
        for some in FORMATS[backend].targets()[precision].convert(pieces):
            done |= some
        found[backend, precision] = done
    return found


def write(folder, converted, variant, **change):
    """A bundle of one variant; `change` by graph: fields of its record."""
    folder.mkdir(exist_ok=True)
    with BundleWriter(folder / "tiny.avgn", tiny.head()) as writer:
        for graph in tiny_nets.NETS:
            record = replace(tiny.record(graph, *variant), found=converted[variant][graph].found)
            writer.add(replace(record, **change.get(graph, {})), converted[variant][graph].files)
    return open_bundle(folder / "tiny.avgn")


@pytest.fixture(scope="module", params=VARIANTS, ids="-".join)
def engine(request, converted, tmp_path_factory):
    bundle = write(tmp_path_factory.mktemp("bundle"), converted, request.param)
    return open_engine(bundle, *request.param, threads=1)


def inputs_of(graph, seed):
    random = np.random.default_rng(seed)
    return {
        spec.name: random.integers(0, 4, spec.shape).astype(np.int32)
        if spec.dtype == "int32"
        else random.uniform(-1, 1, spec.shape).astype(np.float32)
        for spec in tiny.record(graph).inputs
    }


def assert_same(engine, graph, inputs, found=None):
    found, expected = found or engine.run(graph, inputs), tiny.reference(graph, inputs)
    assert list(found) == list(expected)
    for name in expected:
        bound = TOLERANCE[engine.precision]
        assert found[name].dtype == np.float32 and found[name].shape == expected[name].shape
        np.testing.assert_allclose(found[name], expected[name], rtol=bound, atol=bound)


@pytest.mark.parametrize("graph", tiny_nets.NETS)
def test_graphs_give_what_the_formulas_say(engine, graph):
    for seed in range(3):
        assert_same(engine, graph, inputs_of(graph, seed))


def test_outputs_are_copies_and_inputs_are_left_alone(engine):
    first, second = inputs_of("glance", 1), inputs_of("glance", 2)
    kept = {name: value.copy() for name, value in first.items()}
    found = engine.run("glance", first)
    engine.run("glance", second)
    assert_same(engine, "glance", kept, found)
    assert all((first[name] == kept[name]).all() for name in kept)


@pytest.mark.parametrize("way", ["strided", "read-only"])
def test_any_memory_layout(engine, way):
    wide = np.random.default_rng(3).random((1, 32, 32, 3), np.float32)
    patch = wide.transpose(0, 3, 1, 2)
    if way == "read-only":
        patch = np.ascontiguousarray(patch)
        patch.flags.writeable = False
    assert_same(engine, "focus", {"patch": patch})


def test_inputs_go_by_name_and_wrong_ones_are_named(engine):
    inputs = inputs_of("select", 4)
    assert_same(engine, "select", dict(reversed(inputs.items())))
    with pytest.raises(InputError, match=r"focus: patch must be float32 \[1, 3, 32, 32\], found float64"):
        engine.run("focus", {"patch": np.zeros((1, 3, 32, 32))})


@pytest.mark.parametrize("variant", [one for one in VARIANTS if one[0] == "onnx"], ids="-".join)
def test_glances_side_by_side_are_the_very_glances_of_one_thread(converted, variant, tmp_path):
    bundle = write(tmp_path, converted, variant)
    one, two = (open_engine(bundle, *variant, threads=count) for count in (1, 2))
    sets = [inputs_of("glance", seed) for seed in range(5)]
    found, truth = two.run_each("glance", sets), joined([one.run("glance", inputs) for inputs in sets])
    assert all(np.array_equal(found[name], truth[name]) for name in truth)
    for place, inputs in enumerate(sets):
        assert_same(two, "glance", inputs, {name: value[place : place + 1] for name, value in found.items()})
    assert two.threads == 2 and two.provider == "CPUExecutionProvider"


def test_a_bare_call_and_the_threads(engine):
    engine.run("focus", inputs_of("focus", 5))
    engine.bare("focus")()
    assert engine.threads == 1


@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_what_was_found_in_the_files(converted, variant):
    files = converted[variant]
    light = "fp32"  # in an fp16 variant too
    assert [files[name].found for name in ("glance", "focus")] == [variant[1]] * 2
    assert [files[name].found for name in ("select", "classify")] == [light] * 2
    if variant[0] == "executorch":
        assert set(files["glance"].files) == set(files["select"].files) == {"glance.pte"}
        assert files["glance"].notes["delegated"].split()[0] > "0"


@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_another_shape_or_file_than_the_manifests_is_refused(converted, variant, tmp_path):
    swapped = {**converted[variant], "focus": converted[variant]["classify"]}
    if variant[0] == "executorch":  # the file holds both, so only the shapes can differ
        inputs = tiny.record("classify").inputs
        other = tuple(replace(spec, dtype="float32") if spec.name == "when" else spec for spec in inputs)
        with pytest.raises((InputError, ProofError), match="when"):
            open_engine(write(tmp_path, converted, variant, classify={"inputs": other}), *variant)
    else:
        swapped["focus"] = replace(swapped["focus"], found=variant[1])
        with pytest.raises(ProofError, match="focus"):
            open_engine(write(tmp_path, {variant: swapped}, variant), *variant)


@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[2]], ids="-".join)
@pytest.mark.parametrize("junk", [b"", b"junk" * 30, None], ids=["empty", "junk", "cut off"])
def test_a_file_that_is_no_graph_is_an_input_error(converted, variant, junk, tmp_path):
    files = {name: item.files for name, item in converted[variant].items()}
    spoilt = {name: next(iter(converted[variant][name].files.values())) for name in files}
    broken = spoilt["focus"][: len(spoilt["focus"]) // 2] if junk is None else junk
    held = {
        name: replace(
            item, files=dict.fromkeys(item.files, broken) if "focus" in next(iter(item.files)) else item.files
        )
        for name, item in converted[variant].items()
    }
    with pytest.raises(InputError, match="focus"):
        open_engine(write(tmp_path, {variant: held}, variant), *variant)


def test_a_damaged_file_never_reaches_the_engine(converted, tmp_path):
    for variant in (VARIANTS[0], VARIANTS[2]):
        bundle = write(tmp_path / variant[0], converted, variant)
        path = bundle.path / bundle.record("focus", *variant).files[0].path
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(ProofError, match="focus"):
            open_engine(bundle, *variant)


def test_providers_by_preference_with_engines_kept_apart(tmp_path):
    there = ["CPUExecutionProvider", "AzureExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"]
    found = providers(there, "fp16", tmp_path)
    assert [name for name, _ in found] == [there[3], there[2], there[0]]
    assert found[0][1]["trt_fp16_enable"] == "True"
    assert found[0][1]["trt_engine_cache_path"] == str(tmp_path)
    assert "trt_engine_cache_enable" not in providers(there, "fp32", None)[0][1]
    assert providers(there, "int8", None) == [("CPUExecutionProvider", {})]


def test_a_float_graph_is_no_int8_export():
    """What a delegate leaves in float it leaves without a word."""
    piece = Piece(tiny_nets.graph("glance"), exported(tiny_nets.graph("glance")))
    with pytest.raises(ProofError, match="executorch int8: only 0% of the work of glance") as caught:
        list(FORMATS["executorch"].targets()["int8"].convert({"glance": piece}))
    assert caught.value.exit_code == 5


class Crowded(tiny_nets.Focus):
    """Holds what it does not use, as graphs of a whole network do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("idle", torch.zeros(100_000))
        self.register_buffer("forgotten", torch.zeros(100_000), persistent=False)


def test_a_pte_holds_no_buffers_that_nothing_reads():
    piece = Piece(tiny_nets.graph("focus", Crowded()), exported(tiny_nets.graph("focus", Crowded())))
    data, _ = lower({"focus": piece}, xnnpack)
    patch = torch.from_numpy(inputs_of("focus", 6)["patch"])
    assert len(data) < 100_000
    assert torch.equal(piece.program.module()(patch)[0], piece.graph.module(patch)[0])


class Inverse(nn.Module):
    """Ends in an operator that no phone engine has."""

    def forward(self, patch):
        return (torch.linalg.eigvals(patch[:, :, :3, :3].sum(1))[:, :1].real.expand(1, tiny.LOCAL),)


@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[2]], ids="-".join)
def test_an_operator_that_an_engine_lacks_is_named(variant):
    target = FORMATS[variant[0]].targets()[variant[1]]
    piece = Piece(tiny_nets.graph("focus", Inverse()), exported(tiny_nets.graph("focus", Inverse())))
    with pytest.raises(InputError, match=r"a graph cannot be converted \(.*eig"), explained("to here"):
        list(target.convert({"focus": piece}))
