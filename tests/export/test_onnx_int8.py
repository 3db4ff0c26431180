"""Int8 in ONNX: what the file holds, what ONNX Runtime does with it, and that one without the other does not pass."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from int8_net import MACS, Net, last_step, piece, quantised

from avgn.errors import ProofError
from export.inspection import SHARES
from export.onnx_file import executed_share, int8_share, products
from export.to_onnx import convert, convert_int8, proven_int8
from quantize.quantizer import owner, quantizers, spelled


@pytest.fixture(scope="module")
def net():
    return quantised()


def data_of(module):
    return convert(piece(module)).files["focus.onnx"]


@pytest.fixture(scope="module")
def model(net):
    return onnx.load_model_from_string(data_of(spelled(net[0], "unsigned")))


def constants(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def shares(data):
    found = products(onnx.load_model_from_string(data))
    return int8_share(found), executed_share(data, found)


def test_all_of_it_is_int8_and_within_a_step_of_pytorch(net):
    made = convert_int8(piece(spelled(net[0], "unsigned")))
    data = made.files["focus.onnx"]
    assert made.found == "int8" and shares(data) == (1.0, 1.0)
    assert SHARES["onnx"](None, made.files) == 1  # read again, for the report
    answer = onnxruntime.InferenceSession(data).run(None, {"patch": net[1].numpy()})[0]
    assert np.abs(answer - net[0](net[1]).detach().numpy()).max() < 1.5 * last_step(net[0])


def test_the_weights_in_the_file_are_the_quantisers_own(net, model):
    held = constants(model)
    weights = [(place, hook) for place, hook in quantizers(net[0]).items() if hook.is_weight]
    assert len(weights) == 3
    for place, hook in weights:
        (stored,) = [value for name, value in held.items() if name.endswith(f"{place}.int8")]
        weight = owner(net[0], place).weight.detach()
        steps = hook.steps.numpy().reshape(-1, *[1] * (weight.ndim - 1))
        assert stored.dtype == np.int8 and any(np.array_equal(value, hook.steps.numpy()) for value in held.values())
        np.testing.assert_array_equal(stored * steps, hook(weight).numpy())


def test_steps_and_zero_points_in_the_file_are_the_quantisers_own(net, model):
    held = constants(model)
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    found = sorted((float(held[node.input[1]]), int(held[node.input[2]])) for node in nodes)
    specs = [hook.spec for hook in quantizers(net[0]).values() if not hook.is_weight]
    assert found == sorted((float(np.float32(spec.step)), spec.zero_point + 128) for spec in specs)
    assert {held[node.input[2]].dtype for node in nodes} == {np.dtype("uint8")}


def test_products_are_counted_by_hand(model):
    found = products(model)
    assert [product.macs for product in found] == list(MACS.values()) and all(product.int8 for product in found)


def test_int8_that_is_executed_in_float_does_not_pass(net):
    """Without a quantiser behind it a convolution has no integer kernel: the file is int8, its execution is not."""
    made = spelled(net[0], "unsigned")
    behind = [hook for place, hook in quantizers(made).items() if place.startswith("post_hooks.second")]
    assert len(behind) == 1
    behind[0].on = False
    data = data_of(made)
    in_file, executed = shares(data)
    assert in_file == 1 and executed == pytest.approx(1 - MACS["second"] / sum(MACS.values()))
    with pytest.raises(ProofError, match="onnx int8: only 77% of the work of focus") as caught:
        proven_int8("focus", data)
    assert caught.value.exit_code == 5


def test_a_float_graph_does_not_pass():
    data = data_of(Net())
    assert [product.macs for product in products(onnx.load_model_from_string(data))] == list(MACS.values())
    assert shares(data) == (0.0, 0.0)
    with pytest.raises(ProofError, match="only 0%"):
        proven_int8("focus", data)
