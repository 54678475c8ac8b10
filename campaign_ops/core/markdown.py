"""Markdown from other people's text: nothing in a name, a reason or an error can break or forge it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

_MARKUP = str.maketrans({"\\": "\\\\", "|": "\\|", "<": "&lt;", "[": "\\["})
_JOINER = "\u200d"  # holds emoji together; other invisible characters can control a terminal


def plain(text: str) -> str:
    """Other people's text (names, reasons, errors) as one line: no HTML, image or link, nothing that ends a cell."""
    printable = "".join(char if char.isprintable() or char == _JOINER else " " for char in text)
    return " ".join(printable.split()).translate(_MARKUP)


def bullet(text: str, link: str = "") -> str:
    """A list item that holds nothing but a line of text, and a link of ours at its end."""
    line = plain(text)
    item = f"- \\{line}" if line[:1] in set("-+*#>~=`") else f"- {line}"
    return f"{item} {link}" if link else item


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, cell: Callable[[str], str] | None = None) -> str:
    """A Markdown table; cells cannot break out of it. ``cell`` writes one cell; other people's text without it."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(map(cell or plain, row)) + " |" for row in rows]
    return "\n".join(lines)
