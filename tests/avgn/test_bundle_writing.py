"""Writing bundles: graphs of the same run join, others are refused, and a write happens whole or not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_samples import LOCAL, TINY, graph_files, head, listing, record, tree, write_sample

from avgn.bundle import BundleWriter, open_bundle
from avgn.config import Config
from avgn.errors import InputError, ProofError
from avgn.manifest import GRAPHS, Accuracy

posix = pytest.mark.skipif(os.name == "nt", reason="links, pipes, signals and limits of POSIX")


def row(backend: str, precision: str, top1: float = 0.5) -> Accuracy:
    return Accuracy(backend, precision, "scenes", "test", 96, top1, 0.1, 0.9)


def test_more_graphs_of_the_same_run_join(sample: Path) -> None:
    with BundleWriter(sample, head(tools={"other": "2"})) as writer:
        writer.add(record("focus"), graph_files("focus", "again"))
        writer.add(record("focus", "coreml", "fp16"), {"focus.mlpackage/Data/weights": b"w"})
    bundle = open_bundle(sample)
    order = [(item.graph, item.backend) for item in bundle.manifest.graphs]
    assert order == [(graph, "openvino") for graph in GRAPHS] + [("focus", "coreml")]
    assert bundle.read(bundle.record("focus", "openvino", "fp32")) == graph_files("focus", "again")
    assert bundle.read(bundle.record("focus", "coreml", "fp16")) == {"focus.mlpackage/Data/weights": b"w"}
    assert bundle.read(bundle.record("glance", "openvino", "fp32")) == graph_files("glance")
    assert bundle.manifest.tools == {"maker": "1.0", "other": "2"}


def test_files_of_a_replaced_graph_go(sample: Path) -> None:
    with BundleWriter(sample, head()) as writer:
        writer.add(record("focus"), {"focus.onnx": b"one file"})
    assert {name for name in tree(sample) if "focus" in name} == {"openvino-fp32/focus.onnx"}


def test_accuracy_stays_with_the_graphs_it_was_measured_on(sample: Path) -> None:
    write_sample(sample, "tflite", "int8")
    with BundleWriter(sample, head(accuracy=(row("openvino", "fp32"), row("tflite", "int8")))):
        pass
    with BundleWriter(sample, head()) as writer:
        writer.add(record("focus", "tflite", "int8"), graph_files("focus", "again"))
    assert open_bundle(sample).manifest.accuracy == (row("openvino", "fp32"),)
    with BundleWriter(sample, head(accuracy=(row("openvino", "fp32", 0.7),))):
        pass
    assert open_bundle(sample).manifest.accuracy == (row("openvino", "fp32", 0.7),)
    with BundleWriter(sample, head()) as writer:
        writer.add(record("focus"), graph_files("focus", "again"))
    assert open_bundle(sample).manifest.accuracy == "not run: a sample"


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"run": "run-b"}, ProofError, "holds graphs of another training run (run-a) than run-b"),
        ({"labels": ("x", "y")}, InputError, "has other labels or another configuration"),
        ({"config": replace(TINY, chosen=1)}, InputError, "has other labels or another configuration"),
    ],
)
def test_a_bundle_of_something_else_is_refused(
    sample: Path, changes: dict[str, object], error: type[Exception], sentence: str
) -> None:
    before = tree(sample)
    with pytest.raises(error, match=re.escape(sentence)), BundleWriter(sample, replace(head(), **changes)):
        pytest.fail("the body must not run")
    assert tree(sample) == before
    assert listing(sample.parent) == ["tiny.avgn"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    with pytest.raises(InputError, match=r"manifest\.json: cannot be read"), BundleWriter(tmp_path / "home", head()):
        pytest.fail("the body must not run")
    assert (tmp_path / "home" / "letter").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    write_sample(tmp_path / "empty")


WIDE = Config(classes=2)
REFUSED = [
    (record("focus", run="run-b"), {"f": b""}, ProofError, "focus (openvino fp32) comes from another training run"),
    (record("focus", precision="int8", found="fp32"), {"f": b""}, ProofError, "claims int8, but the file was found"),
    (record("focus", config=WIDE), {"f": b""}, InputError, "input 'patch' has shape (1, 3, 128, 128); the config"),
    (record("focus"), {}, InputError, "focus (openvino fp32) has no files"),
    (record("focus"), {"../f": b""}, InputError, "path 'openvino-fp32/../f' must be relative"),
    (record("focus"), {"/etc/f": b""}, InputError, "must be relative"),
    (record("glance"), {"glance.xml": b""}, InputError, "glance (openvino fp32) was added twice"),
    (record("focus"), {"glance.xml": b"other"}, InputError, "glance.xml was added before, with another content"),
    (record("focus"), {"a": b"", "a/b": b""}, InputError, "cannot be written"),
    (record("focus", local=LOCAL + 1), {"f": b""}, InputError, "width of `local` differs"),
]


@pytest.mark.parametrize(("wrong", "files", "error", "sentence"), REFUSED, ids=[case[3][:40] for case in REFUSED])
def test_nothing_appears_when_a_graph_is_refused(
    tmp_path: Path, wrong: object, files: dict[str, bytes], error: type[Exception], sentence: str
) -> None:
    path = tmp_path / "new.avgn"
    with pytest.raises(error, match=re.escape(sentence)), BundleWriter(path, head()) as writer:
        writer.add(record("glance"), graph_files("glance"))
        writer.add(record("classify"), graph_files("classify"))
        writer.add(wrong, files)
    assert listing(tmp_path) == []


def test_a_wrong_graph_is_refused_at_once(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "new.avgn", head()) as writer:
        with pytest.raises(ProofError, match="another training run"):
            writer.add(record("focus", run="run-b"), graph_files("focus"))
        writer.add(record("focus"), graph_files("focus"))
    assert open_bundle(tmp_path / "new.avgn").manifest.graphs[0].run == "run-a"


def test_a_damaged_old_graph_is_not_carried_over(sample: Path) -> None:
    (sample / "openvino-fp32/focus.bin").write_bytes(bytes(16))
    with pytest.raises(ProofError, match="SHA-256"), BundleWriter(sample, head()) as writer:
        writer.add(record("glance"), graph_files("glance"))
    with BundleWriter(sample, head()) as writer:
        writer.add(record("focus"), graph_files("focus"))
    open_bundle(sample).verify()


@pytest.mark.parametrize("existing", [True, False])
def test_two_writers_do_not_lose_each_other_s_graphs(tmp_path: Path, existing: bool) -> None:
    path = tmp_path / "tiny.avgn"
    if existing:
        write_sample(path)
    with pytest.raises(InputError, match="changed by someone else"), BundleWriter(path, head()) as slow:
        write_sample(path, "tflite")
        slow.add(record("focus", "coreml"), graph_files("focus"))
    variants = open_bundle(path).variants()
    assert variants == [("openvino", "fp32")] * existing + [("tflite", "fp32")]
    assert listing(tmp_path) == ["tiny.avgn"]


SCRIPT = """
import os, resource, signal, sys
sys.path.insert(0, {folder!r})
from bundle_samples import *
with BundleWriter(Path(sys.argv[1]), head()) as writer:
    writer.add(record("focus"), graph_files("focus", "new"))
    {then}
    writer.add(record("glance"), {{"glance.xml": bytes(100_000)}})
"""


@posix
@pytest.mark.parametrize(
    ("then", "code", "stderr"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))", 1, "InputError.*tiny.avgn: cannot be written"),
        ("raise KeyboardInterrupt", None, "KeyboardInterrupt"),
    ],
)
def test_killed_or_out_of_space_the_old_bundle_stands(sample: Path, then: str, code: int | None, stderr: str) -> None:
    before = tree(sample)
    script = SCRIPT.format(folder=str(Path(__file__).parent), then=then)
    command = [sys.executable, "-c", script, str(sample)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert code is None or done.returncode == code
    assert re.search(stderr, done.stderr)
    assert tree(sample) == before
    open_bundle(sample).verify()
    write_sample(sample, "tflite")
    assert listing(sample.parent) == ["tiny.avgn"]


@posix
def test_a_bundle_left_between_two_renames_is_told_of_and_put_back(sample: Path) -> None:
    before = tree(sample)
    waiting = sample.parent / ".tiny.avgn.old-0123abcd"
    sample.rename(waiting)
    with pytest.raises(InputError, match=re.escape(f"left it at {waiting}")):
        open_bundle(sample)
    with pytest.raises(ProofError), BundleWriter(sample, head(run="run-b")):
        pass
    assert tree(sample) == before
