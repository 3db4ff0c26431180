"""The manifest's rules, each broken once; the graphs' contract; and bytes of any kind in place of a manifest."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from bundle_samples import LOCAL, TINY, head, record
from hypothesis import given, settings
from hypothesis import strategies as st

from avgn.contract import TensorSpec, contract
from avgn.errors import InputError, ProofError
from avgn.manifest import GRAPHS, Accuracy, FileRecord, Manifest, Parity, manifest_bytes, parse_manifest
from avgn.schema import plain

Table = dict[str, Any]


def full() -> Manifest:
    graphs = []
    for graph in GRAPHS:
        files = tuple(FileRecord(f"openvino-fp32/{graph}.{kind}", 3, "0" * 64) for kind in ("xml", "bin"))
        graphs.append(record(graph, files=files))
    accuracy = (Accuracy("openvino", "fp32", "scenes", "test", 96, 0.5, 0.4, 0.6),)
    return head(graphs=tuple(graphs), accuracy=accuracy, exit_confidence=0.9)


FULL: Table = plain(full())


def parse(table: object) -> Manifest:
    return parse_manifest(json.dumps(table).encode(), "m.json")


def test_round_trip_and_stable_text() -> None:
    text = manifest_bytes(full())
    assert parse_manifest(text, "m.json") == full()
    assert manifest_bytes(parse_manifest(text, "m.json")) == text
    assert text.endswith(b"\n}\n")
    keys = "format name run created labels config graphs accuracy tools sources exit_confidence"
    assert list(json.loads(text)) == keys.split()


def test_graphs_of_a_variant_may_share_a_file_and_light_ones_may_be_more_exact() -> None:
    table = json.loads(json.dumps(FULL))
    table["graphs"][1]["files"] = table["graphs"][FOCUS]["files"]
    assert parse(table).graphs[1].files == parse(table).graphs[FOCUS].files
    for row in table["graphs"]:
        row["precision"] = "int8"
        row["found"] = "int8" if row["graph"] in ("glance", "focus") else "fp32"
        row["files"] = [{**file, "path": file["path"].replace("fp32", "int8")} for file in row["files"]]
    table["accuracy"] = "not run: changed"
    assert {record.found for record in parse(table).graphs} == {"int8", "fp32"}


def put(*path: Any, value: Any) -> Callable[[Table], None]:
    """A change that sets what lies at `path`."""

    def change(table: Table) -> None:
        *way, last = path
        place: Any = table
        for key in way:
            place = place[key]
        place[last] = value

    return change


def path_of(value: str) -> Callable[[Table], None]:
    return put("graphs", 1, "files", 0, "path", value=value)


def other_file_at(path: str) -> Callable[[Table], None]:
    def change(table: Table) -> None:
        table["graphs"][1]["files"][0] |= {"path": path, "sha256": "1" * 64}

    return change


def twice(key: str) -> Callable[[Table], None]:
    return lambda table: table[key].append(table[key][0])


FOCUS, CLASSIFY = GRAPHS.index("focus"), GRAPHS.index("classify")
RULES = [
    (put("colour", value="red"), InputError, "unknown key 'colour'"),
    (put("graphs", 0, "files", 0, "mode", value=7), InputError, "graphs[0].files[0]: unknown key 'mode'"),
    (put("config", "sound", "rte", value=7), InputError, "manifest.config.sound: unknown key 'rte'"),
    (lambda table: table.pop("run"), InputError, "the key 'run' is missing"),
    (put("format", value=2), InputError, "format 2 is not known"),
    (put("format", value=0), InputError, "format 0 is not known"),
    (put("format", value="1"), InputError, "manifest.format: expected int"),
    (put("name", value=" "), InputError, "name and run must not be empty"),
    (put("labels", value=["a"]), InputError, "1 labels for config.classes = 2"),
    (put("labels", value=["a", "b", "c"]), InputError, "3 labels for config.classes = 2"),
    (put("labels", value=["a", "a"]), InputError, "a label appears twice"),
    (put("labels", value=["a", "  "]), InputError, "a label is empty"),
    (put("labels", value=["a", "\x1b[2Jb"]), InputError, "control characters"),
    (put("labels", value=["a", "\ud800"]), InputError, "control characters"),
    (put("tools", value={"a\u202eb": "1"}), InputError, "control characters"),
    (put("exit_confidence", value=0), InputError, "exit_confidence"),
    (put("exit_confidence", value=1.5), InputError, "exit_confidence"),
    (put("accuracy", value="good"), InputError, "accuracy must be a measurement"),
    (put("accuracy", value="not run: "), InputError, "accuracy must be a measurement"),
    (put("accuracy", 0, "top1", value=50), InputError, "accuracy[0]: top1, low and high must lie in 0..1"),
    (put("accuracy", 0, "low", value=0.9), InputError, "low must not exceed high"),
    (put("graphs", 1, "parity", value="ok"), InputError, "parity must be a measurement"),
    (put("graphs", 1, "parity", "max_error", value=-1), InputError, "must not be negative"),
    (put("graphs", 1, "parity", "clips", value=0), InputError, "clips must be at least 1"),
    (put("graphs", 1, "macs", value=-1), InputError, "macs must not be negative"),
    (put("graphs", 1, "graph", value="glimpse"), InputError, "'glimpse' is not one of logmel, glance"),
    (put("graphs", 1, "backend", value="../x"), InputError, "backend '../x' must be lower-case letters"),
    (put("graphs", 1, "precision", value="FP32"), InputError, "precision 'FP32' must be lower-case letters"),
    (put("graphs", FOCUS, "run", value="run-b"), ProofError, "focus (openvino fp32) comes from another training run"),
    (put("graphs", FOCUS, "found", value="int8"), ProofError, "claims fp32, but the file was found to be int8"),
    (put("graphs", 1, "files", value=[]), InputError, "glance (openvino fp32) has no files"),
    (put("graphs", 1, "files", 0, "size", value=-1), InputError, "size must lie in 0.."),
    (put("graphs", 1, "files", 0, "size", value=(1 << 30) + 1), InputError, "size must lie in 0.."),
    (put("graphs", 1, "files", 0, "sha256", value="A" * 64), InputError, "64 lower-case hex digits"),
    (put("graphs", 1, "files", 0, "sha256", value="0" * 63), InputError, "64 lower-case hex digits"),
    (put("graphs", 1, "files", 0, "sha256", value="0" * 64 + "\n"), InputError, "control characters"),
    (path_of("/etc/passwd"), InputError, "path '/etc/passwd' must be relative"),
    (path_of("openvino-fp32/../../x"), InputError, "must be relative"),
    (path_of("openvino-fp32/./x"), InputError, "must be relative"),
    (path_of("openvino-fp32//x"), InputError, "must be relative"),
    (path_of("openvino-fp32/"), InputError, "must be relative"),
    (path_of("openvino-fp32\\x"), InputError, "must be relative"),
    (path_of("C:/x"), InputError, "must be relative"),
    (path_of("openvino-fp32/x:stream"), InputError, "must be relative"),
    (path_of("openvino-fp32/.hidden"), InputError, "must be relative"),
    (path_of(""), InputError, "must be relative"),
    (path_of("manifest.json"), InputError, "does not lie in openvino-fp32/"),
    (path_of("openvino-int8/glance.xml"), InputError, "does not lie in openvino-fp32/"),
    (other_file_at("openvino-fp32/focus.bin"), InputError, "file openvino-fp32/focus.bin is listed twice"),
    (other_file_at("openvino-fp32/FOCUS.BIN"), InputError, "file openvino-fp32/focus.bin is listed twice"),
    (twice("graphs"), InputError, "graph logmel (openvino fp32) is listed twice"),
    (put("graphs", FOCUS, "inputs", value=[]), InputError, "focus (openvino fp32): inputs are ; expected patch"),
    (put("graphs", FOCUS, "inputs", 0, "name", value="crop"), InputError, "inputs are crop; expected patch"),
    (
        put("graphs", FOCUS, "inputs", 0, "shape", value=[1, 3, 64, 64]),
        InputError,
        "has shape (1, 3, 64, 64); the config",
    ),
    (put("graphs", FOCUS, "inputs", 0, "shape", value=[]), InputError, "has shape (); the config"),
    (put("graphs", FOCUS, "inputs", 0, "dtype", value="int32"), InputError, "input 'patch' is int32; expected float32"),
    (put("graphs", FOCUS, "inputs", 0, "dtype", value="int64"), InputError, "'int64' is not one of float32"),
    (put("graphs", FOCUS, "inputs", 0, "dtype", value="int8"), InputError, "scale and zero_point go with int8"),
    (put("graphs", FOCUS, "inputs", 0, "scale", value=0.1), InputError, "scale and zero_point go with int8"),
    (put("graphs", CLASSIFY, "inputs", 3, "dtype", value="float32"), InputError, "'when' is float32; expected int32"),
    (put("graphs", FOCUS, "outputs", 0, "shape", value=[1, 8]), InputError, "width of `local` differs"),
    (put("graphs", FOCUS, "outputs", 0, "shape", value=[1, 0]), InputError, "has shape (1, 0)"),
    (put("graphs", FOCUS, "outputs", 0, "shape", value=[1, -7]), InputError, "has shape (1, -7)"),
    (put("config", "snippets", value=4), InputError, "the config asks for"),
    (put("config", "chosen", value=4), InputError, "chosen (k) must lie in"),
    (put("config", "saliency", "heads", value=0), InputError, "m.json: manifest.config"),
]


@pytest.mark.parametrize(("change", "error", "sentence"), RULES, ids=[rule[2][:40] for rule in RULES])
def test_each_rule(change: Callable[[Table], object], error: type[Exception], sentence: str) -> None:
    table = copy.deepcopy(FULL)
    parse(table)
    change(table)
    with pytest.raises(error, match=re.escape(sentence)) as caught:
        parse(table)
    assert type(caught.value) is error
    assert str(caught.value).startswith("m.json: ")


def test_quantised_tensors_carry_their_scale() -> None:
    table = copy.deepcopy(FULL)
    table["graphs"][FOCUS]["inputs"][0] |= {"dtype": "uint8", "scale": 1 / 255, "zero_point": 0}
    assert parse(table).graphs[FOCUS].inputs[0] == TensorSpec("patch", (1, 3, 32, 32), "uint8", 1 / 255, 0)
    for spoiled in ({"scale": 0.0}, {"scale": -1.0}, {"zero_point": 256}, {"zero_point": -1}, {"zero_point": None}):
        worse = copy.deepcopy(table)
        worse["graphs"][FOCUS]["inputs"][0] |= spoiled
        with pytest.raises(InputError, match="'patch': "):
            parse(worse)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_never_written(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Parity(1, 0.0, 0.0, value)
    spoiled = full()
    object.__setattr__(spoiled, "exit_confidence", value)
    with pytest.raises(InputError, match="cannot be written as JSON"):
        manifest_bytes(spoiled)


def test_text_that_utf_8_lacks_is_never_written() -> None:
    with pytest.raises(InputError, match="cannot be written as JSON"):
        manifest_bytes(head(labels=("a", "\ud800")))


def test_size_and_depth_are_capped() -> None:
    text = manifest_bytes(full())
    parse_manifest(text.ljust(4 << 20), "m.json")
    with pytest.raises(InputError, match="larger than 4194304 bytes"):
        parse_manifest(text.ljust((4 << 20) + 1), "m.json")
    with pytest.raises(InputError, match="nested deeper"):
        parse_manifest(b'{"a":' * 100_000, "m.json")


def test_contract_is_the_documented_one() -> None:
    # T 3, k 2, C 2, G 32, P 32, M 8, F 32, d 16; S = 31 hops of 160, a window of 400 and one sample more
    shapes = {
        graph: [{spec.name: spec.shape for spec in specs} for specs in contract(TINY, graph, LOCAL)] for graph in GRAPHS
    }
    assert shapes == {
        "logmel": [{"sound": (1, 5361)}, {"mel": (1, 1, 8, 32)}],
        "glance": [
            {"frame": (1, 3, 32, 32), "mel": (1, 1, 8, 32), "heard": (1, 1)},
            {"visual": (1, 16), "audio": (1, 16), "centre": (1, 2), "context": (1, 16)},
        ],
        "select": [
            {"visual": (1, 3, 16), "audio": (1, 3, 16), "heard": (1, 3), "seen": (1, 3)},
            {"saliency": (1, 3), "tokens": (1, 6, 16), "logits": (1, 2)},
        ],
        "focus": [{"patch": (1, 3, 32, 32)}, {"local": (1, 7)}],
        "classify": [
            {
                "tokens": (1, 6, 16),
                "context": (1, 2, 16),
                "local": (1, 2, 7),
                "when": (1, 2),
                "used": (1, 2),
                "heard": (1, 3),
                "seen": (1, 3),
            },
            {"logits": (1, 2)},
        ],
    }
    names = [list(specs) for specs in shapes["classify"]]
    assert names == [["tokens", "context", "local", "when", "used", "heard", "seen"], ["logits"]]
    kinds = {spec.name: spec.dtype for graph in GRAPHS for specs in contract(TINY, graph, LOCAL) for spec in specs}
    assert kinds.pop("when") == "int32"
    assert set(kinds.values()) == {"float32"}


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a tree of dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in ((*way, key), *places(item, (*way, key)))]


def survives(data: bytes) -> None:
    try:
        manifest = parse_manifest(data, "m.json")
    except (InputError, ProofError) as fault:
        assert str(fault).startswith("m.json: ")
    else:
        assert parse_manifest(manifest_bytes(manifest), "m.json") == manifest


@settings(deadline=None)
@given(st.sampled_from(places(FULL)), anything, st.sampled_from(["replace", "delete", "add"]))
def test_changed_values_never_give_anything_but_named_errors(way: tuple[Any, ...], value: object, how: str) -> None:
    table = copy.deepcopy(FULL)
    *path, last = way
    place: Any = table
    for key in path:
        place = place[key]
    if how == "delete":
        del place[last]
    elif how == "add" and isinstance(place, list):
        place.insert(last, value)
    else:
        place[f"{last}_" if how == "add" else last] = value
    survives(json.dumps(table).encode())


TEXT = manifest_bytes(full())


@settings(deadline=None)
@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.binary(max_size=8))
def test_changed_bytes_never_give_anything_but_named_errors(start: int, cut: int, data: bytes) -> None:
    survives(TEXT[:start] + data + TEXT[start + cut :])


@settings(deadline=None)
@given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_never_give_anything_but_named_errors(data: bytes) -> None:
    survives(data)
