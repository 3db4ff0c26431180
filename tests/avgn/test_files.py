"""Whole or not at all: what stands after errors, full disks and kill -9; and strict JSON."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundle_samples import listing
from hypothesis import given, settings
from hypothesis import strategies as st

from avgn.errors import InputError
from avgn.files import interrupted, parse_json, replace_folder, write_file

posix = pytest.mark.skipif(os.name == "nt", reason="signals, limits and locks of POSIX")

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
# Dies after the first of the two renames that swap the folders.
DIE_BETWEEN = f"""
once = Path.rename
def rename(self, target):
    once(self, target)
    {DIE}
Path.rename = rename
"""


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    prelude = "import os, signal, sys\nfrom pathlib import Path\nfrom avgn.files import *\npath = sys.argv[1]\n"
    command = [sys.executable, "-c", prelude + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("data", "stored"), [(b"\x00\xff", b"\x00\xff"), ("é\n", "é\n".encode())])
def test_write_file_replaces_and_leaves_nothing_else(tmp_path: Path, data: bytes | str, stored: bytes) -> None:
    target = tmp_path / "report.json"
    target.write_bytes(b"old and longer")
    write_file(target, data)
    assert target.read_bytes() == stored
    assert listing(tmp_path) == ["report.json"]


@posix
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_file(tmp_path / "file", b"")
        with replace_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


@posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@posix
def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(InputError, match=f"{name}: is not a regular file"):
            write_file(tmp_path / name, b"")
    assert listing(tmp_path) == ["folder", "pipe"]


@pytest.mark.parametrize("path", ["missing/file", "nul\0byte", "n" * 300, "/"])
def test_impossible_paths_are_input_errors(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError):
        write_file(tmp_path / path, b"")
    with pytest.raises(InputError), replace_folder(tmp_path / path):
        pass
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "advice"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "may write to"), (errno.EACCES, "write to")]
)
def test_what_the_disk_refuses_is_said_and_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"old")

    def refuse(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match=rf"file: cannot be written .*{re.escape(os.strerror(code))}.*{advice}"):
        write_file(tmp_path / "file", b"new")
    with pytest.raises(InputError, match=rf"folder: cannot be written .*{advice}"), replace_folder(tmp_path / "folder"):
        pass
    assert listing(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == (tmp_path / "folder" / "a").read_bytes() == b"old"


@posix
def test_a_write_that_is_cut_off_leaves_the_old(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    done = python(LIMIT + "write_file(path, bytes(5000))", tmp_path / "file")
    assert "InputError" in done.stderr and "raise the limit" in done.stderr
    assert (tmp_path / "file").read_bytes() == b"old"
    assert listing(tmp_path) == ["file"]


def test_replace_folder_takes_the_place(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("one", "two"):
        with replace_folder(target) as fresh:
            assert fresh.parent == tmp_path and listing(fresh) == []
            (fresh / content).mkdir()
            (fresh / content / "file").write_text(content)
        assert listing(tmp_path) == ["model"]
        assert listing(target) == [content]


@pytest.mark.parametrize("fault", [ValueError("mine"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_an_error_in_the_body_keeps_the_old(tmp_path: Path, fault: BaseException) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "a").write_text("old")
    expected = InputError if isinstance(fault, OSError) else type(fault)
    with pytest.raises(expected), replace_folder(target) as fresh:
        (fresh / "a").write_text("new")
        raise fault
    assert (target / "a").read_text() == "old"
    assert listing(tmp_path) == ["model"]


def test_a_failing_second_rename_brings_the_old_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "a").write_text("old")
    rename = Path.rename

    def refuse_new(self: Path, to: Path) -> Path:
        if ".new-" in self.name:
            raise PermissionError(errno.EACCES, "denied")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(InputError, match="may write to"), replace_folder(target) as fresh:
        (fresh / "a").write_text("new")
    assert (target / "a").read_text() == "old"
    assert listing(tmp_path) == ["model"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"), replace_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


@posix
def test_killed_while_writing_the_old_is_whole_and_the_rest_is_cleared_later(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with replace_folder(target) as fresh:
        (fresh / "a").write_text("old")
    done = python(f"with replace_folder(path) as fresh:\n    (fresh / 'a').write_text('new')\n    {DIE}", target)
    assert done.returncode == -signal.SIGKILL
    assert (target / "a").read_text() == "old"
    assert len(listing(tmp_path)) == 2
    with replace_folder(target) as fresh:
        (fresh / "a").write_text("newer")
    assert listing(tmp_path) == ["model"]
    assert (target / "a").read_text() == "newer"


@posix
def test_killed_between_the_renames_the_old_is_put_back(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with replace_folder(target) as fresh:
        (fresh / "a").write_text("old")
    assert interrupted(target) is None
    done = python(DIE_BETWEEN + "with replace_folder(path) as fresh: pass", target)
    assert done.returncode == -signal.SIGKILL
    waiting = interrupted(target)
    assert waiting is not None and (waiting / "a").read_text() == "old"
    with pytest.raises(ValueError, match="not now"), replace_folder(target):
        assert (target / "a").read_text() == "old"
        raise ValueError("not now")
    assert listing(tmp_path) == ["model"]


@posix
def test_a_killed_write_file_is_cleared_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    done = python(f"os.fsync = lambda handle: {DIE}\nwrite_file(path, b'new')", target)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old" and len(listing(tmp_path)) == 2
    write_file(target, b"newer")
    assert listing(tmp_path) == ["file"]


@posix
def test_what_a_living_writer_holds_is_not_touched(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with replace_folder(target) as slow:
        (slow / "slow").touch()
        with replace_folder(target) as quick:
            (quick / "quick").touch()
        assert listing(slow) == ["slow"] and listing(target) == ["quick"]
    assert listing(target) == ["slow"]
    assert listing(tmp_path) == ["model"]


def test_files_that_only_look_alike_are_not_cleared(tmp_path: Path) -> None:
    alike = [".model.new-0123", ".model.new-0123456z", ".models.new-01234567", "model.new-01234567"]
    for name in alike:
        (tmp_path / name).touch()
    write_file(tmp_path / "model", b"")
    assert listing(tmp_path) == sorted([*alike, "model"])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(values)
def test_parse_json_reads_what_json_writes(value: object) -> None:
    assert parse_json(json.dumps(value).encode(), "here") == value


@settings(deadline=None)
@given(st.binary() | st.text(alphabet='{}[]",:\\0123456789eE+-.NaInfity ').map(str.encode))
def test_parse_json_raises_nothing_but_input_errors(data: bytes) -> None:
    try:
        parse_json(data, "here")
    except InputError as fault:
        assert str(fault).startswith("here: is not valid JSON")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' appears twice"),
        ("[NaN]", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("[1e999]", "1e999 is too large"),
        ("[" + "9" * 21 + "]", "is too large"),
        ("[" * 9 + "]" * 9, "deeper than 8"),
        ('{"a":' * 9 + "1" + "}" * 9, "deeper than 8"),
        ("[" * 1_000_000, "deeper than 8"),
        ('["\\" [[[[[[[[[[ ", ', "Expecting value"),
        ("[1] 2", "Extra data"),
        ("", "Expecting value"),
    ],
)
def test_parse_json_refuses(text: str, why: str) -> None:
    with pytest.raises(InputError, match=re.escape(why)):
        parse_json(text.encode(), "here", depth=8)


def test_depth_counts_brackets_outside_strings_only() -> None:
    assert parse_json(b'[[["[[[[\\"[[[[", "{{{{"]]]', "here", depth=3) == [[['[[[["[[[[', "{{{{"]]]


@pytest.mark.parametrize("text", ['"\\' * 500_000, '"' * 1_000_001, '"' + "\\\\" * 500_000, '"\\"' * 300_000 + "\\"])
def test_hostile_quotes_take_linear_time(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError):
        parse_json(text.encode(), "here")
    assert time.perf_counter() - start < 5
