"""Plain data to dataclasses and back: exact types, known keys, faults named by their path."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avgn.config import Config, load_config, presets
from avgn.errors import InputError
from avgn.schema import build, plain


@dataclass(frozen=True)
class Leaf:
    number: int
    ratio: float = 0.5

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("number must not be negative")


@dataclass(frozen=True)
class Tree:
    name: str
    flag: bool
    kind: Literal["oak", "elm"]
    leaves: tuple[Leaf, ...]
    pair: tuple[int, str]
    table: dict[str, float]
    maybe: int | None = None
    either: Leaf | str = "none"
    extra: tuple[str, ...] = field(default_factory=tuple)


GOOD: dict[str, Any] = {
    "name": "t",
    "flag": True,
    "kind": "oak",
    "leaves": [{"number": 1}],
    "pair": [1, "a"],
    "table": {"x": 1},
}
finite = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.builds(Leaf, st.integers(0, 2**53), finite)
trees = st.builds(
    Tree,
    st.text(),
    st.booleans(),
    st.sampled_from(["oak", "elm"]),
    st.lists(leaves, max_size=3).map(tuple),
    st.tuples(st.integers(), st.text()),
    st.dictionaries(st.text(), finite, max_size=3),
    st.none() | st.integers(),
    leaves | st.text(),
    st.lists(st.text(), max_size=3).map(tuple),
)


@settings(deadline=None)
@given(trees)
def test_round_trip_through_json(tree: Tree) -> None:
    assert build(Tree, json.loads(json.dumps(plain(tree)))) == tree


def test_defaults_fill_in_and_integers_serve_as_floats() -> None:
    tree = build(Tree, GOOD)
    assert tree == Tree("t", True, "oak", (Leaf(1, 0.5),), (1, "a"), {"x": 1.0})
    assert type(tree.table["x"]) is float


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"nmae": "x"}, "Tree: unknown key 'nmae'; known keys are name, flag,"),
        ({"name": 3}, "Tree.name: expected str, found int 3"),
        ({"flag": 1}, "Tree.flag: expected bool, found int 1"),
        ({"maybe": True}, "Tree.maybe: expected int, found bool True"),
        ({"maybe": 1.0}, "Tree.maybe: expected int, found float 1.0"),
        ({"kind": "ash"}, "Tree.kind: 'ash' is not one of oak, elm"),
        ({"kind": ["oak"]}, "Tree.kind: ['oak'] is not one of oak, elm"),
        ({"leaves": {"number": 1}}, "Tree.leaves: expected a list, found dict"),
        ({"leaves": "ab"}, "Tree.leaves: expected a list, found str"),
        ({"leaves": [{"number": 1}, {}]}, "Tree.leaves[1]: the key 'number' is missing"),
        ({"leaves": [{"number": -1}]}, "Tree.leaves[0]: number must not be negative"),
        ({"leaves": [{"number": 1, "ratio": "half"}]}, "Tree.leaves[0].ratio: expected float, found str 'half'"),
        ({"leaves": [{"number": 1, "ratio": True}]}, "Tree.leaves[0].ratio: expected float, found bool True"),
        ({"pair": [1]}, "Tree.pair: expected 2 values, found 1"),
        ({"pair": ["a", 1]}, "Tree.pair[0]: expected int, found str 'a'"),
        ({"table": [1]}, "Tree.table: expected a table of keys, found list"),
        ({"table": {"x": None}}, "Tree.table.x: expected float, found NoneType None"),
        ({"either": {"number": "1"}}, "Tree.either.number: expected int, found str '1'"),
        ({"extra": [None]}, "Tree.extra[0]: expected str, found NoneType None"),
    ],
)
def test_faults_are_named_by_their_path(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence)):
        build(Tree, GOOD | change)


@pytest.mark.parametrize("key", ["name", "flag", "kind", "leaves", "pair", "table"])
def test_what_has_no_default_must_be_there(key: str) -> None:
    with pytest.raises(InputError, match=f"^here: the key '{key}' is missing"):
        build(Tree, {name: value for name, value in GOOD.items() if name != key}, "here")


@pytest.mark.parametrize("data", [None, [], "text", 1, [("name", "t")]])
def test_only_a_table_makes_a_dataclass(data: object) -> None:
    with pytest.raises(InputError, match="expected a table of keys"):
        build(Tree, data)


@pytest.mark.parametrize("preset", presets())
def test_presets_survive_the_round_trip(preset: str) -> None:
    config = load_config(preset)
    assert build(Config, json.loads(json.dumps(plain(config)))) == config


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | finite | st.text(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "number"]), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.fixed_dictionaries({name: st.just(value) | anything for name, value in GOOD.items()}) | anything)
def test_any_data_gives_a_tree_of_the_declared_types_or_an_input_error(data: object) -> None:
    try:
        tree = build(Tree, data)
    except InputError:
        return
    assert type(tree.name) is str and type(tree.flag) is bool and tree.kind in ("oak", "elm")
    assert all(type(leaf.number) is int and type(leaf.ratio) is float and leaf.number >= 0 for leaf in tree.leaves)
    assert [type(item) for item in tree.pair] == [int, str]
    assert all(type(value) is float for value in tree.table.values())


def test_plain_reaches_into_every_container() -> None:
    assert plain({"a": (Leaf(1), [Leaf(2, 1.0)])}) == {
        "a": [{"number": 1, "ratio": 0.5}, [{"number": 2, "ratio": 1.0}]]
    }
    assert dataclasses.asdict(Leaf(3)) == plain(Leaf(3))
