from __future__ import annotations

import re
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import device_trees
from runtimes.profile.sensors.tegrastats import Clocked, Memory, RailLine, parse_line, parse_log

LINES = [row["line"] for row in device_trees.lines()]


@pytest.mark.parametrize("line", LINES)
def test_every_line_is_read_whole(line):
    found = parse_line(line)
    assert found.whole and found.ram and found.cores
    # counted apart from the parser, on the words of the line
    assert len(found.temperatures) == len(re.findall(r"@-?[\d.]+C(?=[ /]|$)", line))
    assert len(found.rails) == len(re.findall(r" \d+(?:mW)?/\d+(?:mW)?(?:/\d+mW)?(?= |$)", line))
    listed = re.search(r"(?:CPU|cpu) \[([^]]*)\]", line)[1].split(",")
    assert [core.on for core in found.cores] == [word != "off" for word in listed]
    assert (found.swap is None) == ("SWAP" not in line) and (found.mts is None) == ("MTS" not in line)
    for rail in found.rails:
        assert re.search(rf"\b{rail.name} {rail.now}(?:mW)?/{rail.average}(?!\d)", line)


def line_of(model, word):
    return parse_line(
        next(row["line"] for row in device_trees.lines() if row["model"] == model and word in row["line"])
    )


def test_the_oldest_grammar():
    found = line_of("TX1", "cpu [")
    assert found.ram == Memory(3468, 3983, blocks=48, block=4) and found.swap == Memory(873, 8192, cached=295)
    assert found.cores[2] == Clocked(29, (408,)) and found.emc == Clocked(1, (408,)) and found.gpu == Clocked(3, (76,))
    assert found.rails == () and found.temperatures == () and found.engines["APE"] == Clocked(None, (25,))


def test_release_4():
    found = line_of("TX2", "MTS")
    assert found.mts == (1, 1) and found.milliwatts("VDD_IN") == 5297 and found.celsius("thermal") is None
    pmic = next(one for one in found.temperatures if one.name == "PMIC")
    assert pmic.celsius is None and pmic.raw == 50
    xavier = line_of("AGX Xavier", "off")
    assert xavier.milliwatts("CPU") == 311 and xavier.celsius("CPU") == 37.5 and xavier.cores[-1] == Clocked(on=False)
    assert line_of("Nano", "POM_5V_IN 1750").iram == Memory(0, 252 / 1024, block=252 / 1024)


def test_release_6_and_7():
    orin = line_of("AGX Orin 64GB", "NVENC 79%")
    assert orin.time == datetime(2026, 5, 9, 18, 42, 6) and orin.gpu == Clocked(0, (0, 0))
    assert orin.engines["NVENC"] == Clocked(79, (166,)) and orin.engines["NVDLA0"] == Clocked(on=False)
    thor = line_of("AGX Thor", "NVENC0_FREQ")
    assert thor.gpu == Clocked(None, (314, 314, 314)) and thor.milliwatts("VIN") == 19780
    last = line_of("AGX Thor", "87426mW")
    assert last.rails[-1] == RailLine("VIN", 87426, 43713, 87426) and last.celsius("tj") == 63.281


def test_a_second_temperature_and_gated_parts():
    found = parse_line("cpu@50.5C/60C GPU@-256C tj@51C")
    assert found.celsius("cpu") == 50.5 and found.celsius("GPU") is None and found.whole
    twice = parse_line("NC 0mW/0mW NC 5mW/5mW VDD_IN 1mW/1mW")
    assert len(twice.rails) == 3 and twice.milliwatts("NC") is None and twice.milliwatts("VDD_IN") == 1


@pytest.mark.parametrize(
    "line",
    [
        "RAM 1179/3983",  # cut off
        "RAM 9000/3983MB (lfb 120x4MB)",
        "CPU [250%@102]",
        "CPU [1%@102,2%@",
        "VDD_IN 5299mW/52",
        "VDD_IN 5299",
        "GR3D_FREQ 99",
        "EMC_FREQ 120%@408",
        "tj@50.",
        "13-45-2024 10:00:00",
        "FLUX 12/13",
        "MTS fg 120% bg 1%",
        "VDD_IN 12345678901/1",
        "RAM ١٢/٣٤MB (lfb 1x4MB)",
    ],
)
def test_half_a_field_gives_no_number(line):
    found = parse_line(line)
    assert not found.whole
    assert found.ram is None and found.cores == () and found.rails == () and found.time is None and found.mts is None
    assert all(one.celsius is None for one in found.temperatures) and not found.engines


def test_a_field_that_comes_twice_is_not_believed_twice():
    found = parse_line("VDD_IN 1mW/1mW tj@50C VDD_IN 2mW/2mW tj@90C")
    assert found.milliwatts("VDD_IN") == 1 and found.celsius("tj") == 50 and not found.whole


def test_what_is_new_is_kept_as_it_stands():
    found = parse_line("RAM 1/2MB (lfb 1x4MB) QUANTUM 12 flux=3 tj@50C")
    assert found.ram and found.celsius("tj") == 50 and found.unknown == ("QUANTUM", "12", "flux=3")
    # but a load with a clock says what it is
    named = parse_line("QUANTUM0_FREQ 3%@4 QUANTUM1 off GR3D2_FREQ 0%@[5]")
    assert named.whole and named.engines["QUANTUM0_FREQ"] == Clocked(3, (4,)) and not named.engines["QUANTUM1"].on
    assert not parse_line("CPU off").whole and not parse_line("RAM @5").whole


def test_a_log_drops_what_a_kill_cut_off():
    whole = "VDD_IN 5mW/5mW\n"
    assert len(parse_log(whole * 2 + "VDD_IN 5mW/5")) == 2
    assert len(parse_log(whole + "VDD_IN 5mW/50mW")) == 1  # it may have gone on
    assert len(parse_log(whole + "nonsense\n" + whole)) == 2


def check(found):
    """Whatever the text: numbers in range, words kept."""
    assert all(0 <= core.load <= 100 for core in found.cores if core.load is not None)
    assert all(one.celsius is None or -60 <= one.celsius <= 200 for one in found.temperatures)
    assert all(rail.now >= 0 for rail in found.rails)
    assert found.ram is None or 0 <= found.ram.used <= found.ram.total


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_survived(text):
    check(parse_line(text))
    parse_log(text)


FIELDS = sorted({field for line in LINES for field in line.split(" ")})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(FIELDS), max_size=30))
def test_shuffled_words_are_survived(words):
    line = " ".join(words)
    found = parse_line(line)
    check(found)
    assert all(word in line for word in found.unknown)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_line_cut_anywhere_gives_the_numbers_of_the_whole(data):
    line = data.draw(st.sampled_from(LINES))
    cut = data.draw(st.integers(0, len(line)))
    whole, part = parse_line(line), parse_line(line[:cut])
    check(part)
    # the last field may be shortened inside a number, which nothing can tell: it ends the text
    for rail in part.rails[:-1]:
        assert rail in whole.rails
    if part.rails:
        assert part.rails[-1].now == whole.rails[len(part.rails) - 1].now
    assert all(one in whole.temperatures for one in part.temperatures)
    assert part.ram in (None, whole.ram) and part.swap in (None, whole.swap) and part.time in (None, whole.time)
    assert part.cores == () or len(part.cores) == len(whole.cores)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_line_with_a_damaged_character_is_survived(data):
    line = data.draw(st.sampled_from(LINES))
    place = data.draw(st.integers(0, len(line) - 1))
    letter = data.draw(st.characters())
    check(parse_line(line[:place] + letter + line[place + 1 :]))
