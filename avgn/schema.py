"""Strict dataclasses from plain data: every key known, every type right, every fault named by its path.

JSON and TOML files of the project (presets, manifests, checkpoints) are read through `build` alone. Supported field
types: str, bool, int, float, Literal, Optional, tuple[X, ...], tuple[X, Y], dict[str, X] and nested dataclasses.
"""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from avgn.errors import InputError

T = TypeVar("T")


def build(kind: type[T], data: object, where: str = "") -> T:
    """Make a `kind` (a dataclass) from `data` (a mapping); raise InputError naming the path of the first fault."""
    place = where or kind.__name__
    if not isinstance(data, dict):
        raise InputError(f"{place}: expected a table of keys, found {type(data).__name__}.")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(str(key) for key in data if key not in fields)
    if unknown:
        raise InputError(f"{place}: unknown key {unknown[0]!r}; known keys are {', '.join(fields)}.")
    missing = [name for name, field in fields.items() if name not in data and _required(field)]
    if missing:
        raise InputError(f"{place}: the key {missing[0]!r} is missing.")
    hints = get_type_hints(kind)
    values = {name: _value(hints[name], value, f"{place}.{name}") for name, value in data.items()}
    try:
        return kind(**values)
    except (ValueError, ArithmeticError) as fault:
        raise InputError(f"{place}: {fault}") from fault


def plain(value: Any) -> Any:
    """Turn a dataclass into JSON-ready dicts and lists; the inverse of `build`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(hint: Any, value: object, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin is Literal:
        if value not in args:
            raise InputError(f"{where}: {value!r} is not one of {', '.join(map(str, args))}.")
        return value
    if origin in (Union, types.UnionType):
        return _one_of(args, value, where)
    if origin is tuple:
        return _tuple(args, value, where)
    if origin is dict:
        return _table(args[1], value, where)
    return _scalar(hint, value, where)


def _one_of(hints: tuple[Any, ...], value: object, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    faults = []
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return _value(hint, value, where)
        except InputError as fault:
            faults.append(fault)
    raise faults[0]


def _tuple(hints: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{where}: expected a list, found {type(value).__name__}.")
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(_value(hints[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if len(hints) != len(value):
        raise InputError(f"{where}: expected {len(hints)} values, found {len(value)}.")
    return tuple(
        _value(hint, item, f"{where}[{index}]") for index, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _table(hint: Any, value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a table of keys, found {type(value).__name__}.")
    return {str(key): _value(hint, item, f"{where}.{key}") for key, item in value.items()}


def _scalar(hint: Any, value: object, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (type(value) is hint):
        return value
    raise InputError(
        f"{where}: expected {getattr(hint, '__name__', hint)}, found {type(value).__name__} {value!r:.60}."
    )
