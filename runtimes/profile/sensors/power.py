"""Which rail is the total of what, or that there is none. Rails are never added up as if that were a total.

On most boards one rail holds the others; on some one rail is inside another and none is the total. Boards whose
totals have different scopes must not be compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from runtimes.profile.sensors.device import Device
from runtimes.profile.sensors.rails import INA238_RAIL, Rail


@dataclass(frozen=True)
class Rule:
    """`when` these rails are there (of a board of `chips`, if given), `total` of `scope` is their total, if any.

    `parts` are disjoint, and together they are what `parts_scope` draws: documented sums, offered under their own name.
    """

    when: frozenset[str]
    total: str | None
    scope: str | None
    parts: tuple[str, ...] = ()
    parts_scope: str | None = None
    note: str = ""
    chips: tuple[str, ...] = ()


def _rule(when: str, total: str | None = None, scope: str | None = None, parts: str = "", **more: str) -> Rule:
    chips = tuple(more.pop("chips", "").split())
    return Rule(frozenset(when.split()), total, scope, tuple(parts.split()), chips=chips, **more)


_THOR = "VDD_GPU VDD_CPU_SOC_MSS VIN_SYS_5V0"
_XAVIER = "GPU CPU SOC CV VDDRQ SYS5V"
_ORIN = "VDD_GPU_SOC VDD_CPU_CV VIN_SYS_5V0"
# The first rule that fits counts. Scopes: module = without the carrier board.
RULES = (
    _rule(f"{_THOR} {INA238_RAIL}", INA238_RAIL, "module+carrier", _THOR, parts_scope="module",
          note="the other rails are inside VIN", chips="tegra264"),
    _rule(_THOR, None, None, _THOR, parts_scope="module", chips="tegra264",
          note="this board has no INA238, so no rail is the total"),
    _rule(_ORIN, None, None, _ORIN, parts_scope="module",
          note="no rail of AGX Orin is the total; VDDQ_VDD2_1V8AO is inside VIN_SYS_5V0"),
    _rule(_XAVIER, None, None, _XAVIER, parts_scope="module", note="no rail of AGX Xavier is the total"),
    _rule("POM_5V_IN", "POM_5V_IN", "board", note="the other rails are inside POM_5V_IN"),
    _rule("VDD_IN VDD_MUX", "VDD_IN", "module", "VDD_IN VDD_MUX", parts_scope="board",
          note="VDD_MUX is the carrier's own input"),
    _rule("VDD_IN", "VDD_IN", "module", note="the other rails are inside VDD_IN; the carrier board is not in it"),
)  # fmt: skip
_UNKNOWN = Rule(frozenset(), None, None, note="it is not known which of these rails is a total")


@dataclass(frozen=True)
class Power:
    """All rails, and which of them is the total. `total_w` is the reading of that one rail, never a sum.

    `sum_rails` are those that are documented to be disjoint and together make `sum_scope`; `sum_w` is None unless
    each of them was read.
    """

    rails: tuple[Rail, ...]
    total_rail: str | None
    scope: str | None
    sum_rails: tuple[str, ...]
    sum_scope: str | None
    note: str

    @property
    def total_w(self) -> float | None:
        """Watts of the total rail; None where there is none or its read failed."""
        return self.watts(self.total_rail) if self.total_rail else None

    @property
    def sum_w(self) -> float | None:
        """Watts of `sum_rails` together."""
        found = [self.watts(name) for name in self.sum_rails]
        known = [watts for watts in found if watts is not None]
        return sum(known) if known and len(known) == len(found) else None

    def watts(self, name: str) -> float | None:
        """Watts of one rail; None where no rail, or more than one, has this name."""
        found = [rail.watts for rail in self.rails if rail.name == name]
        return found[0] if len(found) == 1 else None


def name_total(rails: tuple[Rail, ...], device: Device) -> Power:
    """Find the rule that fits the names of a Jetson's rails."""
    counts = Counter(rail.name for rail in rails)
    once = {name for name, count in counts.items() if count == 1}
    if not rails:
        return Power((), None, None, (), None, "no power sensor was found")
    foreign = device.chip is not None and not device.jetson
    fits = [rule for rule in RULES if _fits(rule, once, device)]
    rule = fits[0] if fits and not foreign else _UNKNOWN
    return Power(rails, rule.total, rule.scope, rule.parts, rule.parts_scope, rule.note)


def _fits(rule: Rule, names: set[str], device: Device) -> bool:
    chip = device.chip if (device.chip or "").startswith("tegra") else None
    return rule.when <= names and (not rule.chips or chip is None or chip in rule.chips)
