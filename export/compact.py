"""OpenVINO's files without what nothing reads: an int8 graph has 200 quantisers, each with four constants of its own.

The graph stays the same: equal small constants become one, tensors inside have no names, and the XML no indentation.
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


def drop_inner_names(model: Any) -> None:
    """Only what goes in and comes out keeps its name, in place."""
    for node in model.get_ordered_ops():
        for output in node.outputs():
            kinds = {node.get_type_name(), *(use.get_node().get_type_name() for use in output.get_target_inputs())}
            if not kinds & {"Parameter", "Result"}:
                output.get_tensor().set_names(set())


def without_indentation(xml: bytes) -> bytes:
    """The same XML: between tags it has nothing but blanks."""
    return re.sub(rb">\s+<", b"><", xml)
