"""Mutants are what they say, and no more than one change each."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.mutants.equivalents import EQUIVALENT
from tests.mutants.operators import mutants

SOURCE = '''
import sqlalchemy as sa


def late(age, limit=3, *, strict=True):
    """Not changed: this text, the defaults, the message."""
    if not strict and age > limit:
        raise ValueError(f"{age + 1} is late")
    return sa.select(sa.literal(1)).where(age < 2, limit > 0)
'''
ROOT = Path(__file__).resolve().parents[2]


def changed(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "late.py").write_text(SOURCE)
    found = list(mutants(tmp_path, "late.py"))
    assert {mutant.function for mutant in found} == {"late"}
    assert len({mutant.name for mutant in found}) == len(found)
    return {mutant.what: ast.unparse(mutant.tree()) for mutant in found if mutant.tree is not None}


def test_each_operator_condition_and_number_is_changed_alone(tmp_path: Path) -> None:
    texts = changed(tmp_path)
    assert "if not strict or age > limit" in texts["not strict and age > limit: And is Or"]
    assert "if not strict and age >= limit" in texts["age > limit: Gt is GtE"]
    assert ".where(limit > 0)" in texts["where(…): without age < 2"]
    assert ".where(age < 2)" in texts["where(…): without limit > 0"]
    assert "age < 3" in texts["2 is 3"]
    assert "pass" in texts["raise ValueError(f'{age + 1} is late'): removed"]
    whole = ast.unparse(ast.parse(SOURCE))
    assert all(text != whole for text in texts.values())
    assert all(
        "limit=3, *, strict=True" in text and "{age + 1} is late" in text
        for what, text in texts.items()
        if "removed" not in what
    )


def test_what_is_listed_as_equivalent_is_still_a_mutant_and_has_a_reason() -> None:
    files = {name.partition(" ")[0] for name in EQUIVALENT}
    names = {mutant.name for file in files for mutant in mutants(ROOT, f"campaign_ops/{file}")}
    assert EQUIVALENT.keys() <= names, EQUIVALENT.keys() - names
    assert all(EQUIVALENT.values())
