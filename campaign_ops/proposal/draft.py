"""A draft: keys and values of a profile in order, each with a comment, and the YAML that they make."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from campaign_ops.core.wording import cut

KeyPath = tuple[str, ...]

OPEN = object()
"""The value of a mapping, whose keys follow."""
LONGEST_LINE = 140
_PLAIN = re.compile(r"[A-Za-z_][\w .-]*", re.ASCII)
# Foreign text: of these YAML takes some for the end of a line, and refuses others.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


@dataclass(frozen=True)
class _Key:
    value: object = OPEN
    note: str = ""
    unsure: bool = False


@dataclass
class Draft:
    """The draft of one platform's profile, key by key; ``queue_prefix`` is its queue's, None where it has none."""

    keys: dict[KeyPath, _Key] = field(default_factory=dict)
    queue_prefix: str | None = None

    def put(self, path: str, value: object, note: str = "", *, key: str | None = None, unsure: bool = False) -> None:
        """Set a key, such as ``campaign.table``. A mapping is written in one line.

        Args:
            path: The key with those above it, joined by dots.
            value: Its value.
            note: A comment.
            key: A key below ``path`` that is foreign, and may hold dots.
            unsure: Whether a person must look at it.
        """
        self.keys[(*path.split("."), *([] if key is None else [key]))] = _Key(value, note, unsure)

    def note(self, path: str, note: str, *, unsure: bool = False) -> None:
        """Open a mapping, with a comment."""
        self.put(path, OPEN, note, unsure=unsure)

    @property
    def unsure(self) -> list[str]:
        """The keys that a person must look at."""
        return [".".join(path) for path, key in self.keys.items() if key.unsure]

    def lines(self, indent: str) -> Iterator[str]:
        """The YAML of all keys, below this indentation."""
        for path, key in self._with_parents():
            margin = indent + "  " * (len(path) - 1)
            written = f"{margin}{scalar(path[-1])}:" + ("" if key.value is OPEN else f" {_flow(key.value)}")
            comment = f"# {'unsure: ' if key.unsure else ''}{cut(_UNSAFE.sub('?', key.note), 400)}"
            if not key.note:
                yield written
            elif len(written) + len(comment) + 2 <= LONGEST_LINE:
                yield f"{written}  {comment}"
            else:
                yield from (margin + comment, written)

    def _with_parents(self) -> Iterator[tuple[KeyPath, _Key]]:
        """The keys in an order in which every mapping is opened once, before its first key."""
        order = list(dict.fromkeys(known[:depth] for known in self.keys for depth in range(1, len(known) + 1)))
        for path in sorted(order, key=lambda path: [order.index(path[: depth + 1]) for depth in range(len(path))]):
            yield path, self.keys.get(path, _Key())


def _flow(value: object) -> str:
    """A value in one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(str(key))}: {_flow(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value) if isinstance(value, str) else json.dumps(value)


def scalar(text: str) -> str:
    """A text as YAML has it, quoted where it must be; ``${`` would be an environment variable."""
    escaped = text.replace("${", "$${")
    if _PLAIN.fullmatch(escaped) and escaped == escaped.strip() and yaml.safe_load(escaped) == escaped:
        return escaped
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(escaped, ensure_ascii=False))


def configuration(name: str, draft: Draft, *, where: str, database: str, queue: str) -> str:
    """The whole configuration file.

    Args:
        name: The platform's name.
        draft: Its profile.
        where: The database that it was drafted from.
        database: The variable with its URL.
        queue: The variable with the URL of its Redis.
    """
    lines = [
        f"# Drafted by `campaign-ops init` from {where}",
        '# Read it, above all what is marked "unsure". `campaign-ops doctor` judges it, `campaign-ops plan` shows what',
        "# a sweep would do; neither changes anything.",
        "# Every key: docs/configuration.md and docs/profiles.md.",
        "platforms:",
        f"  - name: {name}",
        f"    database_url: ${{{database}}}",
    ]
    if draft.queue_prefix is not None:
        lines += [f"    queue_url: ${{{queue}}}", f"    queue_prefix: {scalar(draft.queue_prefix)}"]
    return "\n".join([*lines, "    profile:", *draft.lines("      "), ""])
