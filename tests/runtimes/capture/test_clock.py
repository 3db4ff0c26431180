"""Clocks that drift, arrivals that are late, holes that nobody tells of."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scenery
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.capture.clock import DeviceClock, SimulatedClock, SystemClock
from runtimes.capture.events import Tape
from runtimes.capture.receiver import Receiver
from runtimes.capture.replay import ReplaySource

SOUND = scenery.SOUND


def arrivals(seconds, drift, jitter, seed=0, every=0.02, zero=0.0):
    """(date, true time, arrival) of what a device of that drift brings up to `jitter` seconds late."""
    random = np.random.default_rng(seed)
    last = 0.0
    for index in range(1, int(seconds / every)):
        true = index * every
        last = max(last, true + random.uniform(0, jitter))
        yield zero + true * (1 + drift), true, last


@settings(max_examples=20, deadline=None)
@given(
    drift=st.floats(-0.01, 0.01), jitter=st.floats(0.0, 0.03), seed=st.integers(0, 99), zero=st.sampled_from([0.0, 5e4])
)
def test_the_device_s_time_is_known_to_a_fraction_of_the_jitter(drift, jitter, seed, zero):
    clock = DeviceClock()
    for date, true, arrival in arrivals(40, drift, jitter, seed, zero=zero):
        late = clock.observe(date, arrival)
        assert clock.found_gap() == 0 and 0 <= late <= jitter + 0.041
        if true > 10:
            assert abs(clock.time(date) - true) < 0.001 + jitter / 4
    assert abs(clock.drift_ppm - drift * 1e6) < 50 + jitter * 5000


def test_a_burst_after_a_stall_is_no_gap():
    clock = DeviceClock()
    for date, true, arrival in arrivals(30, 0.0, 0.0):
        clock.observe(date, 12.0 if 10 <= true < 12 else arrival)
        assert clock.found_gap() == 0
    assert abs(clock.time(20.0) - 20.0) < 1e-6


@pytest.mark.parametrize("begin", [0.5, 1.7, 10.0])
def test_a_hole_that_nobody_tells_of_is_found_in_a_second_and_a_half(begin):
    clock, found = DeviceClock(), []
    for date, true, arrival in arrivals(30, 0.0005, 0.005):
        if true < begin or true >= begin + 0.4:
            clock.observe(date - 0.4 * (true > begin), arrival)
            if gap := clock.found_gap():
                found.append((true, gap))
    assert len(found) == 1 and found[0][0] < begin + 0.4 + 1.6 and abs(found[0][1] - 0.4) < 0.03
    assert abs(clock.time(29.0 - 0.4) - 29.0) < 0.03


def test_what_is_told_to_be_lost_is_allowed_for_at_once():
    clock = DeviceClock()
    for date, true, arrival in arrivals(30, 0.001, 0.002):
        lost = 3.0 if true > 20 else 0.0
        if 20 < true <= 20.02:
            assert abs(clock.resume(date - lost, arrival) - 3.0) < 0.005
        clock.observe(date - lost, arrival)
        if true > 20.5:
            assert abs(clock.time(date - lost) - true) < 0.005


@pytest.mark.parametrize("drift", [0.01, -0.01])
def test_one_percent_of_drift_moves_the_sound_by_less_than_40_ms(drift):
    """For two minutes; half an hour is part of the soak."""
    random = np.random.default_rng(1)
    microphone = scenery.microphone(120, 16000, drift, block=0.05, delay=lambda index: random.uniform(0, 0.015))
    source = ReplaySource(Tape(None, microphone), SOUND)
    source.start()
    worst, wrong = 0.0, 0.0
    for time_ in np.arange(1.5, 119, 0.5):
        source.clock.wait_until(time_)
        snippet = source.snapshot(time_)
        offset = scenery.misplaced(snippet.sound, snippet.start)
        worst, wrong = max(worst, abs(offset)), max(wrong, abs(offset - snippet.av_offset))
    assert worst < 0.04 and wrong < 0.02
    assert abs(source.drift_ppm - drift * 1e6) < 100
    assert source.counters.gaps == 0 and source.counters.dropped_sound_ms == 0


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 96000])
def test_any_rate_lies_where_it_belongs(rate):
    receiver = Receiver(SOUND, False, True)
    for event in scenery.microphone(4, rate, begin=0.7):
        receiver.take(event)
    snippet = receiver.snapshot(3.0)
    assert snippet.heard and abs(scenery.misplaced(snippet.sound, snippet.start)) < 0.001
    assert abs(np.abs(snippet.sound).max() - 0.5) < 0.01


def test_the_clocks_never_go_back():
    system = SystemClock()
    before = time.perf_counter()
    system.wait_until(system.now() + 0.01)
    system.wait_until(0.0)
    assert system.now() >= 0.01 and time.perf_counter() - before < 5
    simulated = SimulatedClock()
    simulated.wait_until(5.0)
    simulated.wait_until(2.0)
    assert simulated.now() == 5.0
