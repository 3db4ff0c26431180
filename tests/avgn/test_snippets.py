from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from avgn.config import SoundConfig
from avgn.snippets import centred_start, snippet_times, sound_start

SOUNDS = st.builds(
    SoundConfig, rate=st.sampled_from((16_000, 32_000)), hop=st.sampled_from((160, 320)), frames=st.integers(32, 256)
)


def test_times_are_the_middles_of_equal_parts() -> None:
    assert snippet_times(8.0, 4).tolist() == [1.0, 3.0, 5.0, 7.0]
    assert snippet_times(0.0, 3).tolist() == [0.0, 0.0, 0.0]


@given(st.floats(0, 1e5), st.integers(1, 512))
def test_times_rise_within_the_clip_and_mirror_each_other(duration: float, count: int) -> None:
    times = snippet_times(duration, count)
    assert times.shape == (count,) and times.dtype == np.float64
    assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] <= duration
    assert np.allclose(times + times[::-1], duration)


@given(st.floats(-10, 1000), st.integers(-20_000, 10_000_000), st.integers(0, 10_000_000), SOUNDS)
def test_a_window_is_centred_then_moved_inside_the_sound(time: float, first: int, length: int, sound) -> None:
    last, size = first + length, sound.samples
    middle = time * sound.rate
    start = sound_start(time, first, last, sound)
    if start is None:
        # Not heard: the centred window, known to half a hop, does not reach into [first, last).
        assert length == 0 or middle + size / 2 <= first + sound.hop or middle - size / 2 >= last - sound.hop
        return
    assert start % sound.hop == 0
    if length >= size + sound.hop:
        assert first <= start and start + size <= last
        inside = first + sound.hop <= middle - size / 2 and middle + size / 2 <= last - sound.hop
        if inside:
            assert abs(start + size / 2 - middle) <= sound.hop / 2 + 1
    else:
        assert start < last and start + size > first


@given(st.floats(0, 1000), SOUNDS)
def test_the_unmoved_window_is_centred_to_half_a_hop(time: float, sound) -> None:
    start = centred_start(time, sound)
    assert start % sound.hop == 0
    assert abs(start + sound.samples / 2 - time * sound.rate) <= sound.hop / 2 + 1e-3


def test_sound_that_ends_before_the_window_is_not_heard() -> None:
    sound = SoundConfig()
    second, half = sound.rate, sound.seconds / 2
    assert sound_start(5.0, 0, 3 * second, sound) is None
    assert sound_start(3.0 + half - 0.05, 0, 3 * second, sound) == (3 * second - sound.samples) // sound.hop * sound.hop
    assert sound_start(1.0 - half - 0.05, second, 9 * second, sound) is None
    assert sound_start(0.1, 0, 100, sound) == 0
    assert sound_start(0.0, 0, 0, sound) is None
