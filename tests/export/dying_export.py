"""A process of its own: `dying_export.py OUT CLIP [WAY]` exports the tiny graphs to OpenVINO by the script's own main.

WAY: `converting` or `writing` is where it kills itself, as `kill -9` would. Without one it does the whole work.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "runtimes")]

import tiny_nets  # noqa: E402
from avgn import bundle  # noqa: E402
from export import to_openvino  # noqa: E402
from export.main import main  # noqa: E402


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_converting():
    target = to_openvino.TARGETS["fp32"]

    def convert(pieces):
        yield next(target.convert(pieces))
        die()

    to_openvino.TARGETS["fp32"] = replace(target, convert=convert)


def die_writing(out):
    write = bundle._write

    def half(place, data):
        mine = out.name in place.parents[1].name
        write(place, data[: len(data) // 2] if mine else data)
        if mine:
            die()

    bundle._write = half


if __name__ == "__main__":
    out, clip, *way = sys.argv[1:]
    tiny_nets.as_run(pytest.MonkeyPatch())
    if way == ["converting"]:
        die_converting()
    elif way == ["writing"]:
        die_writing(Path(out))
    sys.argv[1:] = ["--run", "tiny.run", "--out", out, "--clips", clip]
    main("openvino")
