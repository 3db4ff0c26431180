"""What is left out of LiteRT's int8 files changes nothing of what they say or compute."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from export.tflite_compact import compact


def model(names=("a/very/long/name", "another/one"), channels=64):
    """A file of two constants with a step and a zero point for each channel."""
    made, graph = schema.ModelT(), schema.SubGraphT()
    made.version, made.subgraphs, made.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors, graph.operators, graph.inputs, graph.outputs, made.operatorCodes = [], [], [], [], []
    for number, name in enumerate(names):
        tensor, quantization, buffer = schema.TensorT(), schema.QuantizationParametersT(), schema.BufferT()
        quantization.scale, quantization.zeroPoint = [0.5 + number] * channels, [0] * channels
        buffer.data = np.full(channels, number, np.uint8)
        tensor.shape, tensor.type, tensor.name = [channels], schema.TensorType.INT8, name.encode()
        tensor.quantization, tensor.buffer = quantization, len(made.buffers)
        made.buffers.append(buffer)
        graph.tensors.append(tensor)
    return made


def test_equal_vectors_lie_in_the_file_once():
    plain, small = bytes(flatbuffer_utils.convert_object_to_bytearray(model())), compact(model())
    assert len(plain) - len(small) >= 64 * 8  # of the two vectors of zeros one
    (graph,) = flatbuffer_utils.read_model_from_bytearray(bytearray(small)).subgraphs
    for number, tensor in enumerate(graph.tensors):
        assert list(tensor.quantization.zeroPoint) == [0] * 64 and list(tensor.shape) == [64]
        np.testing.assert_array_equal(tensor.quantization.scale, np.full(64, 0.5 + number, np.float32))
        assert tensor.name == str(number).encode()


def test_what_differs_stays_apart():
    made = model()
    made.subgraphs[0].tensors[1].quantization.zeroPoint = [3] * 64
    (graph,) = flatbuffer_utils.read_model_from_bytearray(bytearray(compact(made))).subgraphs
    assert [int(tensor.quantization.zeroPoint[5]) for tensor in graph.tensors] == [0, 3]
