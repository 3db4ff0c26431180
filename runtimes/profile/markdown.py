"""Titled tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from runtimes.profile.sections import Section


def to_markdown(title: str, lead: str, sections: Sequence[Section]) -> str:
    """A document of sections under `title`."""
    parts = [f"# {_plain(title)}", _plain(lead)]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        if section.text:
            parts.append(_plain(section.text))
        if section.rows:
            parts.append(_table(section))
    return "\n\n".join(parts) + "\n"


def _table(section: Section) -> str:
    rule = ["---" if column < section.numbers else "---:" for column in range(len(section.header))]
    rows = [section.header, tuple(rule), *section.rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)


def _cell(text: str) -> str:
    return _plain(text).replace("|", r"\|")


def _plain(text: str) -> str:
    """One line, without what Markdown would take for HTML."""
    return " ".join(text.replace("<", "&lt;").split())
