"""What is no media file is named and refused; a file may have any name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avgn.config import Config
from avgn.errors import InputError
from avgn.media import probe, read_clip
from clips import write_clip

CONFIG = Config(snippets=8, chosen=4)


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{path}\n#EXT-X-ENDLIST\n",
    "remote.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhttp://127.0.0.1:9/clip.ts\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile clip.ts\n",
    "list.txt": "ffconcat version 1.0\nfile '{path}'\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    "list.mpd": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{path}</BaseURL></MPD>",
    "notes.txt": "Only words, no picture and no sound.\n" * 100,
    "titles.srt": "1\n00:00:00,000 --> 00:00:01,000\nWords.\n",
    "meta.txt": ";FFMETADATA1\ntitle=x\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_text_and_playlists_are_refused(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / "clip.ts", 1.0, form="mpegts")
    (tmp_path / name).write_text(PLAYLISTS[name].format(path=tmp_path / "clip.ts"))
    for read in (lambda path: read_clip(path, CONFIG), probe):
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "zeros.mp4").write_bytes(bytes(10_000))
    for path in (
        tmp_path,
        tmp_path / "pipe.mp4",
        tmp_path / "empty.mp4",
        tmp_path / "zeros.mp4",
        tmp_path / "none.mp4",
    ):
        with pytest.raises(InputError, match=path.name):
            read_clip(path, CONFIG)
    for address in ("http://127.0.0.1:9/clip.mp4", "concat:a.ts|b.ts", "/dev/zero", "a\0b", "pipe:0"):
        with pytest.raises(InputError):
            read_clip(address, CONFIG)


def test_odd_names_are_files_like_any_other(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 1.0)
    for name in ("with: colon|bar.mp4", "Äpfel %05d.mp4", "-dash.mp4"):
        (tmp_path / name).write_bytes((tmp_path / "clip.mp4").read_bytes())
        assert read_clip(tmp_path / name, CONFIG).seen.all()
