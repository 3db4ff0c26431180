"""The simulated room, for all tests of capture: `import scenery`. And real devices, where they can be had."""

import sys
from pathlib import Path

import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def station():
    """A network camera that is not on air yet."""
    from equipment import Station

    made = Station()
    yield made
    made.go_off_air()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A sound server that PortAudio finds."""
    from equipment import SoundServer

    made = SoundServer(tmp_path, monkeypatch)
    made.start()
    try:
        made.check()
        yield made
    finally:
        made.stop()
