"""Rules of the code's layout that import contracts cannot hold: where SQL is written, and strings that name the lab."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import campaign_ops

PACKAGE = Path(campaign_ops.__file__).parent
NO_STATEMENT = {"Column", "Connection", "Row", "Table", "Text", "URL", "Update", "make_url"}
NO_STATEMENT_MODULES = {"sqlalchemy.dialects", "sqlalchemy.exc"}


def product(*, without: tuple[str, ...]) -> Iterator[tuple[str, ast.Module]]:
    """The modules outside these rooms, by path."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if place.parts[0] not in without:
            yield str(place), ast.parse(path.read_text(encoding="utf-8"))


def statements(tree: ast.Module) -> Iterator[str]:
    """What SQL could be written with: anything of SQLAlchemy but types, under its usual name or another."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of_sqlalchemy = isinstance(node.value, ast.Name) and node.value.id == "sa"
            if (of_sqlalchemy and node.attr not in NO_STATEMENT) or node.attr == "exec_driver_sql":
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Import):
            yield from (
                f"line {node.lineno}: {alias.name} as {alias.asname}"
                for alias in node.names
                if alias.name.partition(".")[0] == "sqlalchemy" and alias.asname != "sa"
            )
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.partition(".")[0] == "sqlalchemy" and module not in NO_STATEMENT_MODULES:
                yield f"line {node.lineno}: from {module}"


def test_sql_is_written_in_postgres_and_journal_only() -> None:
    """Six other modules had statements of their own once, and "who writes to this table?" had no answer."""
    written = {
        place: found
        for place, tree in product(without=("lab", "postgres", "journal"))
        if (found := [*statements(tree)])
    }
    assert written == {}


@pytest.mark.parametrize(
    "line",
    [
        "import sqlalchemy as sa; sa.select(1)",
        "connection.exec_driver_sql('SELECT 1')",
        "from sqlalchemy import text",
        "from sqlalchemy.dialects.postgresql import insert",
        "import sqlalchemy",
    ],
)
def test_sql_elsewhere_would_be_noticed(line: str) -> None:
    assert list(statements(ast.parse(line)))


def test_no_string_of_the_product_names_the_lab() -> None:
    """Import contracts do not see a module that is loaded by its name, as the drill's commands were."""
    named = {
        f"{place}:{node.lineno}"
        for place, tree in product(without=("lab",))
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "campaign_ops.lab" in node.value
    }
    assert named == set()
