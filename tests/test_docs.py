"""The documentation says what the program does: generated pages are as generated, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from campaign_ops.core.model import Verdict

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def generated() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: dict[str, str] = module.pages()
    return pages


@pytest.mark.parametrize("name", ["cli.md", "configuration.md", "profiles.md", "errors.md"])
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    """If this fails: ``make docs``."""
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == generated()[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_verdict_is_explained() -> None:
    page = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    for verdict in Verdict:
        assert f"| `{verdict}` |" in page


def test_the_readme_names_the_two_commands_and_real_targets() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    named = set(re.findall(r"make ([a-z-]+)", readme))
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the Makefile has no target {target}"


def test_every_promise_names_a_test_that_exists() -> None:
    """A row of docs/safety.md without a test that could break it would be a claim."""
    page = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 40
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert named, f"no test: {row[:80]}"
        for path, name in named:
            assert (ROOT / path).exists(), path
            assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"
