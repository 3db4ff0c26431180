"""How a stream runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from avgn.errors import UsageError
from runtimes.live.gate import IdleSettings


@dataclass(frozen=True)
class LiveSettings:
    """Snippets and decisions a second (the first a whole multiple of the second), limits, rest; UsageError if not so.

    `focus_per_second` and `macs_per_second` are budgets: where they do not reach, fewer snippets are focused on.
    `idle`: None never rests. `duration`: seconds after which the stream ends; None never.
    """

    snippets_per_second: float = 4.0
    decisions_per_second: float = 2.0
    focus_per_second: float | None = None
    macs_per_second: float | None = None
    idle: IdleSettings | None = field(default_factory=IdleSettings)
    duration: float | None = None

    def __post_init__(self) -> None:
        rates = (self.snippets_per_second, self.decisions_per_second)
        if not all(0 < rate <= 100 for rate in rates):
            raise UsageError(f"snippets and decisions a second: {rates[0]:g} and {rates[1]:g} do not lie in 0..100.")
        if self.hop < 1 or abs(self.hop - rates[0] / rates[1]) > 1e-6:
            raise UsageError(
                f"snippets a second must be a whole multiple of decisions a second, not {rates[0]:g} and {rates[1]:g}."
            )
        if self.duration is not None and not 0 < self.duration < inf:
            raise UsageError(f"duration: {self.duration:g} seconds make no sense, give more than 0.")

    @property
    def step(self) -> float:
        """Seconds from one snippet to the next."""
        return 1 / self.snippets_per_second

    @property
    def hop(self) -> int:
        """Snippets from one decision to the next."""
        return round(self.snippets_per_second / self.decisions_per_second)
