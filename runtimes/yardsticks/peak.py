"""The most that this machine computes: large products in OpenVINO, the measure of what a graph reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset13 as op

from runtimes.backends.openvino import NAME, options
from runtimes.backends.openvino_operators import products
from runtimes.contestant import Contest, Contestant, Timed, timed

PEAK = "peak"
CALLS = 2
LAYERS = 2  # in a row
MATRIX = (1024, 1024)
PICTURE = (1, 256, 28, 28)


def peak(contest: Contest) -> list[Contestant]:
    """For each precision that is benched: matrix products, and convolutions of 3 x 3, each a row."""
    kinds = dict.fromkeys(subject.engine.precision for subject in contest.subjects)
    return [_contestant(kind, contest.threads) for kind in kinds]


def large(shape: tuple[int, ...], int8: bool) -> openvino.Model:
    """`LAYERS` products on an array of `shape`: matrices [n,c], or convolutions of 3 x 3 on pictures [1,c,h,w]."""
    width = shape[1]
    random = np.random.default_rng(0)
    made = start = op.parameter(list(shape), np.float32)
    for _ in range(LAYERS):
        kernel = (width, width, 3, 3) if len(shape) == 4 else (width, width)
        weights = op.constant(random.uniform(-1, 1, kernel).astype(np.float32) / width)
        left, right = (_rounded(node, int8) for node in (made, weights))
        made = op.matmul(left, right, False, True) if len(shape) == 2 else _convolution(left, right)
    return openvino.Model([op.result(made)], [start], PEAK)


def _convolution(picture: Any, weights: Any) -> Any:
    ones = [1, 1]
    return op.convolution(picture, weights, ones, ones, ones, ones)


def _rounded(node: Any, int8: bool) -> Any:
    """With int8, through a quantiser of -1..1: what makes the engine compute in int8."""
    if not int8:
        return node
    low, high = op.constant(np.float32(-1)), op.constant(np.float32(127 / 128))
    return op.fake_quantize(node, low, high, low, high, 256)


def _contestant(precision: str, threads: int | None) -> Contestant:
    core, how = openvino.Core(), options(precision, threads)
    models = {f"{PEAK}, matrix products": MATRIX, f"{PEAK}, convolutions": PICTURE}
    compiled = {
        name: core.compile_model(large(shape, precision == "int8"), "CPU", how) for name, shape in models.items()
    }
    requests = {name: model.create_infer_request() for name, model in compiled.items()}
    for name, shape in models.items():
        requests[name].infer([np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)])
    macs = {name: sum(product.macs for product in products(model).values()) for name, model in compiled.items()}
    count = max(int(model.get_property("INFERENCE_NUM_THREADS")) for model in compiled.values())

    def measure() -> Timed:
        return {name: timed(request.infer, CALLS) / CALLS for name, request in requests.items()}

    return Contestant(NAME, precision, count, macs, measure)
