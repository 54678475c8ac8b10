"""The same id in every spelling that jobs have for it, and what is no id of the column's type."""

from __future__ import annotations

import pytest

from campaign_ops.core.ids import id_type

UUID = "0a1b2c3d-0000-4000-8000-00000000000f"
BARE = UUID.replace("-", "")


@pytest.mark.parametrize(
    ("type_name", "value", "spelled"),
    [
        ("text", "c1", "c1"),
        ("text", "C1", "C1"),
        ("text", 41, "41"),
        ("text", " c1", None),
        ("text", "c1\n", None),
        ("text", "", None),
        ("text", "  ", None),
        ("text", "a\0b", None),
        ("text", "r\udcff", None),
        ("text", True, None),
        ("text", 1.0, None),
        ("text", None, None),
        ("citext", "C1", "c1"),
        ("uuid", UUID.upper(), UUID),
        ("uuid", f"{{{UUID}}}", UUID),
        ("uuid", BARE, UUID),
        ("uuid", f"urn:uuid:{UUID}", UUID),
        ("uuid", f" {UUID} ", UUID),
        ("uuid", UUID[:-1], None),
        ("uuid", 12, None),
        ("int8", "0898", "898"),
        ("int8", " 898 ", "898"),
        ("int8", "+898", "898"),
        ("int8", 898, "898"),
        ("int8", 898.0, "898"),
        ("int8", "898.0", "898"),
        ("int8", -0.0, "0"),
        ("int8", 898.5, None),
        ("int8", float(2**53), None),
        ("int8", "8_98", None),
        ("int8", "٨٩٨", None),
        ("int8", "898n", None),
        ("int8", 2**63, None),
        ("int8", True, None),
        ("int4", 2**31, None),
        ("int4", -(2**31), str(-(2**31))),
        ("int2", "32768", None),
    ],
)
def test_ids_are_spelled_as_the_column_prints_them(type_name: str, value: object, spelled: str | None) -> None:
    ids = id_type(type_name)
    assert ids.one(value) == spelled
    assert ids.many([value]) == (None if spelled is None else (spelled,))
    assert ids.many([]) == ()


@pytest.mark.parametrize("broken", [UUID[:-1] + "g", UUID.replace("-", "0", 1), BARE + "----", UUID[1:] + "-"])
def test_one_broken_uuid_among_good_ones_is_noticed(broken: str) -> None:
    assert id_type("uuid").many([UUID, UUID, broken]) in (None, (UUID, UUID, id_type("uuid").one(broken)))
    assert id_type("uuid").many([UUID, UUID]) == (UUID, UUID)


def test_numbers_and_texts_may_be_mixed() -> None:
    assert id_type("int4").many([1, "02", 3.0]) == ("1", "2", "3")
    assert id_type("text").many(["a", 2]) == ("a", "2")
