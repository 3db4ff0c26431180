"""The doctor on copied trees, made-up versions, broken installations: each finding, and the command that mends it."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from avgn.cli import run
from avgn.errors import MissingError
from runtimes.backends import Backend
from runtimes.doctor import examination
from runtimes.doctor.device_side import bundle_findings, engine_findings
from runtimes.doctor.devices import NVIDIA, accelerator_findings, camera_findings, microphone_findings
from runtimes.doctor.examination import works
from runtimes.doctor.finding import Finding, State
from runtimes.doctor.packages import PAIRS, base_findings, extra_findings, extras, pair_findings, plain_name, within
from runtimes.doctor.processor import cpu_limit, memory_bytes, processor_findings
from runtimes.doctor.storage import disk_findings
from runtimes.profile.sensors.tree import Tree

sys.path.insert(0, str(Path(__file__).parents[1] / "profile"))
from device_trees import devices, tree_of, write


def told(findings):
    return [(finding.name, finding.state.value) for finding in findings]


GOOD = {
    "torch": "2.13.0+cpu",
    "torchao": "0.18.0",
    "executorch": "1.4.1",
    "openvino": "2026.4.1",
    "nncf": "3.4.0",
    "numpy": "2.4.6",
    "coremltools": "9.0",
    "litert-torch": "0.10.0",
    "ai-edge-quantizer": "0.10.0",
    "ai-edge-litert": "2.3.0",
}


def test_the_versions_that_the_project_pins_fit_together():
    pins = (Path(__file__).parents[3] / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in pins if "==" in line and not line.startswith("#"))
    assert told(pair_findings({plain_name(name): version for name, version in pinned.items()})) == [("pairs", "ok")]
    assert told(pair_findings(GOOD)) == [("pairs", "ok")] and told(pair_findings({})) == [("pairs", "ok")]


@pytest.mark.parametrize(
    ("wrong", "name", "state", "mend"),
    [
        ({"torch": "2.12.1"}, "executorch 1.4.1", "problem", 'pip install "torch==2.13.0"'),
        ({"torchao": "0.17.0"}, "executorch 1.4.1", "problem", 'pip install "torchao==0.18.0"'),
        ({"openvino": "2025.4.1"}, "nncf 3.4.0", "doubt", 'pip install "openvino==2026.4.1"'),
        ({"numpy": "2.5.0"}, "nncf 3.4.0", "problem", 'pip install "numpy==2.4.6"'),
        ({"tflite-runtime": "2.14.0"}, "tflite-runtime 2.14.0", "problem", 'pip install "numpy==1.26.4"'),
        ({"ai-edge-litert": "2.4.0"}, "litert-torch 0.10.0", "problem", 'pip install "ai-edge-litert==2.3.0"'),
    ],
)
def test_versions_that_do_not_fit(wrong, name, state, mend):
    findings = list(pair_findings(GOOD | wrong))
    assert told(findings) == [(name, state)] and findings[0].mend == mend
    assert next(iter(wrong.values())) in findings[0].says or "numpy 2.4.6" in findings[0].says


def test_what_a_pair_advises_fits_the_pair():
    for pair in PAIRS:
        assert within(pair.good, pair.wants) and pair.package != pair.other


@settings(deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=4), st.sampled_from(["", "+cpu", "rc1", ".dev20", "a0"]))
def test_versions_in_order(numbers, tail):
    version = ".".join(map(str, numbers))
    following = ".".join(map(str, [*numbers[:-1], numbers[-1] + 1]))
    assert within(version + tail, (version, following)) or tail == ".dev20"
    assert not within(version + tail, (following, "")) or tail == ".dev20"
    assert within(version, ("", ""))


def test_extras_take_over_from_each_other():
    lines = [
        "numpy>=2.2",
        'torch==2.13.0; extra == "export"',
        'nncf>=3.4; extra == "quantize"',
        'avgn[export]; extra == "quantize"',
        'Kaldi_Native.Fbank>=1; extra == "dev"',
        'avgn[export,quantize]; extra == "dev"',
        'avgn[loop]; extra == "loop"',
        "no sense at all ;;; [",
    ]
    assert extras(lines) == {
        "export": {"torch"},
        "quantize": {"torch", "nncf"},
        "dev": {"torch", "nncf", "kaldi-native-fbank"},
        "loop": set(),
    }
    findings = {finding.name: finding for finding in extra_findings(lines, {"torch": "2"})}
    assert findings["export"].state == "ok" and findings["quantize"].says == "lacks nncf"
    assert findings["quantize"].mend == 'pip install "avgn[quantize]"'


def test_what_nothing_runs_without():
    assert [finding.state for finding in base_findings()] == ["ok", "ok"]

    def broken(name):
        raise ImportError("libavcodec.so: cannot open shared object file")

    findings = list(base_findings(broken))
    assert (
        not works(findings)
        and findings[1].mend == "pip install --force-reinstall av"
        and "libavcodec" in findings[1].says
    )


def test_engines(tmp_path):
    rows = {
        "here": Backend("here", "json", None, ("json",)),
        "gone": Backend("gone", "m", "onnx", ("no_such_engine",)),
        "odd": Backend("odd", "m.odd", "tflite", ("json",)),
    }

    def load(module):
        if module == "m.odd":
            raise OSError("libX.so: no such file")

    findings = list(engine_findings({"json": "1.0"}, rows, load))
    assert told(findings) == [("here", "ok"), ("gone", "absent"), ("odd", "problem")]
    assert findings[0].says == "json 1.0" and findings[1].mend == 'pip install "avgn[onnx]"'
    assert "libX.so" in findings[2].says and findings[2].mend == 'pip install "avgn[tflite]" --force-reinstall'


def test_an_engine_of_another_system_is_not_offered():
    row = Backend("far", "far", "far", ("json",), system="another system")
    (finding,) = engine_findings({}, {"far": row})
    assert (finding.state, finding.says, finding.mend) == (State.ABSENT, "runs on another system only", "")


def test_a_bundle_that_is_whole_and_one_that_is_not(tmp_path):
    path = tiny.tiny_bundle(tmp_path)
    assert told(bundle_findings(path)) == [("bundle", "ok"), ("decision", "ok")]

    def lacking(bundle):
        raise MissingError("backend openvino is not installed.")

    findings = list(bundle_findings(path, lacking))
    assert not works(findings) and findings[-1].mend == "pip install avgn"
    (path / "openvino-fp32" / "focus.bin").write_bytes(b"?")
    findings = list(bundle_findings(path))
    assert not works(findings) and "focus.bin" in findings[0].says and "--force-reinstall" in findings[0].mend


def test_cameras(tmp_path):
    files = {
        "dev/video0": "",
        "dev/video1": "",
        "dev/video2": "",
        "sys/class/video4linux/video0/name": "HD Webcam\n",
        "sys/class/video4linux/video0/index": "0",
        "sys/class/video4linux/video1/index": "1",
    }
    findings = list(camera_findings(write(tmp_path / "a", files)))
    assert told(findings) == [("/dev/video0", "ok"), ("/dev/video2", "ok")] and findings[0].says == "HD Webcam"
    assert told(camera_findings(write(tmp_path / "b", {"dev/null": ""}))) == [("cameras", "absent")]


def test_a_camera_that_may_not_be_opened(tmp_path, monkeypatch):
    tree = write(tmp_path, {"dev/video0": ""})
    monkeypatch.setattr("os.access", lambda *_: False)
    finding = next(iter(camera_findings(tree)))
    assert finding.state == "problem" and finding.mend == "sudo usermod -aG video $USER"


def test_microphones(tmp_path):
    def lacks(fault):
        def listing():
            raise fault

        return listing

    quiet, card = write(tmp_path / "a", {}), write(tmp_path / "b", {"proc/asound/pcm": "00-00: USB : : capture 1\n"})
    assert told(microphone_findings(quiet, lambda: ["USB Mic"])) == [("USB Mic", "ok")]
    assert told(microphone_findings(quiet, list)) == [("microphones", "absent")]
    assert told(microphone_findings(card, list)) == [("microphones", "problem")]
    absent = next(iter(microphone_findings(quiet, lacks(ImportError()))))
    assert (absent.state, absent.mend) == (State.ABSENT, 'pip install "avgn[live]"')
    library = next(iter(microphone_findings(quiet, lacks(OSError("PortAudio library not found")))))
    assert (library.state, library.mend) == (State.PROBLEM, "sudo apt-get install libportaudio2")


X86 = (
    "model name\t: Some CPU\nflags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16\n\nmodel name\t: Other\nflags\t: fpu\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU part\t: 0xd42\n"


def test_processors(tmp_path):
    one = list(processor_findings(write(tmp_path / "a", {"proc/cpuinfo": X86}), 4))
    assert (
        told(one)[:2] == [("Some CPU", "ok"), ("threads", "ok")] and one[0].says == "AVX2, AVX-512, VNNI (int8), bf16"
    )
    two = list(processor_findings(write(tmp_path / "b", {"proc/cpuinfo": ARM}), 4))
    assert two[0].state == "ok" and two[0].says == "NEON, dot product (int8), fp16"
    old = list(processor_findings(write(tmp_path / "c", {"proc/cpuinfo": "flags : fpu avx2\n"}), 4))
    assert old[0].state == "doubt" and "int8" in old[0].says
    assert next(iter(processor_findings(Tree(tmp_path / "none"), 1))).state == "absent"


def test_limits_of_control_groups(tmp_path):
    two = {
        "proc/self/cgroup": "0::/box/inner\n",
        "sys/fs/cgroup/box/cpu.max": "150000 100000",
        "sys/fs/cgroup/box/inner/cpu.max": "max 100000",
        "sys/fs/cgroup/box/memory.max": "536870912",
        "proc/meminfo": "MemTotal:       16000000 kB\n",
    }
    tree = write(tmp_path / "v2", two)
    assert cpu_limit(tree) == 1.5 and memory_bytes(tree) == 536870912
    findings = {finding.name: finding for finding in processor_findings(tree, 8)}
    assert findings["threads"].state == "doubt" and findings["threads"].mend == "avgn classify --threads 1 FILE"
    assert findings["memory"].state == "doubt"
    one = {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}
    assert cpu_limit(write(tmp_path / "v1", one)) == 0.5
    free = {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}
    assert cpu_limit(write(tmp_path / "free", free)) is None
    assert memory_bytes(Tree(tmp_path / "none")) is None


@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_in_the_systems_files(text, tmp_path_factory):
    places = ("proc/cpuinfo", "proc/self/cgroup", "sys/fs/cgroup/cpu.max", "proc/meminfo")
    tree = write(
        tmp_path_factory.getbasetemp() / "any", {place: text.encode("utf-8", "ignore").decode() for place in places}
    )
    assert all(isinstance(finding, Finding) for finding in processor_findings(tree, 2))


def test_accelerators(tmp_path):
    assert told(accelerator_findings(write(tmp_path / "a", {}))) == [("accelerators", "absent")]
    command = "cmd/" + "_".join(word.strip("-") for word in NVIDIA) + ".txt"
    files = {command: "NVIDIA H100, 570.1, 81559 MiB\n", "dev/dri/renderD128": "", "dev/accel/accel0": ""}
    findings = list(accelerator_findings(write(tmp_path / "b", files)))
    assert told(findings) == [("NVIDIA H100", "ok"), ("/dev/dri/renderD128", "ok"), ("/dev/accel/accel0", "ok")]
    assert findings[0].says == "driver 570.1, 81559 MiB" and findings[2].says == "neural processor"
    failed = {command: "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\nMore words.\n"}
    assert told(accelerator_findings(write(tmp_path / "c", failed))) == [("NVIDIA", "problem")]


@pytest.mark.parametrize("device", sorted(devices()))
def test_boards(tmp_path, device):
    findings = list(accelerator_findings(tree_of(tmp_path, device)))
    assert findings and all(finding.state != "problem" for finding in findings)
    if "orin" in device.lower():
        assert "tegra234" in findings[0].says


def test_disks(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage(10, 10, 1 << 20))
    finding = next(iter(disk_findings({"here": tmp_path})))
    assert finding.state == "doubt" and finding.mend.startswith("du ")
    monkeypatch.undo()
    assert next(iter(disk_findings({"here": tmp_path / "gone"}))).state == "problem"


FINDINGS = (
    Finding("engine", "openvino", State.OK, "2026.4.1"),
    Finding("microphone", "PortAudio\x1b[2J", State.PROBLEM, "[not] found", "sudo apt-get install libportaudio2"),
)


def test_the_command(monkeypatch, capsys):
    monkeypatch.setattr(examination, "examine", lambda: FINDINGS)
    assert run(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "problem  microphone: PortAudio?[2J: [not] found" in shown and "-> sudo apt-get" in shown
    assert run(["doctor", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["works"] is True and data["findings"][0] == {
        "area": "engine",
        "name": "openvino",
        "state": "ok",
        "says": "2026.4.1",
        "mend": "",
        "stops": False,
    }
    monkeypatch.setattr(examination, "examine", lambda: (Finding("device side", "av", State.PROBLEM, "?", "x", True),))
    assert run(["doctor"]) == 4 and "no decision" in capsys.readouterr().out


def test_this_machine():
    findings = examination.examine()
    assert works(findings)
    assert {"device side", "engine", "versions", "processor", "disk"} <= {finding.area for finding in findings}
    assert all(finding.mend for finding in findings if finding.state is State.PROBLEM)
    assert len({(finding.area, finding.name) for finding in findings}) == len(findings)
