"""Exports that are killed or run out of room: a named error, the old bundle whole, and the next export works."""

from __future__ import annotations

import errno
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

import tiny_nets
from avgn import bundle as bundles
from avgn.bundle import open_bundle
from avgn.errors import InputError
from clips import write_clip
from export import common
from export.common import exported as program_of
from export.main import Request, run_format

SCRIPT = Path(__file__).parent / "dying_export.py"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "both.mp4"
    write_clip(path, 2.0)
    return path


@pytest.fixture(scope="module")
def made(clip, tmp_path_factory):
    """A whole bundle of the tiny graphs."""
    out = tmp_path_factory.mktemp("made") / "tiny.avgn"
    with pytest.MonkeyPatch.context() as patch:
        export(tiny_nets.as_run(patch), out, clip)
    return out


PROGRAMS = {}


def kept_program(graph):
    """torch.export of a graph takes longest, and is the same each time."""
    return PROGRAMS.get(graph.name) or PROGRAMS.setdefault(graph.name, program_of(graph))


def export(run, out, clip, precision="fp32"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "exported", kept_program)
        run_format("openvino", Request(run, (precision,), out, (clip,)), QUIET)


def in_a_process(out, clip, *way, **options):
    command = [sys.executable, "-B", str(SCRIPT), str(out), str(clip), *way]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **options)


def digest(path):
    """Of a bundle of which every file was read."""
    bundle = open_bundle(path)
    bundle.verify()
    return bundle.digest()


def test_an_export_killed_while_it_converts_leaves_the_old_bundle(made, clip, tmp_path, monkeypatch):
    out = tmp_path / "tiny.avgn"
    shutil.copytree(made, out)
    assert in_a_process(out, clip, "converting").returncode == -signal.SIGKILL
    assert digest(out) == digest(made) and [path.name for path in tmp_path.iterdir()] == ["tiny.avgn"]
    export(tiny_nets.as_run(monkeypatch), out, clip, "fp16")
    assert open_bundle(out).variants() == [("openvino", "fp32"), ("openvino", "fp16")]
    digest(out)


def test_an_export_killed_while_it_writes_leaves_no_bundle_and_the_next_sweeps_up(clip, tmp_path, monkeypatch):
    out = tmp_path / "tiny.avgn"
    assert in_a_process(out, clip, "writing").returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".tiny.avgn.new-")
    with pytest.raises(InputError):
        open_bundle(out)
    export(tiny_nets.as_run(monkeypatch), out, clip)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.avgn"]
    digest(out)


def test_a_disk_that_fills_up_while_the_bundle_is_written(made, clip, tmp_path, monkeypatch):
    out, write, count = tmp_path / "tiny.avgn", bundles._write, 0
    shutil.copytree(made, out)

    def full(place, data):
        nonlocal count
        if place.is_relative_to(tmp_path):
            count += 1
            if count == 4:  # of 11 files: two of each graph, and the manifest
                write(place, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device", str(place))
        write(place, data)

    monkeypatch.setattr(bundles, "_write", full)
    with pytest.raises(InputError, match=r"tiny\.avgn: cannot be written .*; free some space") as caught:
        export(tiny_nets.as_run(monkeypatch), out, clip)
    assert caught.value.exit_code == 3 and count == 4
    assert digest(out) == digest(made) and [path.name for path in tmp_path.iterdir()] == ["tiny.avgn"]


@contextmanager
def small_disk(folder, size):
    """A file system of `size` bytes at `folder`; False where this process may not mount one."""
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    there = mount is not None and subprocess.run([mount, *options], capture_output=True).returncode == 0
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_exit_code_3(made, clip, tmp_path):
    """A real one where it can be mounted; else a limit on the size of files, which the same code meets."""
    folder = tmp_path / "disk"
    folder.mkdir()
    room = sum(path.stat().st_size + 4096 for path in made.rglob("*"))
    with small_disk(folder, room + 16384) as mounted:
        out = folder / "tiny.avgn"
        shutil.copytree(made, out)
        limit = None if mounted else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        done = in_a_process(out, clip, preexec_fn=limit)
        said = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 3 and "Traceback" not in done.stderr and done.stdout == ""
        assert "cannot be written" in said
        assert ("free some space" if mounted else "raise the limit") in said
        assert digest(out) == digest(made) and [path.name for path in folder.iterdir()] == ["tiny.avgn"]
