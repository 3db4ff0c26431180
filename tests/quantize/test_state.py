"""A quantised run on disk: it comes back as it was, and what is wrong with it is said."""

import json
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from avgn.errors import InputError, ProofError, UsageError
from clips import write_clip
from export.common import export
from export.main import Request, check_request
from export.to_openvino import TARGETS
from quantize.state import QUANTISATION, TENSORS, load_quantised

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL, batch, network

from by_hand import quantised_by_hand


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """A run with quantisers put in by hand: NNCF on three encoders would take minutes."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, quantised_by_hand(folder, SMALL, tuple("abcde"))


def test_a_quantised_run_comes_back_bit_for_bit(quantised):
    folder, wanted = quantised
    model, run = load_quantised(folder / "int8")
    with torch.no_grad():
        assert torch.equal(model(batch(1)), wanted(batch(1)))
        assert not torch.equal(network()(batch(1)), wanted(batch(1)))
    assert run.labels == tuple("abcde")


def copied(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_float_run_is_told_what_it_lacks(quantised):
    with pytest.raises(UsageError, match="avgn quantize"):
        load_quantised(quantised[0] / "float")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("format", 9, "format 9"),
        ("labels", ["x"], "other labels"),
        ("run", "another", "belongs to the run"),
        ("nets", {}, "other encoders"),
        ("more", 1, "unknown key"),
    ],
)
def test_a_table_of_something_else_is_refused(quantised, tmp_path, key, value, says):
    folder = copied(quantised[0] / "int8", tmp_path / "run")
    table = json.loads((folder / QUANTISATION).read_text())
    (folder / QUANTISATION).write_text(json.dumps({**table, key: value}))
    with pytest.raises(InputError, match=says):
        load_quantised(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda value: value * float("nan"), "not finite"),
        (lambda value: -value.abs(), "not above 0"),
        (lambda value: value[:1], "does not fit"),
    ],
)
def test_broken_steps_are_refused(quantised, tmp_path, change, says):
    folder = copied(quantised[0] / "int8", tmp_path / "run")
    tensors = load_file(folder / TENSORS)
    key = next(key for key in tensors if key.endswith("steps"))
    save_file({**tensors, key: change(tensors[key]).contiguous()}, folder / TENSORS)
    with pytest.raises(InputError, match=says):
        load_quantised(folder)


def test_a_cut_file_is_refused(quantised, tmp_path):
    folder = copied(quantised[0] / "int8", tmp_path / "run")
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:50])
    with pytest.raises(InputError, match="not a readable safetensors"):
        load_quantised(folder)


def test_a_graph_that_runs_in_float_is_no_int8_export(quantised, tmp_path):
    clip = tmp_path / "clip.mp4"
    write_clip(clip, 2.0)
    with pytest.raises(ProofError, match="of the work of glance runs in int8") as caught:
        export(quantised[0] / "int8", TARGETS["int8"], tmp_path / "a.avgn", [clip], Console(quiet=True))
    assert caught.value.exit_code == 5 and not (tmp_path / "a.avgn").exists()


def test_int8_of_a_float_run_is_told_what_to_do_first(quantised, tmp_path):
    request = Request(quantised[0] / "float", ("int8",), tmp_path / "a.avgn", ())
    with pytest.raises(UsageError, match="avgn quantize"):
        check_request("openvino", request)
