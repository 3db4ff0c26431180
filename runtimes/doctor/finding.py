"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How something is."""

    OK = "ok"
    ABSENT = "absent"
    """Not there, which is no fault: nobody needs everything."""
    DOUBT = "doubt"
    """Works as far as is known, but slower, or in a combination that was not tried."""
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and the command that mends it ("" where there is none).

    `stops` marks a problem without whose end no decision can be made on this machine.
    """

    area: str
    name: str
    state: State
    says: str
    mend: str = ""
    stops: bool = False
