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


@pytest.mark.parametrize(
    "broken",
    [
        UUID[:-1] + "g",
        UUID.replace("-", "0", 1),
        BARE + "----",
        UUID[1:] + "-",
        UUID[0] + "-" + UUID[2:],
        UUID[:13] + UUID[14] + "-" + UUID[15:],
        "-".join((BARE[:9], BARE[9:13], BARE[13:17], BARE[17:21], BARE[21:])),
    ],
)
@pytest.mark.parametrize("good", [0, 1, 2])
def test_one_broken_uuid_among_good_ones_is_noticed(broken: str, good: int) -> None:
    ids = id_type("uuid")
    spelled = ids.one(broken)
    assert ids.many([*[UUID] * good, broken]) == (None if spelled is None else (*[UUID] * good, spelled))
    assert ids.many([UUID] * good) == (UUID,) * good


@pytest.mark.parametrize(
    ("type_name", "values"),
    [("text", ["", "a"]), ("int4", [2**31, 5]), ("int4", [-(2**31) - 1, 5]), ("uuid", [UUID, None])],
)
def test_one_value_that_is_no_id_spoils_all(type_name: str, values: list[object]) -> None:
    assert id_type(type_name).many(values) is None


def test_numbers_and_texts_may_be_mixed() -> None:
    assert id_type("int4").many([1, "02", 3.0]) == ("1", "2", "3")
    assert id_type("text").many(["a", 2]) == ("a", "2")
