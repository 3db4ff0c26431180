"""A clip's glances in batches: the values of single ones, and never those of other arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runtimes.backends.openvino as openvino_backend
import tiny
from avgn.bundle import default_bundle, open_bundle
from runtimes.backends import open_engine
from runtimes.backends.loaded import joined
from runtimes.backends.openvino_batches import MOST, PATIENCE, batch_of


def inputs_of(seed):
    made = np.random.default_rng(seed)
    return {name: made.random(shape, np.float32) for name, shape in SHAPES.items()}


SHAPES = {spec.name: spec.shape for spec in tiny.record("glance").inputs}


def truth(sets):
    return joined([tiny.reference("glance", inputs) for inputs in sets])


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)


def test_a_clips_glances_are_run_in_batches_after_many_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino_backend, "PATIENCE", 2)
    engine = open_engine(open_bundle(tiny.tiny_bundle(tmp_path)), threads=2)
    graph, sets = engine._graphs["glance"], engine.buffers("glance", 6)
    for turn in range(4):
        given = [inputs_of(10 * turn + place) for place in range(6)]
        for buffers, inputs in zip(sets, given, strict=True):
            for name, value in inputs.items():
                buffers[name][:] = value
        asked = engine.asked("glance", sets)()
        assert [request.specs[0].shape[0] for request in asked] == ([3, 3] if turn else [1] * 6)
        assert_same(engine.told("glance", asked), truth(given))
    # what does not lie in the row, or is not all of it, is not taken from there
    deaf = [{**inputs, "mel": np.zeros_like(inputs["mel"])} for inputs in sets]
    for some in (deaf, sets[:5], sets[::-1], sets):
        assert_same(engine.run_each("glance", some), truth(some))
    for unfit in (refusing, lambda model, size: None):  # inner shapes of its own; and a graph that stays as it was
        monkeypatch.setattr(openvino_backend, "multiply", unfit)
        other = engine.buffers("glance", 6)
        for _ in range(3):
            assert_same(engine.run_each("glance", other), truth(other))
        assert graph._batches is graph._row


def test_few_clips_wait_for_no_compiling(tmp_path):
    engine = open_engine(open_bundle(tiny.tiny_bundle(tmp_path)), threads=2)
    sets = engine.buffers("glance", 6)
    lengths = [len(engine.asked("glance", sets)()) for _ in range(PATIENCE + 1)]
    assert lengths == [6] * (PATIENCE - 1) + [2, 2]


def refusing(model, size):
    raise RuntimeError("a size of its own")


def test_one_thread_has_no_batches(tmp_path):
    engine = open_engine(open_bundle(tiny.tiny_bundle(tmp_path)), threads=1)
    sets = engine.buffers("glance", 6)
    engine.in_batches("glance")
    assert {len(engine.asked("glance", sets)()) for _ in range(3)} == {6}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_default_bundles_batches_give_what_single_glances_give(precision):
    engine = open_engine(open_bundle(default_bundle()), "openvino", precision, threads=2)
    made = np.random.default_rng(0)
    sets = engine.buffers("glance", 16)
    for inputs in sets:
        for value in inputs.values():
            value[:] = made.random(value.shape, np.float32)
    single = engine.run_each("glance", sets)
    engine.in_batches("glance")
    batched = engine.run_each("glance", sets)
    assert len(engine._graphs["glance"]._batches) == 2
    for name, values in single.items():
        np.testing.assert_allclose(batched[name], values, rtol=1e-4, atol=1e-4)


@given(count=st.integers(1, 64), streams=st.integers(1, 32))
def test_batches_are_equal_and_every_stream_has_one_where_that_can_be(count, streams):
    size = batch_of(count, streams)
    if streams == 1:
        assert size == 1
        return
    assert count % size == 0 and 1 <= size <= MOST
    assert size == 1 or count // size >= streams
    assert all(count % more or count // more < streams for more in range(size + 1, MOST + 1))
