"""What is left out of OpenVINO's files changes nothing of what they compute."""

from __future__ import annotations

import numpy as np
import openvino
import torch
from torch import nn

from export.compact import drop_inner_names, plain_ends, share_constants, without_indentation


class Net(nn.Module):
    """The same small constant twice, and one of the same bytes in another shape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127)
        z = torch.fake_quantize_per_tensor_affine(y * 3 + 1, 0.1, 0, -128, 127)
        return z + torch.tensor([1.0, 2.0])


def test_a_smaller_file_computes_the_same(tmp_path):
    model = openvino.convert_model(torch.export.export(Net(), (torch.zeros(3, 2),)))
    model.inputs[0].get_tensor().set_names({"taken"})
    model.outputs[0].get_tensor().set_names({"given"})
    openvino.save_model(model, tmp_path / "before.xml", compress_to_fp16=False)
    plain_ends(model)
    share_constants(model)
    drop_inner_names(model)
    openvino.save_model(model, tmp_path / "after.xml", compress_to_fp16=False)
    plain = (tmp_path / "after.xml").read_bytes()
    (tmp_path / "after.xml").write_bytes(without_indentation(plain))
    before, after = (openvino.Core().read_model(tmp_path / f"{name}.xml") for name in ("before", "after"))
    constants = [sum(op.get_type_name() == "Constant" for op in each.get_ops()) for each in (before, after)]
    assert constants[1] <= constants[0] - 4  # the four ends of the second quantiser are those of the first
    sizes = [(tmp_path / f"{name}.xml").stat().st_size for name in ("before", "after")]
    assert sizes[1] < 0.7 * sizes[0]
    assert after.inputs[0].any_name == "taken" and after.outputs[0].any_name == "given"
    x = np.linspace(-20, 20, 6, dtype=np.float32).reshape(3, 2)
    answers = [openvino.Core().compile_model(each, "CPU")({"taken": x})[0] for each in (before, after)]
    np.testing.assert_array_equal(answers[0], answers[1])
