from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from avgn.errors import InputError, UsageError
from avgn.manifest import Accuracy
from runtimes import tradeoff
from runtimes.bench import Percentiles, Row, Spread

OURS = Row("avgn classify", "openvino", "int8", 1, Percentiles(20, 25, 30), 9, 1.0, Spread(19, 22), 9, "tiny")
DENSE = replace(OURS, name="dense, all frames", precision="fp32", bundle="untrained")
BENCH = SimpleNamespace(rows=(OURS, replace(OURS, name="bare graphs"), DENSE), machine={"cpu": "a", "cores": 2})


def test_what_bundles_record_and_evaluations_say(tmp_path):
    told = (Accuracy("openvino", "int8", "Scenes", "test", 300, 0.9, 0.8, 0.95),)
    bundles = [SimpleNamespace(manifest=SimpleNamespace(name="tiny", accuracy=accuracy)) for accuracy in (told, "no")]
    (tmp_path / "a.json").write_text(json.dumps({"top1": 0.92, "intervals": {"top1": [0.9, 0.94]}}))
    known = {**tradeoff.recorded(bundles), **tradeoff.evaluated([f"dense openvino-fp32={tmp_path}/a.json"])}
    ours, dense = tradeoff.points(BENCH, known)
    assert (ours.title, ours.ms, ours.top1) == ("tiny openvino-int8", (19, 20, 22), (0.9, 0.8, 0.95))
    assert (dense.title, dense.top1) == ("dense openvino-fp32", (0.92, 0.9, 0.94))
    pytest.importorskip("matplotlib")
    tradeoff.draw(BENCH, known, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert "tiny openvino-int8" in drawn and "dense openvino-fp32" in drawn
    with pytest.raises(UsageError, match="--accuracy"):
        tradeoff.draw(BENCH, {}, tmp_path / "b.svg")
    assert not (tmp_path / "b.svg").exists()


def test_what_is_no_evaluation_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="avgn evaluate"):
        tradeoff.evaluated([f"dense={tmp_path}/a.json"])
    with pytest.raises(InputError, match="avgn evaluate"):
        tradeoff.evaluated([f"dense={tmp_path}/none.json"])
    with pytest.raises(UsageError, match="TITLE=FILE"):
        tradeoff.evaluated(["dense"])
