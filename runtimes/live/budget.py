"""How many focus calls an answer may cost: what was earned as time went by and not spent yet."""

from __future__ import annotations

from dataclasses import dataclass

from avgn.errors import UsageError


@dataclass
class _Purse:
    """Earns `rate` a second up to `most`; debts go no deeper than that, so that they can be paid."""

    rate: float
    most: float

    def __post_init__(self) -> None:
        self.left = self.most

    def earn(self, seconds: float) -> None:
        self.left = min(self.most, self.left + self.rate * seconds)

    def spend(self, amount: float) -> None:
        self.left = max(-self.most, self.left - amount)


class Budget:
    """Limits on focus calls a second, on multiply-accumulates a second, or on both; left out: no limit.

    `focus_macs` and `classify_macs` are the price of one call of each graph. A second's worth may be saved up, and a
    single call always can be, however small the rate. Time is the stream's own, so that a replay spends alike.
    Raises UsageError for a rate that is not above 0.
    """

    def __init__(
        self,
        focus_per_second: float | None = None,
        macs_per_second: float | None = None,
        focus_macs: int = 0,
        classify_macs: int = 0,
    ) -> None:
        for name, rate in (("focus calls", focus_per_second), ("MACs", macs_per_second)):
            if rate is not None and not 0 < rate < float("inf"):
                raise UsageError(f"{name} a second: {rate:g} is no budget; give a number above 0, or leave it out.")
        self._focus_macs, self._classify_macs = focus_macs, classify_macs
        self._calls = focus_per_second and _Purse(focus_per_second, max(focus_per_second, 1.0))
        single = float(focus_macs + classify_macs)
        self._macs = macs_per_second and _Purse(macs_per_second, max(macs_per_second, single))
        self._time: float | None = None

    def earn(self, time: float) -> None:
        """Note that it is `time` (seconds)."""
        passed = 0.0 if self._time is None else max(0.0, time - self._time)
        self._time = time
        for purse in (self._calls, self._macs):
            if purse:
                purse.earn(passed)

    def allows(self, calls: int) -> bool:
        """Whether `calls` focus calls, and fusing what they saw, can be paid."""
        # a hair of slack: ten times a tenth is less than one
        return not (self._calls and calls > self._calls.left + 1e-6) and not (
            self._macs and calls * self._focus_macs + self._classify_macs > self._macs.left + 1e-6
        )

    def spend(self, calls: int, macs: int) -> None:
        """Pay for `calls` focus calls and for `macs` of all graphs, glances included."""
        if self._calls:
            self._calls.spend(calls)
        if self._macs:
            self._macs.spend(macs)
