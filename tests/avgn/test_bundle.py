"""Bundles: what is written is read, and what was tampered with is refused by name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_samples import TINY, graph_files, head, read_table, record, tree, write_sample, write_table
from hypothesis import given, settings
from hypothesis import strategies as st

from avgn.bundle import Bundle, BundleWriter, default_bundle, open_bundle
from avgn.config import PatchConfig
from avgn.errors import InputError, ProofError
from avgn.manifest import GRAPHS

posix = pytest.mark.skipif(os.name == "nt", reason="links, pipes, signals and limits of POSIX")


def read_all(bundle: Bundle) -> dict[str, dict[str, bytes]]:
    return {record.title: bundle.read(record) for record in bundle.manifest.graphs}


def test_layout_and_round_trip(sample: Path) -> None:
    expected = {f"openvino-fp32/{graph}.{kind}" for graph in GRAPHS for kind in ("xml", "bin")}
    assert set(tree(sample)) == expected | {"manifest.json"}
    bundle = open_bundle(str(sample))
    assert bundle.path == sample
    assert bundle.variants() == [("openvino", "fp32")]
    assert bundle.read(bundle.record("focus", "openvino", "fp32")) == graph_files("focus")
    assert bundle.digest() == hashlib.sha256((sample / "manifest.json").read_bytes()).hexdigest()
    bundle.verify()


words = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}(/[a-z][a-z0-9]{0,4})?", fullmatch=True)
contents = st.dictionaries(names, st.binary(max_size=64), min_size=1, max_size=3).filter(
    lambda files: len({name.lower().split("/")[0] for name in files}) == len(files)
)
labels = st.lists(
    st.text("aé漢 '\"\\{}", min_size=1, max_size=9).filter(str.strip), min_size=1, max_size=5, unique=True
)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_bundles_survive(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    known = tuple(data.draw(labels))
    config = replace(TINY, classes=len(known), snippets=data.draw(st.integers(2, 9)), patch=PatchConfig(64, 64))
    variants = data.draw(st.lists(st.tuples(words, words), max_size=3, unique=True))
    drawn = {
        (graph, *variant): {f"{graph}.{name}": value for name, value in data.draw(contents).items()}
        for variant in variants
        for graph in data.draw(st.lists(st.sampled_from(GRAPHS), unique=True))
    }
    path = tmp_path_factory.mktemp("random") / "random.avgn"
    first = head(config, labels=known, tools=data.draw(st.dictionaries(words, words)))
    with BundleWriter(path, first) as writer:
        for (graph, backend, precision), files in drawn.items():
            writer.add(record(graph, backend, precision, config=config, macs=data.draw(st.integers(0, 2**62))), files)
    bundle = open_bundle(path)
    assert replace(bundle.manifest, graphs=()) == first
    assert {(item.graph, item.backend, item.precision): bundle.read(item) for item in bundle.manifest.graphs} == drawn
    complete = [variant for variant in variants if all((graph, *variant) in drawn for graph in GRAPHS[1:])]
    assert bundle.variants() == complete


def test_a_record_that_is_not_there_is_named(sample: Path) -> None:
    with pytest.raises(
        InputError, match=r"holds no focus \(openvino int8\); it holds logmel \(openvino fp32\), glance"
    ):
        open_bundle(sample).record("focus", "openvino", "int8")


def test_variants_want_all_graphs_but_logmel(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b", head()) as writer:
        for graph in ("classify", "focus", "select"):
            writer.add(record(graph, "tflite", "int8"), graph_files(graph))
        for graph in GRAPHS[1:]:
            writer.add(record(graph, "coreml", "fp16"), graph_files(graph))
    assert open_bundle(tmp_path / "b").variants() == [("coreml", "fp16")]


@pytest.mark.parametrize("path", ["missing.avgn", "nul\0byte", "n" * 300, "tiny.avgn/manifest.json", "empty", ""])
def test_what_is_no_bundle(sample: Path, path: str) -> None:
    (sample.parent / "empty").mkdir()
    with pytest.raises(InputError):
        open_bundle(sample.parent / path)


# Tampering

FOCUS = "openvino-fp32/focus.bin"


def link_file(path: Path) -> None:
    (path / FOCUS).rename(path.parent / "elsewhere")
    (path / FOCUS).symlink_to(path.parent / "elsewhere")


def link_folder(path: Path) -> None:
    (path / "openvino-fp32").rename(path.parent / "elsewhere")
    (path / "openvino-fp32").symlink_to(path.parent / "elsewhere")


def link_manifest(path: Path) -> None:
    (path / "manifest.json").rename(path.parent / "elsewhere")
    (path / "manifest.json").symlink_to(path.parent / "elsewhere")


def pipe(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        (path / name).unlink()
        os.mkfifo(path / name)

    return change


def folder_for_file(path: Path) -> None:
    (path / FOCUS).unlink()
    (path / FOCUS).mkdir()


def file_for_folder(path: Path) -> None:
    (path / "openvino-fp32").rename(path.parent / "elsewhere")
    (path / "openvino-fp32").write_bytes(b"")


def repeat_key(path: Path) -> None:
    place = path / "manifest.json"
    place.write_text(place.read_text().replace('"run": "run-a"', '"run": "run-b", "run": "run-a"', 1))


def other_run(path: Path) -> None:
    table = read_table(path)
    table["graphs"][GRAPHS.index("focus")]["run"] = "run-b"
    write_table(path, table)


TAMPERING = [
    (lambda path: (path / FOCUS).unlink(), InputError, f"{FOCUS}: cannot be read"),
    (lambda path: (path / FOCUS).write_bytes(bytes(15)), ProofError, f"{FOCUS}: has 15 bytes, not 16"),
    (lambda path: (path / FOCUS).write_bytes(bytes(17)), ProofError, f"{FOCUS}: has 17 bytes, not 16"),
    (link_file, InputError, f"{FOCUS}: is a link"),
    (link_folder, InputError, "openvino-fp32: is a link"),
    (link_manifest, InputError, "manifest.json: is a link"),
    (pipe(FOCUS), InputError, f"{FOCUS}: is not a regular file"),
    (pipe("manifest.json"), InputError, "manifest.json: is not a regular file"),
    (folder_for_file, InputError, f"{FOCUS}: is not a regular file"),
    (file_for_folder, InputError, "openvino-fp32: is not a folder"),
    (lambda path: (path / "manifest.json").unlink(), InputError, "manifest.json: cannot be read"),
    (lambda path: os.truncate(path / "manifest.json", 900), InputError, "manifest.json: is not valid JSON"),
    (lambda path: os.truncate(path / "manifest.json", 1 << 40), InputError, "manifest.json: is larger than 4194304"),
    (repeat_key, InputError, "manifest.json: is not valid JSON (the key 'run' appears twice)"),
    (other_run, ProofError, "manifest.json: focus (openvino fp32) comes from another training run (run-b)"),
]


@posix
@pytest.mark.parametrize(("change", "error", "sentence"), TAMPERING, ids=[case[2][:30] for case in TAMPERING])
def test_tampering_is_refused_when_opened(
    sample: Path, change: Callable[[Path], object], error: type[Exception], sentence: str
) -> None:
    change(sample)
    with pytest.raises(error, match=re.escape(sentence)) as caught:
        open_bundle(sample)
    assert type(caught.value) is error


def test_changed_bytes_are_refused_when_read(sample: Path) -> None:
    (sample / FOCUS).write_bytes(bytes(16))
    bundle = open_bundle(sample)
    bundle.read(bundle.record("glance", "openvino", "fp32"))
    for attempt in (bundle.verify, lambda: bundle.read(bundle.record("focus", "openvino", "fp32"))):
        with pytest.raises(ProofError, match=re.escape(f"{FOCUS}: its SHA-256 is not the manifest's")):
            attempt()


@given(st.integers(0, 15), st.integers(1, 255))
@settings(max_examples=20, deadline=None)
def test_any_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, place: int, flip: int) -> None:
    path = write_sample(tmp_path_factory.mktemp("flip") / "tiny.avgn")
    data = bytearray((path / FOCUS).read_bytes())
    data[place] ^= flip
    (path / FOCUS).write_bytes(bytes(data))
    with pytest.raises(ProofError, match="SHA-256"):
        open_bundle(path).verify()


@posix
@pytest.mark.parametrize(
    ("change", "error"), [(link_file, InputError), (pipe(FOCUS), InputError), (Path.rmdir, InputError)]
)
def test_what_is_swapped_after_opening_is_refused(sample: Path, change: Callable[[Path], object], error: type) -> None:
    bundle = open_bundle(sample)
    if change is Path.rmdir:
        sample.rename(sample.parent / "gone")
    else:
        change(sample)
    with pytest.raises(error):
        bundle.verify()


def test_unlisted_files_are_never_read(sample: Path) -> None:
    (sample / "openvino-fp32" / "extra.bin").write_bytes(b"not listed")
    bundle = open_bundle(sample)
    assert all("extra.bin" not in files for files in read_all(bundle).values())


@posix
def test_a_link_to_a_bundle_is_the_user_s_own(sample: Path) -> None:
    (sample.parent / "link").symlink_to(sample)
    open_bundle(sample.parent / "link").verify()
    write_sample(sample.parent / "link", "tflite")
    assert (sample.parent / "link").is_symlink()
    assert open_bundle(sample).variants() == [("openvino", "fp32"), ("tflite", "fp32")]


def test_the_default_bundle_lies_in_the_package() -> None:
    assert default_bundle().parts[-3:] == ("avgn", "models", "default.avgn")
    if default_bundle().exists():
        open_bundle(default_bundle()).verify()
