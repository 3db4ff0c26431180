"""Installed packages: those that nothing runs without, extras, and versions that do not fit together."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from avgn.extras import install_line
from runtimes.doctor.finding import Finding, State

Versions = Mapping[str, str]  # of what is installed, by the package's name in lower case with "-"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?([^;]*)(?:;(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)[\"']")
_SELF = "avgn"


@dataclass(frozen=True)
class Pair:
    """`package` (where its version lies in `when`) wants `other` in `wants`; ranges are (from, below), "" is open.

    Where it is not `certain` the combination may work: it is only that nobody tried it here.
    """

    package: str
    when: tuple[str, str]
    other: str
    wants: tuple[str, str]
    why: str
    good: str  # the version of `other` to install
    certain: bool = True


BASE = {"numpy": "numpy", "av": "av"}  # module -> package, without which nothing runs
ANY = ("", "")
PAIRS: tuple[Pair, ...] = (
    Pair("executorch", ("1.4", "1.5"), "torch", ("2.13", "2.14"), "was built for torch 2.13", "2.13.0"),
    Pair("executorch", ("1.3", "1.4"), "torch", ("2.12", "2.13"), "was built for torch 2.12", "2.12.0"),
    Pair("executorch", ("1.4", "1.5"), "torchao", ("0.18", ""), "needs torchao 0.18 or newer", "0.18.0"),
    Pair("nncf", ("3.0", "3.1"), "torch", ("", "2.13"), "imports parts that torch 2.13 dropped", "2.12.0"),
    Pair("nncf", ("3.4", ""), "numpy", ("", "2.5"), "needs numpy below 2.5", "2.4.6"),
    Pair("nncf", ("3.4", ""), "openvino", ("2026.0", ""), "was tried with OpenVINO 2026 only", "2026.4.1", False),
    Pair("nncf", ("3.0", "3.4"), "openvino", ("2025.4", "2026.0"), "was tried with 2025.4 only", "2025.4.1", False),
    Pair("tflite-runtime", ANY, "numpy", ("", "2"), "was built for numpy 1 and fails at the first file", "1.26.4"),
    Pair("litert-torch", ("0.10", "0.11"), "torch", ("2.4", "2.15"), "needs torch below 2.15", "2.13.0"),
    Pair("litert-torch", ("0.10", "0.11"), "ai-edge-quantizer", ("0.10", "0.11"), "goes with 0.10", "0.10.0"),
    Pair("litert-torch", ("0.10", "0.11"), "ai-edge-litert", ("2.3", "2.4"), "goes with 2.3", "2.3.0"),
    Pair("coremltools", ("", "9.1"), "torch", ("", "2.14"), "was tried up to torch 2.13 here", "2.13.0", False),
)


def base_findings(load: Callable[[str], object] = importlib.import_module) -> Iterator[Finding]:
    """The packages without which nothing runs; whether they really load."""
    for module, package in BASE.items():
        try:
            loaded = load(module)
        except ImportError as fault:
            mend = f"pip install --force-reinstall {package}"
            yield Finding("device side", package, State.PROBLEM, f"does not load ({fault})", mend, stops=True)
        else:
            yield Finding("device side", package, State.OK, str(getattr(loaded, "__version__", "loads")))


def pair_findings(versions: Versions, pairs: Sequence[Pair] = PAIRS) -> Iterator[Finding]:
    """A finding for each pair of installed packages that does not fit, and one for all where each does."""
    found = False
    for pair in pairs:
        held, other = versions.get(pair.package), versions.get(pair.other)
        if held is None or other is None or not within(held, pair.when) or within(other, pair.wants):
            continue
        found = True
        yield Finding(
            "versions",
            f"{pair.package} {held}",
            State.PROBLEM if pair.certain else State.DOUBT,
            f"{pair.why}; {pair.other} {other} is installed",
            f'pip install "{pair.other}=={pair.good}"',
        )
    if not found:
        yield Finding("versions", "pairs", State.OK, "nothing installed is known not to fit together")


def extra_findings(requirements: Sequence[str], versions: Versions) -> Iterator[Finding]:
    """A finding for each extra in avgn's own `requirements` (as package metadata has them)."""
    for extra, packages in sorted(extras(requirements).items()):
        lacking = sorted(name for name in packages if name not in versions)
        if lacking:
            yield Finding("extra", extra, State.ABSENT, f"lacks {', '.join(lacking)}", install_line(extra))
        else:
            yield Finding("extra", extra, State.OK, "installed")


def extras(requirements: Sequence[str]) -> dict[str, set[str]]:
    """The packages of each extra, those that it takes over from other extras included."""
    direct: dict[str, set[str]] = {}
    nested: dict[str, set[str]] = {}
    for line in requirements:
        match, extra = _REQUIREMENT.fullmatch(line.strip()), _EXTRA.search(line)
        if match is None or extra is None:
            continue
        table = nested if match[1].lower() == _SELF else direct
        names = [part.strip() for part in (match[2] or "").split(",")] if table is nested else [plain_name(match[1])]
        table.setdefault(extra[1], set()).update(names)

    def whole(extra: str, seen: frozenset[str] = frozenset()) -> set[str]:
        inner = nested.get(extra, set()) - seen
        return direct.get(extra, set()).union(*(whole(name, seen | {extra}) for name in inner))

    return {extra: whole(extra) for extra in {*direct, *nested}}


def plain_name(name: str) -> str:
    """A package's name as the index has it: lower case, "-" for "_" and "."."""
    return re.sub(r"[-_.]+", "-", name).lower()


def within(version: str, limits: tuple[str, str]) -> bool:
    """Whether a version lies in the range (from, below)."""
    low, high = limits
    return (not low or _key(version) >= _key(low)) and (not high or _key(version) < _key(high))


def _key(version: str) -> tuple[int, ...]:
    """The numbers before anything else, trailing zeros dropped: 2.13.0+cpu is (2, 13)."""
    numbers = [int(part) for part in re.findall(r"\d+", re.match(r"[\d.]*", version)[0])]  # type: ignore[index]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
