import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgn.config import Config, PatchConfig
from avgn.data.scenes import SceneRecord
from avgn.errors import InputError
from avgn.training.evaluation import evaluate, summary
from avgn.training.metrics import average_precision, bootstrap, covered, mean_average_precision, patch_box

CONFIG = Config(snippets=4, chosen=2, classes=2, patch=PatchConfig(size=100, short_side=200))


def record(kind="both", label="dog"):
    boxes = () if kind == "heard" else tuple((time, 0.4, 0.4, 0.6, 0.6) for time in (1.0, 2.0))
    return SceneRecord("a.mp4", label, kind, 0, "test", 4.0, 400, 200, 15, (1.0, 3.0), boxes, (), 0.0, ())


def decision(saliency, selected, centres, probabilities=(0.8, 0.2)):
    return SimpleNamespace(
        times=(0.5, 1.5, 2.5, 3.5),
        saliency=saliency,
        selected=selected,
        centres=centres,
        probabilities=probabilities,
        macs=10,
        timings_ms={"total": 12.0, "decode": 2.0},
    )


def judged(answer, truth=None):
    return evaluate(lambda path, truth: answer, [(Path("a.mp4"), truth or record())], ("dog", "cat"), CONFIG)


def test_average_precision_by_hand():
    scores, positive = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, positive) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert math.isnan(average_precision(scores, np.zeros(4, bool)))


@given(st.lists(st.booleans(), min_size=1, max_size=12).filter(any))
def test_average_precision_is_one_exactly_when_all_positives_lead(flags):
    positive = np.array(flags)
    scores = -np.arange(len(flags), dtype=float)
    leads = positive[: positive.sum()].all()
    assert (average_precision(scores, positive) == 1.0) == leads


def test_map_counts_an_absent_class_as_zero_and_depends_on_softmax():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    assert mean_average_precision(probabilities, np.array([0, 1])) == pytest.approx(2 / 3)


def test_patch_box_is_a_share_of_the_scaled_frame():
    """A 400 x 200 frame scaled to 200 on its short side is itself: 100 px are a quarter of the width."""
    assert patch_box((0.5, 0.5), 100, 200, 200, 400) == pytest.approx((0.25, 0.375, 0.75, 0.625))
    assert patch_box((0.5, 0.5), 100, 200, 1000, 2000) == pytest.approx((0.25, 0.375, 0.75, 0.625))


@pytest.mark.parametrize(
    ("patch", "share"), [((0, 0, 1, 1), 1.0), ((0, 0, 1, 0.5), 0.5), ((0.7, 0, 1, 1), 0.0), ((0.5, 0.5, 1, 1), 0.25)]
)
def test_covered_share_of_the_box(patch, share):
    assert covered((0.4, 0.4, 0.6, 0.6), patch) == pytest.approx(share)


def test_a_clip_is_judged_by_its_truth():
    good = judged(decision((0.1, 0.9, 0.8, 0.2), (1, 2), ((0.5, 0.5), (0.9, 0.9))))[0]
    assert good.right
    assert good.saliency_ap == 1.0
    assert good.patch_hits == (True, False)
    wrong = judged(decision((0.9, 0.1, 0.2, 0.8), (0, 3), ((0.5, 0.5),) * 2, (0.2, 0.8)))[0]
    assert not wrong.right
    assert wrong.saliency_ap == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert wrong.patch_hits == ()


def test_each_clip_is_classified_with_its_own_truth():
    truths, given = [record("seen"), record("heard")], []

    def classify(path, truth):
        given.append((path.name, truth))
        return decision((0.1, 0.9, 0.8, 0.2), (), ())

    evaluate(classify, [(Path("a.mp4"), truths[0]), (Path("b.mp4"), truths[1])], ("dog", "cat"), CONFIG)
    assert given == [("a.mp4", truths[0]), ("b.mp4", truths[1])]


def test_where_nothing_can_be_measured_nothing_is_claimed():
    found = summary(judged(decision((0.1, 0.9, 0.8, 0.2), (1, 2), ((0.5, 0.5),) * 2), record("heard")))
    assert found["patch_hit"] is None
    assert found["intervals"]["patch_hit"] is None
    assert found["by_kind"]["heard"]["clips"] == 1
    json.dumps(found, allow_nan=False)


def test_summary_has_the_contracts_keys():
    found = summary(judged(decision((0.1, 0.9, 0.8, 0.2), (1, 2), ((0.5, 0.5),) * 2)) * 3)
    assert {"clips", "top1", "map", "saliency_ap", "patch_hit", "macs_mean", "latency_ms", "by_kind"} <= set(found)
    assert found["latency_ms"] == {"p50": 10.0, "p90": 10.0, "p99": 10.0}
    assert found["intervals"]["top1"] == [1.0, 1.0]


def test_unknown_labels_and_no_clips_are_named():
    with pytest.raises(InputError, match="bird"):
        judged(decision((0, 0, 0, 0), (), ()), record(label="bird"))
    with pytest.raises(InputError, match="no clip"):
        summary([])


def test_bootstrap_interval_is_that_of_a_proportion():
    right = np.arange(400) < 300
    low, high = bootstrap(400, lambda chosen: float(right[chosen].mean()))
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - spread, 0.75 + spread), abs=0.01)
