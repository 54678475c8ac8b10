"""Ids in one spelling: the one in which PostgreSQL prints the column's type.

Jobs spell the same id in many ways: an upper-case UUID, ``"0898"`` or ``898.0`` for an integer. A value that cannot be
an id of the column's type becomes None; it is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

MAX_EXACT_FLOAT = 2**53
LARGEST_NUMBER = 2**63 - 1
"""Of a row of our own tables: they are numbered by a bigint."""
_INTEGER_RANGES = {"int2": 2**15, "int4": 2**31, "int8": 2**63}
_WHOLE_NUMBER = re.compile(r"\s*([+-]?\d{1,40})(?:\.0*)?\s*", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_HEX_AND_DASHES = b"0123456789abcdef-"
_DASHES = (8, 13, 18, 23)


class IdType(Protocol):
    """The spelling of ids of one column type."""

    def one(self, value: object) -> str | None:
        """The id that a JSON value spells; None where it is not an id of this type."""

    def many(self, values: Sequence[object]) -> tuple[str, ...] | None:
        """The ids that the values spell; None where any of them is not an id."""


class TextIds:
    """Text as it is. Text with blanks around it is not an id: a worker may or may not strip them."""

    def one(self, value: object) -> str | None:
        """See `IdType`."""
        if isinstance(value, str):
            usable = value and value == value.strip() and "\0" not in value and _encodable(value)
            return value if usable else None
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else None

    def many(self, values: Sequence[object]) -> tuple[str, ...] | None:
        """See `IdType`."""
        try:
            joined = "".join(values)  # type: ignore[arg-type]
        except TypeError:
            return _one_by_one(self, values)
        # Nearly all ids pass: a queue may list millions. One search for blanks in all of them is five times as cheap.
        if joined.isascii() and "\0" not in joined and joined.split(None, 1) == [joined] and all(values):
            return tuple(values)  # type: ignore[arg-type]
        return _one_by_one(self, values)


class CaselessTextIds(TextIds):
    """``citext``: the same id in upper and lower case."""

    def one(self, value: object) -> str | None:
        """See `IdType`."""
        text = super().one(value)
        return None if text is None else text.lower()

    def many(self, values: Sequence[object]) -> tuple[str, ...] | None:
        """See `IdType`."""
        return _one_by_one(self, values)


class UuidIds:
    """UUIDs in upper case, in braces, without dashes, or as ``urn:uuid:``."""

    def one(self, value: object) -> str | None:
        """See `IdType`."""
        if not isinstance(value, str):
            return None
        if _UUID.fullmatch(value):
            return value
        try:
            return str(UUID(value.strip()))
        except ValueError:
            return None

    def many(self, values: Sequence[object]) -> tuple[str, ...] | None:
        """See `IdType`."""
        try:
            joined = "".join(values)  # type: ignore[arg-type]
        except TypeError:
            return None
        if _all_canonical(joined, values):
            return tuple(values)  # type: ignore[arg-type]
        return _one_by_one(self, values)


class IntegerIds:
    """Whole numbers within the type's range, as JSON numbers or as text."""

    def __init__(self, limit: int = _INTEGER_RANGES["int8"]) -> None:
        self._limit = limit

    def one(self, value: object) -> str | None:
        """See `IdType`."""
        if isinstance(value, str):
            number = int(found[1]) if (found := _WHOLE_NUMBER.fullmatch(value)) else None
        elif isinstance(value, float):
            # From 2**53 on a float stands for several integers.
            number = int(value) if value.is_integer() and abs(value) < MAX_EXACT_FLOAT else None
        else:
            number = value if isinstance(value, int) and not isinstance(value, bool) else None
        return str(number) if number is not None and -self._limit <= number < self._limit else None

    def many(self, values: Sequence[object]) -> tuple[str, ...] | None:
        """See `IdType`."""
        if values and set(map(type, values)) == {int} and -self._limit <= min(values) and max(values) < self._limit:  # type: ignore[type-var,operator]
            return tuple(map(str, values))
        return _one_by_one(self, values)


class JobIds(NamedTuple):
    """The id types that a job's payload carries, and whether our own jobs write ids as JSON numbers."""

    campaign: IdType = TextIds()
    recipient: IdType = TextIds()
    numeric: bool = False


def id_type(type_name: str) -> IdType:
    """The spelling of a column type, by its name in the catalog."""
    if type_name in _INTEGER_RANGES:
        return IntegerIds(_INTEGER_RANGES[type_name])
    if type_name == "uuid":
        return UuidIds()
    return CaselessTextIds() if type_name == "citext" else TextIds()


def _one_by_one(ids: IdType, values: Sequence[object]) -> tuple[str, ...] | None:
    spelled = tuple(text for text in map(ids.one, values) if text is not None)
    return spelled if len(spelled) == len(values) else None


def _encodable(text: str) -> bool:
    """Return whether the text has no lone surrogate, which bytes that are not UTF-8 leave behind."""
    try:
        text.encode()
    except UnicodeError:
        return False
    return True


def _all_canonical(joined: str, values: Sequence[object]) -> bool:
    """Return whether these are UUIDs as PostgreSQL prints them; calling `UUID` on each takes 30 times as long."""
    count = len(values)
    return (
        joined.isascii()
        and set(map(len, values)) <= {36}  # type: ignore[arg-type]
        and joined.count("-") == len(_DASHES) * count
        and all(joined[place::36] == "-" * count for place in _DASHES)
        and not joined.encode().translate(None, _HEX_AND_DASHES)
    )
