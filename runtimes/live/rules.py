"""Events: a command is run when a label is seen for sure. No shell, no waiting, no second run while one goes on."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from avgn.errors import UsageError
from runtimes.live.decision import LiveDecision

CONFIRM = 2  # decisions in a row: one alone may be a slip
REARM = 2.0  # seconds below the threshold until the same event may come again


@dataclass(frozen=True)
class Rule:
    """Run `command` once `label` has a probability of at least `threshold`."""

    label: str
    threshold: float
    command: tuple[str, ...]


def parse_rule(text: str, labels: Sequence[str]) -> Rule:
    """A rule from `LABEL:0.8:COMMAND`, the command split as a shell would, but not run by one.

    Raises UsageError for another form, an unknown label, a threshold outside 0..1 or a command that is not there.
    """
    # a label may hold colons: the longest one that fits is meant
    label = max((label for label in labels if text.startswith(f"{label}:")), key=len, default=None)
    if label is None:
        named = text.partition(":")[0]
        raise UsageError(f"--on {named!r}: is not a label of this bundle; it knows {', '.join(labels)}.")
    limit, _, command = text[len(label) + 1 :].partition(":")
    try:
        threshold, words = float(limit), tuple(shlex.split(command))
    except ValueError as fault:
        raise UsageError(f"--on {text!r}: cannot be read ({fault}); write LABEL:0.8:COMMAND.") from fault
    if not 0 < threshold <= 1:
        raise UsageError(f"--on {text!r}: the threshold {limit} does not lie in 0..1.")
    if not words:
        raise UsageError(f"--on {text!r}: there is no command; write LABEL:0.8:COMMAND.")
    if shutil.which(words[0]) is None:
        raise UsageError(f"--on {text!r}: the command {words[0]} is not there or may not be run.")
    return Rule(label, threshold, words)


class _Watched:
    """A rule, how long it has held or not held, and its child."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.held = 0
        self.armed = True
        self.held_last = -inf
        self.child: subprocess.Popen[bytes] | None = None

    def due(self, time: float, score: float) -> bool:
        if score < self.rule.threshold:
            self.held = 0
            self.armed = self.armed or time - self.held_last >= REARM
            return False
        self.held, self.held_last = self.held + 1, time
        due = self.armed and self.held >= CONFIRM
        self.armed = self.armed and not due
        return due

    def busy(self) -> bool:
        """Whether the child still runs; reaps it where not."""
        if self.child is not None and self.child.poll() is not None:
            self.child = None
        return self.child is not None


class Rules:
    """Feed it every decision. A rule fires when its label has held for two decisions in a row, and again only after
    two seconds below the threshold. `fired` and `held_back` (a child of the same rule still ran, or none could be
    started) count.

    The command finds AVGN_LABEL, AVGN_SCORE and AVGN_TIME in its environment, and no standard input or output.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._watched = [_Watched(rule) for rule in rules]
        self.fired = self.held_back = 0

    def __call__(self, decision: LiveDecision) -> None:
        """Start the commands whose time has come."""
        for watched in self._watched:
            busy = watched.busy()
            score = decision.scores[watched.rule.label]
            if not watched.due(decision.time, score):
                continue
            if busy or not self._start(watched, decision.time, score):
                self.held_back += 1
            else:
                self.fired += 1

    def _start(self, watched: _Watched, time: float, score: float) -> bool:
        facts = {"AVGN_LABEL": watched.rule.label, "AVGN_SCORE": f"{score:.4f}", "AVGN_TIME": f"{time:.3f}"}
        none = subprocess.DEVNULL
        try:
            watched.child = subprocess.Popen(
                watched.rule.command,
                stdin=none,
                stdout=none,
                stderr=none,
                env={**os.environ, **facts},
                start_new_session=True,  # Ctrl-C is meant for us
            )
        except OSError:
            return False
        return True

    @property
    def running(self) -> int:
        """How many commands run; those that ended are reaped."""
        return sum(watched.busy() for watched in self._watched)
