from __future__ import annotations

import json
import os
import stat
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import device_trees
from runtimes.profile.sensors import raspberry
from runtimes.profile.sensors.device import jetpack_of, parse_release
from runtimes.profile.sensors.feed import Feed
from runtimes.profile.sensors.modes import parse_jetson_clocks, parse_mode
from runtimes.profile.sensors.snapshot import read_sensors
from runtimes.profile.sensors.thermal import short_name, temperature
from runtimes.profile.sensors.tree import Tree, natural, whole


@pytest.mark.parametrize(
    ("text", "release", "jetpack"),
    [
        ("# R32 (release), REVISION: 7.1, GCID: 30718123, BOARD: t210ref, EABI: aarch64, DATE: Sat", "32.7.1", "4.6.1"),
        ("# R36 (release), REVISION: 4.7, GCID: 1\n# KERNEL_VARIANT: oot", "36.4.7", "6.2.1"),
        ("# R38 (release), REVISION: 2.0, GCID: 41844464", "38.2.0", "7.0"),
        ("# R39 (release), REVISION: 2.0, GCID: 45755727, DATE: Mon Jun  1 09:28:48 PM", "39.2.0", "7.2"),
        ("# R35 (release), REVISION: 9.9, GCID: 1", "35.9.9", None),
        ("R36 REVISION 4.3", None, None),
        ("", None, None),
        (None, None, None),
    ],
)  # fmt: skip
def test_releases(text, release, jetpack):
    assert parse_release(text) == release and jetpack_of(release) == jetpack


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n", ("MAXN", 0)),
        (
            "NVPM VERB: Current mode: NV Power Mode: 25W\n1\nNVPM VERB: PARAM CPU_ONLINE: ARG CORE_0: PATH /x",
            ("25W", 1),
        ),
        ("NV Power Mode: MAXP_CORE_ARM\n3", ("MAXP_CORE_ARM", 3)),
        ("NV Power Mode: 15W", ("15W", None)),
        ("NV Power Mode: 15W\nfifteen", ("15W", None)),
    ],
)
def test_power_modes(text, wanted):
    found = parse_mode(text)
    assert (found.name, found.number) == wanted


@pytest.mark.parametrize("text", ["", "command not found", "0\n", "NV Power Mode:\n0"])
def test_no_power_mode(text):
    assert parse_mode(text) is None


def test_pinned_clocks():
    core = "cpu0: Online=1 Governor=schedutil MinFreq=1344000 MaxFreq=1344000 CurrentFreq=1344000 IdleStates: WFI=0"
    gpu = "GPU MinFreq=918000000 MaxFreq=918000000 CurrentFreq=918000000"
    off = "cpu1:  Online=0 Governor=schedutil MinFreq=0 MaxFreq=5 CurrentFreq=0"
    found = parse_jetson_clocks(f"{core}\n{off}\n{gpu}\nFan: speed=0")
    assert found.pinned is True and [block.now for block in found.blocks if block.on] == [1344, 918]
    assert found.blocks[0].governor == "schedutil" and found.fields == {"Fan": "speed=0"}
    assert parse_jetson_clocks(f"{core}\n{gpu.replace('MinFreq=918', 'MinFreq=306')}").pinned is False
    assert parse_jetson_clocks(f"{core}\nGPU MinFreq=1 MaxFreq=x CurrentFreq=1").pinned is None
    assert parse_jetson_clocks("cpu0: Gonvernor=interactive MaxFreq=5").blocks[0].governor == "interactive"
    assert parse_jetson_clocks("Error: Run this script(/usr/bin/jetson_clocks) as a root user").why


def test_raspberry_output():
    assert raspberry.parse_throttled("throttled=0x50005").now == ("under-voltage", "throttled")
    assert raspberry.parse_throttled("throttled=0x50005").since_boot == ("under-voltage", "throttled")
    assert raspberry.parse_throttled("50005") == raspberry.parse_throttled("0x50005\n")
    assert raspberry.parse_throttled("throttled=0x0").now == ()
    assert raspberry.parse_temperature("temp=39.5'C\n") == 39.5
    assert raspberry.parse_clock("frequency(48)=1500345728") == raspberry.parse_clock("frequency(0)=1500345728")
    assert raspberry.parse_volts("volt=0.7200V") == 0.72
    for parse in (raspberry.parse_throttled, raspberry.parse_temperature, raspberry.parse_clock, raspberry.parse_volts):
        for text in ("", "nan", "temp=nan'C", "volt=V", "frequency()=1", "throttled=0x", "VCHI initialization failed"):
            assert parse(text) is None


