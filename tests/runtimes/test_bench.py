from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import clips
import runtimes.bench as bench
import tiny
from avgn.bundle import open_bundle
from avgn.errors import MissingError, UsageError
from runtimes.bench import Key, Options, run_bench
from runtimes.contestant import Contestant

OPENVINO = (("openvino", "fp32"), ("openvino", "int8"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle"), OPENVINO))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    clips.write_clip(path, 2.0)
    return path


@pytest.fixture(scope="module")
def found(bundle, clip):
    return run_bench([bundle], Options(rounds=3, threads=1, clips=(clip, clip)))


def test_the_keys_of_the_json(found):
    data = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert {"machine", "versions", "rows", "rounds", "warm_up", "clips"} <= set(data)
    assert {"cpu", "cores", "memory_gb", "system"} <= set(data["machine"])
    assert data["machine"]["cpu"] and data["machine"]["cores"] >= 1 and data["machine"]["memory_gb"] > 0
    assert {"python", "avgn", "numpy", "openvino"} <= set(data["versions"])
    for row in data["rows"]:
        assert list(row)[:7] == ["name", "backend", "precision", "threads", "ms", "macs", "ratio_to_ours"]
        assert 0 < row["ms"]["p50"] <= row["ms"]["p90"] <= row["ms"]["p99"]
        assert row["spread"]["p25"] <= row["ms"]["p50"] <= row["spread"]["p75"] <= row["ms"]["p99"]
        assert row["samples"] == 2 * 3


def test_each_variant_has_its_rows_with_what_they_cost(found):
    rows = {(row.name, row.backend, row.precision): row for row in found.rows}
    assert ("log-mel", "numpy", "fp32") in rows
    for precision in ("fp32", "int8"):
        ours, bare = (rows[(name, "openvino", precision)] for name in ("avgn classify", "bare graphs"))
        assert ours.macs == bare.macs == 4 * 1000 + 200 + 2 * 5000 + 30
        for graph, macs in tiny.MACS.items():
            assert rows[(f"bare {graph}", "openvino", precision)].macs == macs
        assert ours.threads == 1
    reference = rows[("avgn classify", "openvino", "fp32")]
    assert reference.ratio_to_ours == 1
    for row in found.rows:
        assert row.ratio_to_ours == pytest.approx(row.ms.p50 / reference.ms.p50)
    assert [(head.backend, head.precision) for head in found.headline] == list(OPENVINO)
    assert all(head.ours_to_bare > 1 for head in found.headline)  # the calls are part of the decision


def test_one_variant_only(bundle, clip):
    found = run_bench([bundle], Options(1, precision="int8", threads=1, clips=(clip,)))
    assert {row.precision for row in found.rows if row.backend == "openvino"} == {"int8"}
    assert found.rows[0].ratio_to_ours == 1


def test_rounds_are_interleaved_rotated_and_warmed_up():
    order = []
    contestants = [
        Contestant("b", "p", 1, {}, lambda name=name: order.append(name) or {name: float(len(order))}) for name in "abc"
    ]
    kept = list(bench._rounds(contestants, 2, {}))
    assert len(order) == (bench.WARM_UP + 2) * 3 and len(kept) == 2 * 3
    groups = ["".join(order[first : first + 3]) for first in range(0, len(order), 3)]
    assert all(sorted(group) == ["a", "b", "c"] for group in groups)
    assert {group[0] for group in groups[-3:]} == {"a", "b", "c"}


def test_what_is_rare_is_measured_now_and_then_and_not_warmed_up():
    order = []
    usual = Contestant("b", "p", 1, {}, lambda: order.append("usual") or {"usual": 1.0})
    rare = Contestant("c", "p", 1, {}, lambda: order.append("rare") or {"rare": 1.0}, every=2)
    kept = [contestant for contestant, _ in bench._rounds([usual, rare], 4, {})]
    assert order.count("rare") == kept.count(rare) == 2 and kept.count(usual) == 4


def test_who_fails_on_the_way_is_out_and_named():
    def failing():
        raise MissingError("it broke")

    absent = {}
    usual = Contestant("b", "p", 1, {"usual": 1}, lambda: {"usual": 1.0})
    kept = list(bench._rounds([usual, Contestant("c", "p", 1, {"tool": 1}, failing)], 2, absent))
    assert [contestant for contestant, _ in kept] == [usual, usual] and absent == {"tool": "not run: it broke"}


def test_percentiles_and_headline_are_those_of_the_samples():
    ours, bare = [10.0, 30.0, 20.0], [10.0, 10.0, 20.0]
    samples = {Key("a", "avgn classify", "b", "p"): ours, Key("a", "bare graphs", "b", "p"): bare}
    heads = {key: Contestant("b", "p", 2, {key.name: 7}, dict) for key in samples}
    rows = bench._rows(samples, heads)
    assert rows[0].ms.p50 == 20 and rows[0].ms.p90 == pytest.approx(np.percentile(ours, 90))
    assert (rows[0].spread.p25, rows[0].spread.p75, rows[0].samples) == (15, 25, 3)
    assert rows[1].ratio_to_ours == 0.5 and rows[1].macs == 7
    head = bench._headlines(samples)[0]
    assert (head.ours_to_bare, head.spread) == (1.0, bench.Spread(1.0, 2.0))  # of 1, 3 and 1, not 20 / 10


def test_a_yardstick_that_is_not_here_is_said_and_two_bundles_are_told_apart(bundle, clip):
    def lacking(contest):
        assert contest.clip == clip and len(contest.subjects) == 3
        raise MissingError("no such tool")

    other = replace(bundle, manifest=replace(bundle.manifest, name="other", graphs=bundle.manifest.graphs[:4]))
    told = []
    found = run_bench([bundle, other], Options(1, threads=1, clips=(clip,)), (), {"tool": lacking}, tell=told.append)
    assert told == ["opening the engines", "preparing tool", *["warming up"] * bench.WARM_UP, "round 1 of 1"]
    assert found.not_run == {"tool": "not run: no such tool"}
    assert set(found.decisions("other")) == {("openvino", "fp32")}
    assert set(found.decisions(bundle.manifest.name)) == set(OPENVINO)
    with pytest.raises(UsageError, match="same name"):
        run_bench([bundle, bundle], Options(1, clips=(clip,)))


def test_nonsense_is_refused(bundle, clip, monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="rounds"):
        Options(0)
    with pytest.raises(UsageError, match="openvino fp32"):
        run_bench([bundle], Options(backend="coreml", clips=(clip,)))
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "runtimes" / "bench.py"))
    with pytest.raises(UsageError, match="--clips"):
        run_bench([bundle])
