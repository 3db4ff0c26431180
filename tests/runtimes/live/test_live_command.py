"""`avgn live` on replays: what it prints, writes and runs, how it ends, and what it refuses."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console

import clips
import scripted
import tiny
from avgn.bundle import open_bundle
from avgn.cli import run
from runtimes.capture.source import DeviceStatus, State, Status
from runtimes.classifier import Classifier
from runtimes.live.rate import Rate
from runtimes.live.temperature import Thermometer
from runtimes.live.terminal import TerminalView
from runtimes.profile.sensors.tree import Tree
from runtimes.stream import Stream

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return str(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a [b].mp4"
    clips.write_clip(path, 4.0)
    return str(path)


def replay(bundle, clip, *more):
    return run(["live", "--replay", clip, "--fast", "--bundle", bundle, "--threads", "1", *more])


def untimed(line):
    return {key: value for key, value in json.loads(line).items() if key != "timings_ms"}


def test_lines_of_json_are_the_same_every_time(bundle, clip, capsys, tmp_path):
    out = tmp_path / "out.jsonl"
    assert replay(bundle, clip, "--json", "--jsonl", str(out)) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert not told.err and len(lines) == 8
    assert [json.loads(line)["time"] for line in lines] == [0.5 * number for number in range(1, 9)]
    assert out.read_text() == told.out
    assert replay(bundle, clip, "--json") == 0
    again = capsys.readouterr().out.splitlines()
    assert [untimed(line) for line in again] == [untimed(line) for line in lines]


def test_plain_lines_where_there_is_no_terminal(bundle, clip, capsys):
    assert replay(bundle, clip, "--duration", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and "ms old" in lines[-1] and any(label in lines[-1] for label in tiny.LABELS)


def test_rates_budgets_and_rest(bundle, clip, capsys):
    options = ["--snippets", "2", "--decisions", "1", "--focus-rate", "1", "--mac-rate", "1", "--k", "1", "--no-rest"]
    assert replay(bundle, clip, "--json", "--exit", "2", *options) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["time"] for line in lines] == [1.0, 2.0, 3.0, 4.0]
    assert all(line["k"] <= 1 for line in lines) and not any(line["idle"] for line in lines)


def test_a_rule_runs_its_command(bundle, clip, capsys, tmp_path):
    made = tmp_path / "made"
    rules = [option for label in tiny.LABELS for option in ("--on", f"{label}:0.4:touch {made}")]
    assert replay(bundle, clip, "--json", *rules) == 0
    deadline = time.monotonic() + 20
    while not made.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert made.exists()


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (["--fast"], 2, "--replay"),
        (["--replay", "CLIP", "--camera", "0"], 2, "leave out --camera"),
        (["--replay", "CLIP", "--record", "out"], 2, "--record"),
        (["--replay", "no-such-file.mp4"], 3, "no-such-file.mp4"),
        (["--replay", "CLIP", "--on", "cat:0.5:true"], 2, "cat"),
        (["--camera", "no-such-file.mp4"], 2, "no-such-file.mp4"),
        (["--replay", "CLIP", "--snippets", "3"], 2, "multiple"),
        (["--replay", "CLIP", "--duration", "0"], 2, "duration"),
        (["--replay", "CLIP", "--focus-rate", "0"], 2, "budget"),
        (["--replay", "CLIP", "--k", "9"], 2, "1 to 2"),
        (["--replay", "CLIP", "--serve", "--port", "99999"], 2, "port"),
        (["--replay", "CLIP", "--serve", "--token", "guess"], 2, "token"),
        (["--replay", "CLIP", "--jsonl", "/no/such/folder/x.jsonl"], 3, "/no/such/folder"),
    ],
)
def test_what_makes_no_sense(bundle, clip, capsys, line, code, says):
    arguments = [clip if word == "CLIP" else word for word in line]
    assert run(["live", "--bundle", bundle, *arguments]) == code
    told = capsys.readouterr().err
    assert told.startswith("avgn: ") and told.count("\n") == 1 and says in told


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is not Windows's way")
def test_a_service_manager_can_end_it(bundle, clip, tmp_path):
    out = tmp_path / "out.jsonl"
    words = ["live", "--replay", clip, "--bundle", bundle, "--threads", "1", "--jsonl", str(out)]
    code = f"from avgn.cli import main; import sys; sys.argv = {['avgn', *words, '--serve', '--port', '0']!r}; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stderr.readline()
    assert line.startswith("avgn: dashboard at http://127.0.0.1:")
    with urllib.request.urlopen(line.split()[-1], timeout=20) as page:
        assert "avgn" in page.read().decode()
    deadline = time.monotonic() + 60
    while not (out.exists() and out.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0 and not told
    assert all(json.loads(line) for line in out.read_text().splitlines())


def test_the_terminal_shows_it_all(bundle):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=110, height=40, color_system=None)
    opened = open_bundle(bundle)
    view = TerminalView(console, "avgn live, camera", None, "http://127.0.0.1:1/")

    class Unplugged(scripted.ScriptedSource):
        @property
        def status(self):
            if self.clock.now() > self.seconds:
                return super().status
            return Status(DeviceStatus(State.RUNNING), DeviceStatus(State.LOST, 1.0, "the microphone is gone"))

    with view:
        for decision in Stream(Classifier(opened, tiny.NumpyEngine()), Unplugged(seconds=3.0), None, [view.moment]):
            view.decision(decision)
    told = file.getvalue()
    for part in ("avgn live", *tiny.LABELS, "saliency", "▲", "age of the answer", "dropped", "a second", "GMACs",
                 "microphone lost", "the microphone is gone", "dBFS", "http://127.0.0.1:1/"):  # fmt: skip
        assert part in told, part


def test_a_rate_is_that_of_the_last_seconds():
    rate = Rate(over=10.0)
    assert rate.add(0.0, 2) == 2
    for second in range(1, 30):
        found = rate.add(float(second), 3)
    assert found == pytest.approx(3.0)
    assert rate.add(60.0, 0) == 0


def test_the_temperature_is_read_now_and_then(tmp_path):
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    assert Thermometer(Tree(tmp_path))(0.0) is None
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal\n")
    (zone / "temp").write_text("63000\n")
    thermometer = Thermometer(Tree(tmp_path))
    assert thermometer(0.0) == 63.0
    (zone / "temp").write_text("64000\n")
    assert [thermometer(time) for time in (1.0, 4.9, 5.0)] == [63.0, 63.0, 64.0]


def test_real_time_gives_the_very_same(bundle, tmp_path, capsys):
    clip = tmp_path / "short.mp4"
    clips.write_clip(clip, 1.6)
    words = ["live", "--replay", str(clip), "--bundle", bundle, "--threads", "1", "--json"]
    assert run(words) == 0
    real = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert run([*words, "--fast"]) == 0
    fast = {line["time"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert len(fast) == 4 and real
    for line in real:
        if line["skipped"]["snippets"]:  # a busy machine was late: from here on the windows differ
            break
        for key in ("score", "saliency", "selected", "new_focus", "heard", "seen"):
            assert line[key] == fast[line["time"]][key]


def test_the_service_runs_a_command_line_that_exists():
    unit = (ROOT / "runtimes" / "live" / "avgn-live.service").read_text()
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    words = line.removeprefix("ExecStart=/opt/avgn/bin/avgn ").replace("$AVGN_LIVE", "--help").split()
    assert words[0] == "live" and run(words) == 0


def test_a_recording_replays_the_same_every_time(bundle, clip, tmp_path, capsys):
    session = tmp_path / "session"
    engine = ["--bundle", bundle, "--threads", "1", "--json"]
    line = ["live", "--camera", clip, "--mic", "camera", "--record", str(session), "--duration", "2.6"]
    assert run([*line, *engine]) == 0
    lived = capsys.readouterr().out.splitlines()
    told = []
    for _ in range(2):
        assert run(["live", "--replay", str(session), "--fast", *engine]) == 0
        told.append([untimed(line) for line in capsys.readouterr().out.splitlines()])
    assert told[0] == told[1] and lived and len(told[0]) >= 1
