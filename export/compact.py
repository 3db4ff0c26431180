"""OpenVINO's files without what nothing reads: an int8 graph has 200 quantisers, each with four constants of its own.

The graph stays the same: equal small constants become one, the ends of quantisers have no dimensions, what is inside
has numbers for names, and the XML no indentation.
"""

from __future__ import annotations

import re
from typing import Any

SMALL = 64  # bytes of a constant that is looked at


def share_constants(model: Any) -> None:
    """One node for all small constants of the same type, shape and values, in place."""
    first: dict[tuple[str, str, bytes], Any] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and 0 < node.get_byte_size() <= SMALL:
            key = (node.get_element_type().get_type_name(), str(node.get_output_shape(0)), node.get_data().tobytes())
            same = first.setdefault(key, node)
            if same is not node:
                for use in list(node.output(0).get_target_inputs()):
                    use.replace_source_output(same.output(0))


def plain_ends(model: Any) -> None:
    """The ends of quantisers as single numbers rather than tensors of one, in place."""
    from openvino import opset13 as operations

    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize":
            for port in node.inputs()[1:]:
                end = port.get_source_output().get_node()
                if end.get_type_name() == "Constant" and end.get_data().size == 1:
                    port.replace_source_output(operations.constant(end.get_data().reshape(())).output(0))


def drop_inner_names(model: Any) -> None:
    """Only what goes in and comes out keeps its name, in place."""
    for number, node in enumerate(model.get_ordered_ops()):
        if node.get_type_name() not in ("Parameter", "Result"):
            node.set_friendly_name(str(number))
        for output in node.outputs():
            kinds = {node.get_type_name(), *(use.get_node().get_type_name() for use in output.get_target_inputs())}
            if not kinds & {"Parameter", "Result"}:
                output.get_tensor().set_names(set())


def without_indentation(xml: bytes) -> bytes:
    """The same XML: between tags it has nothing but blanks."""
    return re.sub(rb">\s+<", b"><", xml)
