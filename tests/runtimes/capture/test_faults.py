"""Every injected fault shows itself in its counter; half an hour of them loses neither memory nor the clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scenery

from runtimes.capture.events import Tape
from runtimes.capture.faults import BLOCKED, FAULTS, Fault
from runtimes.capture.replay import ReplaySource
from runtimes.capture.source import State


def play(faults, seconds=12.0, every=0.25):
    tape = Tape(scenery.camera(seconds), scenery.microphone(seconds))
    source = ReplaySource(tape, scenery.SOUND, faults=tuple(faults))
    source.start()
    states, snippets, time = [], [], 0.0
    while time <= seconds:
        source.clock.wait_until(time)
        time = max(time, source.clock.now())
        snippets.append(source.snapshot(time))
        states.append(source.status)
        time += every
    return source, states, snippets


WITHOUT, _, _ = play([])
# fault, its counter, and what that must come to (about)
SHOWN = [
    (Fault("late_frames", 4, 5, 0.3), "late_frames", 11, 2),
    (Fault("burst", 4, 5), "late_frames", 9, 2),
    (Fault("sound_burst", 4, 5), "gaps", 0, 0),
    (Fault("picture_gap", 4, 5), "gaps", 1, 0),
    (Fault("sound_gap", 4, 5), "gaps", 1, 0),
    (Fault("sound_gap", 4, 5), "dropped_sound_ms", 1000, 30),
    (Fault("xrun", 4, 4.5), "xruns", 1, 0),
    (Fault("xrun", 4, 4.5), "dropped_sound_ms", 500, 30),
    (Fault("unplug_camera", 4, 7), "reconnects", 1, 0),
    (Fault("unplug_microphone", 4, 7), "reconnects", 1, 0),
    (Fault("rate", 4, 7, 8000), "rate_changes", 2, 0),
    (Fault("black", 4, 7), "black_frames", 30, 3),
    (Fault("silence", 4, 7), "silent_ms", 3000, 50),
    (Fault(BLOCKED, 2, 11), "dropped_frames", 58, 5),
    (Fault(BLOCKED, 1, 11), "dropped_sound_ms", 2250, 50),
    (Fault("drift", 0, 99, 0.01), "sound_ms", 120, 25),
]


@pytest.mark.parametrize(("fault", "counter", "amount", "about"), SHOWN)
def test_a_fault_shows_itself_in_its_counter(fault, counter, amount, about):
    source, _, _ = play([fault])
    more = getattr(source.counters, counter) - getattr(WITHOUT.counters, counter)
    assert abs(more - amount) <= about


def test_every_fault_is_tried():
    assert {fault.name for fault, *_ in SHOWN} == {*FAULTS, BLOCKED}


def test_without_faults_nothing_is_counted():
    counters = WITHOUT.counters
    assert counters.frames == 120 and counters.sound_ms == pytest.approx(12_000, abs=200)
    wrong = [getattr(counters, name) for name in vars(counters) if name not in ("frames", "sound_ms")]
    assert not any(wrong)


@pytest.mark.parametrize(
    ("name", "lost", "state"),
    [
        ("unplug_camera", "picture", State.SOUND_ONLY),
        ("unplug_microphone", "sound", State.PICTURE_ONLY),
        ("picture_gap", "picture", State.SOUND_ONLY),
        ("sound_gap", "sound", State.PICTURE_ONLY),
    ],
)
def test_what_is_lost_is_named_and_back_within_two_seconds(name, lost, state):
    _, states, snippets = play([Fault(name, 4, 7)])
    at = {snippet.time: (status, snippet) for status, snippet in zip(states, snippets, strict=True)}
    assert at[3.5][0].state is State.RUNNING and at[6.5][0].state is state
    assert getattr(at[6.5][0], lost).state is State.LOST and getattr(at[6.5][0], lost).fault
    assert at[8.0][0].state is State.RUNNING
    for time in (3.5, 8.75):
        assert at[time][1].seen and at[time][1].heard
    assert at[6.5][1].seen == (lost == "sound")
    assert at[6.5][1].heard == (lost == "picture")


@pytest.mark.parametrize("fault", [fault for fault, *_ in SHOWN], ids=str)
def test_after_the_fault_the_sound_lies_where_it_belongs(fault):
    _, _, snippets = play([fault])
    last = snippets[-2]
    assert abs(scenery.misplaced(last.sound, last.start)) < 0.04 and abs(last.av_offset) < 0.04


def every_minute(minutes):
    """All faults but drift, one after the other, one each half minute."""
    names = [name for name in FAULTS if name not in ("drift",)] + [BLOCKED]
    amounts = {"late_frames": 0.3, "rate": 16000.0}
    faults = []
    for index in range(2 * minutes - 1):
        name = names[index % len(names)]
        begin = 30.0 * index + 10.0
        faults.append(Fault(name, begin, begin + 3.0, amounts.get(name, 0.0)))
    return faults


def resident():
    """Bytes of memory that this process holds; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


def test_half_an_hour_of_faults_on_a_drifting_microphone():
    minutes = 30
    tape = Tape(scenery.camera(60 * minutes, fps=5), scenery.microphone(60 * minutes, 8000, 0.01, block=0.25))
    faults = every_minute(minutes)
    source = ReplaySource(tape, scenery.SOUND, faults=tuple(faults))
    source.start()
    time, worst, memory = 0.0, 0.0, None
    while time < 60 * minutes - 1:
        time = max(time + 0.5, source.clock.now())
        source.clock.wait_until(time)
        snippet = source.snapshot(time)
        time = max(time, source.clock.now())
        status = source.status
        if time > 60 and memory is None:
            memory = resident()
        quiet = all(not fault.begin - 0.5 <= time <= fault.end + 2.0 for fault in faults)
        if quiet and time > 3:
            assert snippet.seen and snippet.heard and status.state is State.RUNNING
            if all(not fault.begin - 0.5 <= time <= fault.end + 4.0 for fault in faults):
                worst = max(worst, abs(scenery.misplaced(snippet.sound, snippet.start)))
    growth = resident() - memory
    counters = source.counters
    assert worst < 0.04 and growth < 5e6
    assert abs(source.drift_ppm - 10_000) < 500
    times = {name: sum(fault.name == name for fault in faults) for name in (*FAULTS, BLOCKED)}
    assert counters.reconnects == times["unplug_camera"] + times["unplug_microphone"]
    assert counters.xruns == times["xrun"] and counters.rate_changes == 2 * times["rate"]
    assert counters.gaps >= times["picture_gap"] + times["sound_gap"]
    assert counters.black_frames > 10 * times["black"] and counters.silent_ms > 2500 * times["silence"]
    assert counters.late_frames > 10 * (times["late_frames"] + times["burst"])
    assert np.isfinite(counters.dropped_sound_ms)
