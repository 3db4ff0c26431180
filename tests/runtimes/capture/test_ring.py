"""The rings against plain lists that forget nothing."""

from __future__ import annotations

import numpy as np
import scenery
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.capture.ring import FrameRing, SoundRing
from runtimes.capture.source import Frame


def frame(number):
    return Frame(number / 10, number, scenery.Shot())


def test_the_newest_frame_at_or_before_a_time():
    ring = FrameRing(4)
    for number in range(6):
        ring.push(frame(number))
    assert len(ring) == 4 and ring.dropped == 0  # nobody has read yet
    assert ring.at(0.45).number == 4 and ring.at(0.5).number == 5 and ring.at(9.0).number == 5
    assert ring.at(0.1) is None


def test_frames_that_a_blocked_reader_missed_are_dropped_and_those_it_passed_are_not():
    ring = FrameRing(3)
    ring.push(frame(0))
    ring.at(0.0)
    for number in range(1, 8):
        ring.push(frame(number))
    assert ring.dropped == 4  # 1 to 4; 5, 6 and 7 can still be had
    ring.at(0.7)
    for number in range(8, 10):
        ring.push(frame(number))
    assert ring.dropped == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 25), st.integers(0, 40), st.booleans()), max_size=12), st.integers(0, 10_000))
def test_the_sound_ring_is_the_end_of_all_that_was_written(writes, zero):
    size = 16
    ring, all_of_it = SoundRing(size), {}
    value = 0.0
    for hole, count, read in writes:
        start = ring.end + hole if all_of_it else zero
        samples = np.arange(value + 1, value + 1 + count, dtype=np.float32)
        value += count
        end = ring.end
        ring.write(start, samples)
        for index, sample in enumerate(samples, start):
            if index >= end or not all_of_it:
                all_of_it[index] = sample
        if not all_of_it:
            continue
        if read:
            got, there = ring.read(ring.end - 20, 24)
            for place in range(24):
                index = ring.end - 20 + place
                known = ring.end - size <= index and index in all_of_it
                assert there[place] == known
                assert got[place] == (all_of_it[index] if known else 0.0)
    if all_of_it:
        assert ring.end == max(all_of_it) + 1 and ring.end - ring.first <= size


def test_sound_is_dropped_only_where_it_was_there_and_not_yet_passed():
    ring = SoundRing(10)
    ring.write(0, np.ones(10, np.float32))
    ring.write(10, np.ones(5, np.float32))
    assert ring.dropped == 0
    ring.read(8, 4)  # up to 12
    ring.write(15, np.ones(7, np.float32))  # overwrites 5 to 11
    assert ring.dropped == 0
    ring.write(22, np.ones(4, np.float32))  # overwrites 12 to 15
    assert ring.dropped == 4
    ring.write(126, np.ones(1, np.float32))  # a hole longer than the ring
    assert ring.dropped == 14 and ring.first == 117
