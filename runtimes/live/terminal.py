"""The stream in a terminal: what is recognised, how it came to it, and how the devices are."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runtimes.capture.source import GIVING, State
from runtimes.live.decision import LiveDecision, Moment
from runtimes.live.gate import QUIETEST
from runtimes.live.rate import Rate
from runtimes.live.rules import Rules
from runtimes.live.temperature import Thermometer

BARS = " ▁▂▃▄▅▆▇█"
METER = 24  # cells
SNIPPET = 3  # cells a snippet


class TerminalView:
    """Enter it, and call it with each LiveDecision and, as a watcher of the stream, with each Moment."""

    def __init__(self, console: Console, title: str, rules: Rules | None = None, address: str = "") -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._title, self._rules, self._address = title, rules, address
        self._decision: LiveDecision | None = None
        self._moment: Moment | None = None
        self._focus, self._focus_rate = Rate(), 0.0
        self._thermometer = Thermometer()
        self._degrees: float | None = None

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, fault, trace)

    def moment(self, moment: Moment) -> None:
        """Show a snippet's own news: level, states, drops."""
        self._moment = moment
        self._live.update(self.shown(), refresh=True)

    def decision(self, decision: LiveDecision) -> None:
        """Remember an answer; it is shown with the next moment."""
        self._decision = decision
        self._focus_rate = self._focus.add(decision.time, decision.new_focus)
        self._degrees = self._thermometer(decision.time)

    def shown(self) -> Panel:
        """All there is to see now."""
        parts: list[Text | Table] = []
        if self._moment:
            parts.append(_devices(self._moment))
        if self._decision:
            parts += [Text(), _top(self._decision), Text(), *_saliency(self._decision), Text()]
            parts.append(self._figures(self._decision))
        else:
            parts.append(Text("waiting for something to see or hear", style="dim"))
        title, below = Text(self._title, style="bold"), Text(self._address, style="cyan") if self._address else None
        return Panel(Group(*parts), title=title, title_align="left", subtitle=below, subtitle_align="left")

    def _figures(self, decision: LiveDecision) -> Table:
        age, dropped, skipped = decision.age_ms, decision.dropped, decision.skipped
        rows = [
            ("age of the answer", f"frame {_ms(age.frame)}, sound {_ms(age.sound)}"),
            ("sound behind picture", f"{decision.av_offset_ms:+.0f} ms, drift {decision.drift_ppm:+.0f} ppm"),
            ("dropped", f"{dropped.frames} frames, {dropped.sound_ms:.0f} ms of sound"),
            ("left out, late", f"{skipped.snippets} snippets, {skipped.hops} decisions"),
            ("focus", f"{decision.new_focus} new of {decision.k}, {self._focus_rate:.1f} a second"),
            ("work", f"{decision.macs / 1e9:.2f} GMACs, " + _stages(decision)),
        ]
        if self._degrees is not None:
            rows.append(("temperature", f"{self._degrees:.0f} °C"))
        if self._rules:
            rows.append(("events", f"{self._rules.fired} run, {self._rules.held_back} held back"))
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        return table


def _devices(moment: Moment) -> Text:
    text = Text()
    for name, device in (("camera", moment.status.picture), ("microphone", moment.status.sound)):
        style = "green" if device.state in GIVING else "dim" if device.state is State.OFF else "red"
        text.append(f"{name} ").append(device.state.value, style=style)
        text.append(f" ({device.fault})" if device.fault else "", style="red").append("   ")
    if moment.level is not None:
        filled = round(METER * (1 - moment.level / QUIETEST))
        text.append("█" * filled, style="green").append("·" * (METER - filled), style="dim")
        text.append(f" {moment.level:.0f} dBFS   ")
    return text.append("at rest" if moment.idle else "", style="yellow")


def _top(decision: LiveDecision) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    for place, scored in enumerate(decision.top):
        style = "bold green" if place == 0 else ""
        bar = "█" * round(30 * scored.score) or "▏"
        table.add_row(*(Text(cell, style=style) for cell in (scored.label, f"{scored.score:6.1%}", bar)))
    return table


def _saliency(decision: LiveDecision) -> list[Text]:
    """A bar a snippet from the least to the most salient, and marks under those that were focused on."""
    there = [value for value, time in zip(decision.saliency, decision.times, strict=True) if time is not None]
    low, high = min(there), max(there)
    step = (len(BARS) - 2) / (high - low) if high > low else 0.0
    bars, marks = Text("saliency  "), Text("focused   ")
    for place, (value, time) in enumerate(zip(decision.saliency, decision.times, strict=True)):
        chosen = place in decision.selected
        bar = BARS[0] if time is None else BARS[1 + round((value - low) * step)]
        bars.append(bar * (SNIPPET - 1) + " ", style="green" if chosen else "blue")
        marks.append(("▲" if chosen else "·").ljust(SNIPPET), style="green" if chosen else "dim")
    if decision.exited:
        marks.append("the glance's own answer", style="dim")
    return [bars, marks]


def _stages(decision: LiveDecision) -> str:
    return "  ".join(f"{stage} {ms:.1f}" for stage, ms in decision.timings_ms.items()) + " ms"


def _ms(milliseconds: float | None) -> str:
    return "never" if milliseconds is None else f"{milliseconds:.0f} ms"