def test_the_power_chip_of_a_pi_pairs_by_name():
    rails = {rail.name: rail for rail in raspberry.parse_pmic(
        "  A_A current(3)=2.0A\n  A_V volt(9)=3.0V\nB_V volt(4)=5.0V\nBATT_V volt(25)=nanV\nC_A current(1)=1.0V\n"
        "D_A current(1)=1.0A\nD_A current(2)=2.0A\nD_V volt(2)=2.0V\n"
    )}  # fmt: skip
    assert rails["A"].watts == 6.0 and rails["B"].watts is None and rails["D"].watts is None
    assert set(rails) == {"A", "B", "D"}


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_parsers_survive_any_text(text):
    for parse in (
        parse_release, parse_mode, parse_jetson_clocks, raspberry.parse_throttled, raspberry.parse_temperature,
        raspberry.parse_clock, raspberry.parse_volts, raspberry.parse_pmic, whole, natural, short_name,
    ):  # fmt: skip
        parse(text)


TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "\n", "-1\n", "9" * 30, "1e9", "nan", "0x10", "12 ma", "١٢", "ina3221\n", "ina238", "NC", "\0"]
    ),
    st.integers(-(10**12), 10**12).map(str),
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_trees_of_garbage_are_survived(tmp_path_factory, data):
    device = data.draw(st.sampled_from(sorted(device_trees.devices())))
    files = dict(device_trees.devices()[device])
    kept = data.draw(st.lists(st.sampled_from(sorted(files)), min_size=5, max_size=60, unique=True))
    few = {path: files[path] for path in kept}
    for path in data.draw(st.lists(st.sampled_from(kept), max_size=20, unique=True)):
        few[path] = data.draw(TEXTS)
    folder = tmp_path_factory.mktemp("tree")
    for path in kept:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(few[path].encode("utf-8", "surrogatepass"))
    found = read_sensors(Tree(folder))
    json.dumps(found.as_json())
    assert found.power.total_w is None or found.power.total_rail
    assert all(one.celsius is None or -60 <= one.celsius <= 200 for one in found.temperatures)
    assert all(rail.watts is None or abs(rail.watts) < 10_000 for rail in found.power.rails)


def test_numbers_are_whole_and_nothing_else():
    assert [whole(text) for text in ("12", "-3", "+4", "0")] == [12, -3, 4, 0]
    assert [whole(text) for text in ("", "1.5", "12a", "1e3", "0x1", "١٢", "9" * 19, None)] == [None] * 8


def test_files_that_cannot_be_read(tmp_path):
    tree = Tree(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # must not wait for a writer
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert tree.read("folder") is None and tree.read("missing") is None and tree.read("bad\0name") is None
    assert tree.read("pipe") in (None, "") and tree.number("binary") is None
    assert not tree.denied("folder/missing") and tree.find("[") == []


def test_a_read_that_fails_on_the_device(tmp_path, monkeypatch):
    (tmp_path / "temp").write_text("50000")

    def again(handle, size):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "read", again)
    assert Tree(tmp_path).read("temp") is None


def test_temperatures_of_parts_that_are_off():
    assert temperature("cv0-thermal", None).celsius is None
    assert temperature("GPU-therm", -256000).celsius is None and temperature("GPU-therm", -256000).raw == -256
    assert temperature("PMIC-Die", 100000).celsius is None and temperature("thermal-fan-est", 40000).celsius is None
    assert temperature("tj-thermal", 99500).celsius == 99.5
    assert short_name("CPU-therm") == short_name("cpu-thermal") == short_name("CPU") == "cpu"


def test_numbers_in_names_sort_by_value():
    assert sorted(["a10/b", "a9/b", "a9/c1"], key=natural) == ["a9/b", "a9/c1", "a10/b"]


@pytest.fixture
def fake_program(tmp_path, monkeypatch):
    def make(name, text):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


def test_commands_of_the_machine_itself(fake_program, monkeypatch):
    fake_program("nvpmodel", 'echo "NV Power Mode: $1"; echo 5')
    fake_program("silent", "exit 3")
    tree = Tree()
    assert parse_mode(tree.command("nvpmodel", "-q")).number == 5
    assert tree.command("silent") is None and tree.command("no-such-program") is None

    def hang(*args, **more):
        raise subprocess.TimeoutExpired("x", 5)

    monkeypatch.setattr(subprocess, "run", hang)
    assert tree.command("nvpmodel", "-q") is None


def test_tegrastats_is_followed_and_ended(fake_program):
    fake_program("tegrastats", 'printf "VDD_IN 5mW/5mW\\ngarb"; exec sleep 30')
    feed = Feed(Tree())
    feed._begun.wait(30)
    feed.stop()
    assert feed.newest and feed.newest.milliwatts("VDD_IN") == 5
    assert feed._process.poll() is not None
