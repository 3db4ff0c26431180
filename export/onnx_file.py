"""What an .onnx file holds, read from the file itself: weights by precision, products, and which of them are int8.

A file may hold int8 and still be computed in float, where an engine finds no kernel for the pattern. So two questions
are asked: which products lie between dequantised tensors (`products`), and which of these ONNX Runtime replaces by its
integer kernels on the CPU (`executed_in_int8`), read from the graph that it made ready to run.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avgn.errors import InputError
from export.common import most_bytes

PRODUCTS = ("Conv", "Gemm", "MatMul")
INTEGER_PRODUCTS = ("QLinearConv", "QGemm", "QLinearMatMul")  # ONNX Runtime's; weights are their input 3
KINDS = {"FLOAT": "fp32", "FLOAT16": "fp16", "INT8": "int8", "UINT8": "int8"}
_PASSING = ("Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze")  # values stay as they are


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product: its node's name and that of what holds its weights, its multiply-accumulates,
    whether both its operands are dequantised 8-bit values."""

    node: str
    weight: str
    macs: int
    int8: bool


def found_precision(model: Any) -> str:
    """The element type that holds most bytes of the model's floating or 8-bit initialisers (weights)."""
    import onnx

    constants = [item.t for node in model.graph.node for item in node.attribute if node.op_type == "Constant"]
    tensors = [*model.graph.initializer, *constants]
    kinds = [(KINDS.get(onnx.TensorProto.DataType.Name(tensor.data_type)), tensor) for tensor in tensors]
    return most_bytes((kind, onnx.numpy_helper.to_array(tensor).nbytes) for kind, tensor in kinds if kind)


def products(model: Any) -> list[Product]:
    """All products of a model of static shapes, in its order. Raises InputError for a shape that is not known."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        sizes = tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        shapes[value.name] = sizes if all(sizes) else ()
    makers = {name: node for node in graph.node for name in node.output}
    held = {tensor.name for tensor in graph.initializer}
    return [_product(node, shapes, makers, held) for node in graph.node if node.op_type in PRODUCTS]


def _product(node: Any, shapes: Mapping[str, tuple[int, ...]], makers: Mapping[str, Any], held: set[str]) -> Product:
    given, weight, made = (shapes.get(name, ()) for name in (node.input[0], node.input[1], node.output[0]))
    if not (given and weight and made):
        raise InputError(f"{node.name}: the {node.op_type} has a shape that is not known; export it again.")
    sources = [_source(name, makers) for name in node.input[:2]]
    stored = [_stored(name, makers) for name in sources]
    inner = math.prod(weight[1:]) if node.op_type == "Conv" else given[-1]
    return Product(
        node.name, stored[1] or sources[1], math.prod(made) * inner, None not in stored and stored[1] in held
    )


def _source(name: str, makers: Mapping[str, Any]) -> str:
    """Where the values of a tensor come from, before what only moves them."""
    while name in makers and makers[name].op_type in _PASSING:
        name = makers[name].input[0]
    return name


def _stored(name: str, makers: Mapping[str, Any]) -> str | None:
    """The 8-bit tensor that `name` is the dequantised form of; None where it is none."""
    maker = makers.get(name)
    return str(maker.input[0]) if maker is not None and maker.op_type == "DequantizeLinear" else None


def int8_share(found: list[Product]) -> float:
    """The part (0..1) of the multiply-accumulates that the file has in int8."""
    return sum(product.macs for product in found if product.int8) / max(1, sum(product.macs for product in found))


def executed_share(data: bytes, found: list[Product]) -> float:
    """The part (0..1) of the multiply-accumulates of the file `data` that ONNX Runtime does in int8 on this CPU."""
    names = integer_products(data)
    done = sum(product.macs for product in found if {product.node, product.weight} & names)
    return done / max(1, sum(product.macs for product in found))


def integer_products(data: bytes) -> set[str]:
    """What ONNX Runtime's integer kernels are called in the graph that it runs on this CPU, and their weights.

    A convolution keeps its weights' name, a product of matrices its own (with what happened to it behind a slash).
    """
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # that such a graph fits this machine only is known
        options.optimized_model_filepath = str(Path(scratch) / "ready.onnx")
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        ready = onnx.load(options.optimized_model_filepath)
    whole = [node for node in ready.graph.node if node.op_type in INTEGER_PRODUCTS]
    return {name for node in whole for name in (node.input[3], node.name.split("/")[0])} - {""}
