"""The roofline: what share of a measured peak a graph reaches, and where the rest goes, from figures made up here."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import tiny
from avgn.bundle import open_bundle
from runtimes.backends import open_engine
from runtimes.backends.openvino_operators import mean_since
from runtimes.backends.operators import Operator, operators
from runtimes.bench import Percentiles, Row, Spread
from runtimes.roofline import UNKNOWN, reason, roofline


def row(name, ms, macs, backend="openvino"):
    bundle = "" if name.startswith("peak") else "tiny"
    return Row(name, backend, "fp32", 1, Percentiles(ms, ms, ms), macs, 1.0, Spread(ms, ms), 9, bundle)


def subject(engine):
    bundle = SimpleNamespace(manifest=SimpleNamespace(name="tiny"))
    return SimpleNamespace(engine=engine, classifier=SimpleNamespace(bundle=bundle))


def test_the_share_of_the_best_peak():
    counted = [Operator("a", "Convolution", "k", 1.0, macs=10_000_000)]
    engine = SimpleNamespace(backend="openvino", precision="fp32", operators=lambda graph, calls: counted)
    mute = SimpleNamespace(backend="onnx", precision="fp32")
    rows = [
        row("bare glance", 2.0, 20_000_000),
        row("bare glance", 4.0, 20_000_000, "onnx"),
        row("peak, matrix products", 10.0, 400_000_000),
        row("peak, convolutions", 10.0, 250_000_000),
    ]
    ours, other = roofline(rows, [subject(engine), subject(mute)])
    assert (ours.graph, ours.bundle) == ("glance", "tiny")
    assert (ours.gmacs_per_s, ours.peak_gmacs_per_s, ours.share) == pytest.approx((10.0, 40.0, 0.25))
    assert other.share == pytest.approx(0.125) and other.why == UNKNOWN
    assert roofline(rows[:2], [subject(engine)]) == ()  # no peak, no roof


def test_the_reason_begins_with_what_loses_most():
    found = [
        Operator("a", "Convolution", "k", 3.0, macs=20_000_000),  # at a peak of 10 M/ms: 1 ms lost
        Operator("b", "Convolution", "k", 3.0, macs=10_000_000, depthwise=True),  # 2 ms lost
        Operator("c", "Eltwise", "k", 0.5),
        Operator("d", "Reorder", "k", 0.5),
    ]
    told = reason(found, 10_000_000)
    assert told.startswith("lost: 50% depthwise convolutions (33% of the MACs), 25% ")
    assert "1 products, median 20 MMACs" in told and "2 operators without products (Eltwise, Reorder)" in told
    assert told.endswith("4 operators of 1750 us")
    assert reason([Operator("a", "Convolution", "k", 1.0, macs=10_000_000)], 10_000_000) == "none lost"


def test_an_engine_tells_the_work_of_its_operators(tmp_path):
    bundle = open_bundle(tiny.tiny_bundle(tmp_path))
    engine = open_engine(bundle, threads=1)
    engine.run("focus", {"patch": np.zeros((1, 3, 32, 32), np.float32)})
    assert sum(one.macs for one in operators(engine, "focus", 2)) == 3 * tiny.LOCAL  # one product of [1,3] and [3,D]


def test_the_mean_of_the_later_runs_of_a_running_average():
    spent = [10.0, 2.0, 3.0, 1.0, 2.0]  # the first packs weights
    before, after = np.mean(spent[:2]), np.mean(spent)
    assert mean_since(before, 2, after, 5) == pytest.approx(2.0)
