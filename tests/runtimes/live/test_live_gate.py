"""When the stream rests, when it wakes, and the budget's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from avgn.errors import UsageError
from runtimes.live.budget import Budget
from runtimes.live.gate import QUIETEST, IdleGate, IdleSettings, loudness
from runtimes.live.settings import LiveSettings

STEP = 0.25


def grey(level, spot=None):
    pixels = np.full((48, 64, 3), level, np.uint8)
    if spot is not None:
        pixels[20:26, 30:38] = spot
    return tiny.Pixels(pixels)


def run(gate, moments):
    return [gate.worth(number * STEP, *moment) for number, moment in enumerate(moments)]


def test_loudness_is_the_textbooks():
    sine = np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000).astype(np.float32)
    assert loudness(sine) == pytest.approx(-3.01, abs=0.01)
    assert loudness(sine / 10) == pytest.approx(-23.01, abs=0.01)
    assert loudness(np.ones(10, np.float32)) == 0
    assert loudness(np.zeros(10, np.float32)) == loudness(np.zeros(0, np.float32)) == QUIETEST
    assert loudness(np.full(10, 1e-30, np.float32)) == QUIETEST


def test_it_rests_after_patience_and_then_glances_once_in_a_while():
    gate = IdleGate(IdleSettings(patience=1.0, every=1.0), 32)
    worth = run(gate, [(grey(90), -70.0)] * 16)
    assert worth == [True] * 4 + [number % 4 == 3 for number in range(12)]
    assert gate.idle


@pytest.mark.parametrize(
    "stir",
    [(grey(110), -70.0), (grey(90, spot=250), -70.0), (grey(90), -20.0), (None, -70.0), (grey(90, spot=0), None)],
)
def test_what_stirs_is_glanced_at_at_once(stir):
    gate = IdleGate(IdleSettings(patience=1.0, every=10.0), 32)
    assert not run(gate, [(grey(90), -70.0)] * 12)[-1]
    assert gate.worth(12 * STEP, *stir) and not gate.idle


def test_noise_does_not_stir_and_slow_change_does_in_the_end():
    random = np.random.default_rng(0)
    noisy = [tiny.Pixels((90 + random.normal(0, 1.5, (48, 64, 3))).astype(np.uint8)) for _ in range(12)]
    gate = IdleGate(IdleSettings(patience=1.0, every=100.0), 32)
    assert not any(run(gate, [(picture, -70.0) for picture in noisy])[4:])
    gate = IdleGate(IdleSettings(patience=1.0, every=100.0), 32)
    assert run(gate, [(grey(90 + number // 4), -70.0) for number in range(60)])[4:].count(True) >= 1


def test_a_lost_camera_is_still_too():
    gate = IdleGate(IdleSettings(patience=1.0, every=10.0), 32)
    assert not any(run(gate, [(None, None)] * 12)[5:])


@pytest.mark.parametrize(
    "options", [{"patience": -1.0}, {"every": 0.0}, {"change": 2.0}, {"quiet": 1.0}, {"every": float("nan")}]
)
def test_settings_that_make_no_sense(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        IdleSettings(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"snippets_per_second": 0.0}, "snippets"),
        ({"snippets_per_second": 4.0, "decisions_per_second": 3.0}, "multiple"),
        ({"snippets_per_second": 1.0, "decisions_per_second": 2.0}, "multiple"),
        ({"decisions_per_second": float("nan")}, "snippets"),
        ({"duration": 0.0}, "duration"),
        ({"duration": float("inf")}, "duration"),
    ],
)
def test_rates_that_make_no_sense(options, says):
    with pytest.raises(UsageError, match=says):
        LiveSettings(**options)


@pytest.mark.parametrize("options", [{"focus_per_second": 0.0}, {"macs_per_second": -1.0}])
def test_budgets_that_make_no_sense(options):
    with pytest.raises(UsageError, match="budget"):
        Budget(**options)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.1, 20), st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4)), max_size=40))
def test_a_budget_never_pays_more_than_was_earned(rate, wishes):
    budget, now, paid = Budget(focus_per_second=rate), 0.0, 0
    budget.earn(now)
    for wait, calls in wishes:
        now += wait
        budget.earn(now)
        if budget.allows(calls):
            budget.spend(calls, 0)
            paid += calls
        assert paid <= max(rate, 1) + rate * now + 1e-3


def test_a_small_budget_is_saved_up():
    budget = Budget(focus_per_second=0.1)
    for second in range(11):
        budget.earn(float(second))
        if second == 0:
            budget.spend(1, 0)
    assert budget.allows(1) and not budget.allows(2)


def test_debts_can_be_paid():
    budget = Budget(macs_per_second=100.0, focus_macs=50, classify_macs=10)
    budget.earn(0.0)
    budget.spend(0, 1_000_000)
    budget.earn(1.0)
    assert not budget.allows(1)
    budget.earn(3.0)
    assert budget.allows(1)
