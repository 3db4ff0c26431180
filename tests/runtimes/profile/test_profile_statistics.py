from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from runtimes.profile import statistics as stats


@pytest.mark.parametrize("share", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("count", [1, 10, 63, 64, 65, 80, 81, 100, 129, 130, 661, 662, 838, 1001, 5000])
def test_left_out_is_loadgens_rule(count, share):
    """h(t): the least h with I_share(h, t + 1) < 1 %, here by scipy's binomial; t is the last with n >= h(t) + t."""
    wanted = None
    for t in range(1, count):
        if not binom.cdf(t, count, 1 - share) < 0.01:
            break
        wanted = t
    assert stats.left_out(count, share) == wanted


def test_the_least_counts_of_loadgen():
    for share, least in ((0.9, 64), (0.95, 130), (0.97, 219), (0.99, 662)):
        assert stats.left_out(least, share) == 1 and stats.left_out(least - 1, share) is None
    assert [stats.left_out(count, 0.9) for count in (100, 200, 1000)] == [3, 10, 78]
    assert stats.left_out(200_000, 0.9) > 19_000


def test_percentiles_are_samples_at_loadgens_index():
    ordered = [float(value) for value in range(100)]
    assert stats.percentile(ordered, 0.9) == 90 and stats.percentile(ordered, 0.5) == 50
    assert stats.percentile([7.0], 0.99) == 7
    assert stats.bound(ordered, 0.9) == 97 and stats.bound(ordered[:63], 0.9) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_levels_rise(values):
    found = stats.levels(values)
    assert found.p50 <= found.p90 <= found.p99 <= found.max == max(values) and found.count == len(values)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-12)
    assert found.p90_bound is None or found.p90_bound >= found.p90


def test_the_bound_holds_in_99_of_100_runs():
    random = np.random.default_rng(5)
    truth = -math.log(0.1)  # the 90th percentile of an exponential distribution
    held = [stats.bound(sorted(random.exponential(1, 200).tolist()), 0.9) >= truth for _ in range(400)]
    assert np.mean(held) > 0.97


def test_no_values_no_levels():
    assert stats.levels([]) is None


def test_curves_by_tenths_and_by_minutes():
    times = [value / 10 for value in range(1000)]
    short = stats.curve(times, [1.0] * 500 + [3.0] * 500, 0.0, 100.0)
    assert len(short) == 10 and [piece.p50 for piece in short] == [1.0] * 5 + [3.0] * 5
    assert short[0].at == 5 and sum(piece.count for piece in short) == 1000
    long = stats.curve(times, [1.0] * 1000, 0.0, 600.0)
    assert len(long) == 2 and long[0].at == 30 and stats.slice_width(0, 600) == 60


def test_spread_leaves_out_the_extremes_of_ten():
    def slices(*medians):
        return [stats.Slice(0, 1, median, median) for median in medians]

    assert stats.spread(slices(9, 10, 11)) == pytest.approx(0.2)
    assert stats.spread(slices(1, *[10] * 8, 99)) == 0
    assert stats.spread(slices(1, 2)) is None
