"""What the tests of bundles share."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_samples import write_sample


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A bundle of small graphs of any bytes."""
    return write_sample(tmp_path / "tiny.avgn")
