"""`avgn live`: decisions on camera and microphone as it happens."""

from __future__ import annotations

import json as jsons
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from avgn.commands.options import (
    BackendOption,
    BundleOption,
    CacheOption,
    PrecisionOption,
    StreamThreadsOption,
    console,
)
from avgn.errors import MissingError, UsageError

if TYPE_CHECKING:
    from runtimes.capture.source import Source
    from runtimes.classifier import Classifier
    from runtimes.live.decision import LiveDecision, Moment
    from runtimes.live.rules import Rules

CAMERA, MIC = "0", "default"  # where nothing is asked for


def live(
    camera: Annotated[
        str | None,
        typer.Option("--camera", help="Number, device, file, rtsp, http or tcp address, or GStreamer pipeline."),
    ] = None,
    mic: Annotated[str | None, typer.Option("--mic", help="Microphone by name; default: the system's.")] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="Recording or video file instead of camera and microphone.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Replay as fast as it goes, not in real time.")] = False,
    record: Annotated[Path | None, typer.Option("--record", help="Folder for all that camera and mic give.")] = None,
    duration: Annotated[float | None, typer.Option("--duration", help="End after so many seconds.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print each decision as a line of JSON.")] = False,
    jsonl: Annotated[Path | None, typer.Option("--jsonl", help="File for a line of JSON a decision.")] = None,
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="LABEL:0.8:COMMAND", help="Run a command on a label; again for more."),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the dashboard, a web page.")] = False,
    host: Annotated[str, typer.Option("--host", help="Where to serve; beyond this machine only with a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", help="Port to serve on; 0: one that is free.")] = 8765,
    token: Annotated[
        str | None, typer.Option("--token", envvar="AVGN_TOKEN", help="What viewers must know (default: a new one).")
    ] = None,
    snippets: Annotated[float, typer.Option("--snippets", help="Snippets a second.")] = 4.0,
    decisions: Annotated[float, typer.Option("--decisions", help="Decisions a second.")] = 2.0,
    k: Annotated[int | None, typer.Option("--k", help="Focus on at most K snippets (default: the bundle's).")] = None,
    focus_rate: Annotated[float | None, typer.Option("--focus-rate", help="Focus calls a second, at most.")] = None,
    mac_rate: Annotated[float | None, typer.Option("--mac-rate", help="Billions of MACs a second, at most.")] = None,
    exit_confidence: Annotated[
        float | None,
        typer.Option("--exit", help="Answer from the glance alone from this probability on; above 1: never."),
    ] = None,
    rest: Annotated[bool, typer.Option("--rest/--no-rest", help="Glance less often while nothing stirs.")] = True,
    bundle: BundleOption = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = None,
    threads: StreamThreadsOption = 1,
    cache: CacheOption = None,
) -> None:
    """Say what camera and microphone see and hear, as it happens."""
    import avgn
    from runtimes.live.gate import IdleSettings
    from runtimes.live.rules import Rules, parse_rule
    from runtimes.live.settings import LiveSettings

    inputs = Inputs(camera, mic, replay, fast, record)
    settings = LiveSettings(
        snippets_per_second=snippets,
        decisions_per_second=decisions,
        focus_per_second=focus_rate,
        macs_per_second=None if mac_rate is None else mac_rate * 1e9,
        idle=IdleSettings() if rest else None,
        duration=duration,
    )
    classifier = avgn.load(bundle, backend, precision, k, threads, exit_confidence, cache)
    rules = Rules([parse_rule(text, classifier.labels) for text in on or []])
    with ExitStack() as stack:
        out = Outputs([rules])
        if jsonl:
            out.decisions.append(_lines(stack.enter_context(jsonl.open("w", encoding="utf-8", buffering=1))))
        address = _dashboard(classifier, (host, port, token), out, stack) if serve else ""
        _screen(json, f"avgn live, {inputs}", address, rules, out, stack)
        _run(classifier, inputs, settings, out)


