"""The bench that decides for `auto`: kept whole, and as if not there when damaged, old, or of another machine."""

from __future__ import annotations

import json

import pytest

import runtimes.backends as backends
import runtimes.stored_bench as stored
import tiny
from avgn.bundle import open_bundle
from runtimes.backends import Backend, choose_variant, open_engine

FP32, INT8 = ("openvino", "fp32"), ("openvino", "int8")
TIMES = {FP32: 12.5, INT8: 7.25}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "avgn" / "bench.json"


def test_what_is_stored_comes_back_for_its_bundle_and_threads(cache):
    stored.store("one", None, TIMES)
    stored.store("one", 1, {FP32: 20.0, INT8: 30.0})
    stored.store("two", None, {FP32: 1.0, INT8: 2.0})
    assert cache.is_file() and [path.name for path in cache.parent.iterdir()] == ["bench.json"]
    assert stored.measured("one", None) == TIMES
    assert stored.measured("one", 1) == {FP32: 20.0, INT8: 30.0}
    assert stored.measured("one", 2) == stored.measured("three", None) == {}


def test_one_variant_alone_is_no_comparison(cache):
    stored.store("one", None, {FP32: 1.0})
    assert not cache.exists()


def test_the_oldest_entries_go_first(monkeypatch):
    monkeypatch.setattr(stored, "MOST", 2)
    for digest in ("one", "two", "one", "three"):
        stored.store(digest, None, TIMES)
    assert stored.measured("two", None) == {}
    assert stored.measured("one", None) == stored.measured("three", None) == TIMES


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "\xff", '{"format": 2, "entries": {}}', '{"format": 1, "entries": []}', "[" * 100, "NaN"]
    + [json.dumps({"format": 1, "entries": {"one own": entry}}) for entry in (None, [], {}, {"made": 1, "rows": []})],
)
def test_a_damaged_file_is_as_if_not_there(cache, text):
    cache.parent.mkdir(parents=True)
    cache.write_text(text, encoding="latin-1")
    assert stored.measured("one", None) == {}
    stored.store("one", None, TIMES)
    assert stored.measured("one", None) == TIMES


@pytest.mark.parametrize("rows", [None, [1], [{"backend": "a"}], [{"backend": "a", "precision": "b", "ms": -1}]])
def test_damaged_rows_are_as_if_not_there(cache, rows):
    stored.store("one", None, TIMES)
    data = json.loads(cache.read_text())
    data["entries"]["one own"]["rows"] = rows
    cache.write_text(json.dumps(data))
    assert stored.measured("one", None) == {}


@pytest.mark.parametrize("key", ["cpu", "cores", "versions"])
def test_another_machine_or_other_versions_make_it_stale(cache, key):
    stored.store("one", None, TIMES)
    data = json.loads(cache.read_text())
    data["entries"]["one own"]["made"][key] = "other"
    cache.write_text(json.dumps(data))
    assert stored.measured("one", None) == {}


def test_a_cache_that_cannot_be_written_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    stored.store("one", None, TIMES)
    assert stored.measured("one", None) == {}
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # not a place, says the specification
    assert stored.place().is_absolute() and stored.place().parts[-3:] == (".cache", "avgn", "bench.json")


def test_auto_takes_the_fastest_of_those_that_can_run(monkeypatch):
    variants = [("coreml", "fp16"), FP32, INT8]
    assert choose_variant(variants, "auto", None, TIMES) == INT8
    assert choose_variant(variants, "auto", "fp32", TIMES) == FP32
    assert choose_variant(variants, "openvino", None, TIMES) == FP32  # asked for by name: the manifest's order
    assert choose_variant(variants, "auto", None, {INT8: 1.0}) == FP32  # a bench that lacks one of them decides nothing
    row = Backend("tflite", "runtimes.backends.tflite", "tflite", ("no_such_engine",))
    monkeypatch.setitem(backends.BACKENDS, "tflite", row)
    assert choose_variant([("tflite", "int8"), FP32, INT8], "auto", None, TIMES) == INT8


def test_opening_reads_the_bench_of_this_very_bundle(tmp_path):
    bundle = open_bundle(tiny.tiny_bundle(tmp_path, (FP32, INT8)))
    assert open_engine(bundle, threads=1).precision == "fp32"
    stored.store(bundle.digest(), 1, TIMES)
    assert open_engine(bundle, threads=1).precision == "int8"
    assert open_engine(bundle, precision="fp32", threads=1).precision == "fp32"
    assert open_engine(bundle, threads=2).precision == "fp32"  # not measured so
