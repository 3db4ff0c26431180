"""Int8 in Core ML: what the package holds, what the reference evaluator makes of it, and that float does not pass."""

from __future__ import annotations

import numpy as np
import pytest
from int8_net import MACS, Net, last_step, piece, quantised

from avgn.errors import ProofError
from export.inspection import SHARES
from export.mil.precision import int8_share, macs_by_kind
from export.mil.program import load, read
from export.to_coreml import TARGETS, WHERE, convert
from quantize.quantizer import quantizers, spelled


@pytest.fixture(scope="module")
def net():
    return quantised()


@pytest.fixture(scope="module")
def package(net, tmp_path_factory):
    made = convert(piece(spelled(net[0], "folded")), "int8")
    assert made.found == "int8" and made.notes["MACs"] == "100.0% int8 weights on int8"
    assert SHARES["coreml"](None, made.files) == 1  # read again, for the report
    folder = tmp_path_factory.mktemp("package")
    for name, data in made.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / "focus.mlpackage"


def test_all_of_it_is_int8_for_ios_17(package):
    spec, mil = read(package)
    assert spec.specificationVersion == 8  # iOS 17
    assert macs_by_kind(mil) == {("int8", "int8"): sum(MACS.values())} and int8_share(macs_by_kind(mil)) == 1


def test_weights_and_steps_in_the_package_are_the_quantisers_own(net, package):
    operations = read(package)[1].functions["main"].operations
    held = [op for op in operations if op.op_type == "constexpr_affine_dequantize"]
    weights = [hook for hook in quantizers(net[0]).values() if hook.is_weight]
    assert len(held) == len(weights) == 3
    found = sorted(tuple(np.atleast_1d(op.scale.val).astype(np.float32).tolist()) for op in held)
    wanted = sorted(tuple(hook.steps.numpy().astype(np.float16).astype(np.float32).tolist()) for hook in weights)
    assert found == wanted  # rounded to fp16, which is what the program computes in
    assert all(op.quantized_data.val.dtype == np.int8 for op in held)
    specs = [hook.spec for hook in quantizers(net[0]).values() if not hook.is_weight]
    placed = {float(op.scale.val) for op in operations if op.op_type in ("quantize", "dequantize")}
    # coremltools moves zero points (it knows uint8) and divides what meets in a sum by the step of one of them
    assert {float(np.float16(spec.step)) for spec in specs} <= placed


def test_within_two_steps_of_pytorch(net, package):
    """One for the sum, one for the product behind it: fp16 between the steps moves values that lie halfway."""
    found = load(package).run({"patch": (net[1] * 255).round().numpy().astype(np.float32)})["local"]
    assert np.abs(found - net[0](net[1]).detach().numpy()).max() < 2.1 * last_step(net[0])


def test_a_float_graph_does_not_pass():
    with pytest.raises(ProofError, match="coreml int8: only 0% of the work of focus") as caught:
        convert(piece(Net()), "int8")
    assert caught.value.exit_code == 5


def test_the_manifest_will_say_what_was_not_run():
    assert TARGETS["int8"].notes == {"apple runtime": WHERE} and TARGETS["int8"].spelling == "folded"