@dataclass(frozen=True)
class Inputs:
    """Where picture and sound come from; UsageError for what does not go together."""

    camera: str | None
    mic: str | None
    replay: Path | None
    fast: bool
    record: Path | None

    def __post_init__(self) -> None:
        if self.replay is None and self.fast:
            raise UsageError("--fast: only a --replay can be faster than life.")
        if self.replay is not None and (self.camera or self.mic or self.record):
            raise UsageError("--replay stands for camera and microphone: leave out --camera, --mic and --record.")

    def __str__(self) -> str:
        from runtimes.capture.addresses import parse

        if self.replay:
            return self.replay.name
        camera, mic = self.devices
        # an address may hold a password
        return " and ".join(name for name in (camera and parse(camera).shown, mic) if name)

    @property
    def devices(self) -> tuple[str | None, str | None]:
        """Camera and microphone: the first of each where neither was named."""
        return (self.camera, self.mic) if self.camera or self.mic else (CAMERA, MIC)

    def open(self, classifier: Classifier) -> Source:
        """The source, not started."""
        from runtimes.capture import open_live, open_replay

        if self.replay:
            return open_replay(self.replay, classifier.config.sound, realtime=not self.fast)
        return open_live(*self.devices, classifier.config.sound, self.record)


@dataclass(frozen=True)
class Outputs:
    """Who is told of each decision, and of each snippet."""

    decisions: list[Callable[[LiveDecision], None]]
    moments: list[Callable[[Moment], None]] = field(default_factory=list)


def _run(classifier: Classifier, inputs: Inputs, settings: Any, out: Outputs) -> None:
    from runtimes.stream import Stream

    source, count = inputs.open(classifier), 0
    told: deque[Moment] = deque(maxlen=1)
    with _ended_by_signals():
        for decision in Stream(classifier, source, settings, [*out.moments, told.append]):
            count += 1
            for tell in out.decisions:
                tell(decision)
        if not count:
            raise MissingError(f"{inputs}: there was nothing to see or hear{_faults(told)}.")


def _faults(moments: Iterable[Moment]) -> str:
    devices = [device for moment in moments for device in (moment.status.picture, moment.status.sound)]
    found = [device.fault.rstrip(".") for device in devices if device.fault]
    return f" ({'; '.join(found)})" if found else ""


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C and a service manager's SIGTERM end a stream as they should: devices closed, recordings whole."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main else None
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _dashboard(classifier: Classifier, at: tuple[str, int, str | None], out: Outputs, stack: ExitStack) -> str:
    """Serve the dashboard; returns its address, which is told on standard error too."""
    from runtimes.dashboard import Dashboard

    board = stack.enter_context(Dashboard(classifier, *at))
    out.decisions.append(board.decision)
    out.moments.append(board.moment)
    print(f"avgn: dashboard at {board.address}", file=sys.stderr)
    return board.address


def _screen(json: bool, title: str, address: str, rules: Rules, out: Outputs, stack: ExitStack) -> None:
    """What is shown on standard output: lines of JSON, a view on a terminal, else a plain line a decision."""
    screen = console()
    if json:
        out.decisions.append(_lines(sys.stdout))
    elif screen.is_terminal:
        from runtimes.live.terminal import TerminalView

        view = stack.enter_context(TerminalView(screen, title, rules, address))
        out.decisions.append(view.decision)
        out.moments.append(view.moment)
    else:
        out.decisions.append(lambda decision: print(_row(decision), flush=True))


def _lines(file: TextIO) -> Callable[[LiveDecision], None]:
    def tell(decision: LiveDecision) -> None:
        file.write(jsons.dumps(decision.as_json(), ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()

    return tell


def _row(decision: LiveDecision) -> str:
    age, rest = decision.age_ms.frame, "  at rest" if decision.idle else ""
    told = "no picture" if age is None else f"{age:4.0f} ms old"
    return f"{decision.time:8.2f} s  {decision.label:<20} {decision.score:6.1%}  {told}{rest}"
