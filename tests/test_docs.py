"""The documentation matches the program: generated pages, links, verdicts, promises and the map."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from campaign_ops.core.model import Verdict

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PACKAGE = ROOT / "campaign_ops"
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def generated() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: dict[str, str] = module.pages()
    return pages


GENERATED = [
    "cli.md",
    "configuration.md",
    "errors.md",
    "incidents.md",
    "metrics.md",
    "openapi.json",
    "profiles.md",
    "states.md",
]


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_as_generated(name: str) -> None:
    """If this fails: ``make docs``."""
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == generated()[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_no_command_waits_for_a_doctor_that_exits_with_0() -> None:
    """The installation said `doctor && migrate`: before `migrate` it exits with 5, so there was never a schema."""
    assert not [page.name for page in PAGES if re.search(r"campaign-ops doctor *&&", page.read_text(encoding="utf-8"))]


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


def test_every_path_and_name_on_the_map_exists() -> None:
    named = re.findall(r"`([\w./-]+(?:/|\.(?:py|lua|md|yaml|toml|json)))(?:::(\w+))?`", MAP)
    assert len(named) > 100
    for path, name in named:
        place = next((top / path for top in (PACKAGE, ROOT) if (top / path).exists()), None)
        assert place is not None, path
        defined = rf"\b(?:def|class) {name}\b|^{name}\b.* = "
        assert not name or re.search(defined, place.read_text(encoding="utf-8"), re.MULTILINE), f"{path}::{name}"


def test_every_room_is_on_the_map() -> None:
    rooms = {f"{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.name for path in PACKAGE.glob("[!_]*.py")}
    table = MAP.partition("## Rooms")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == rooms


def test_the_map_has_the_arrows_and_contracts_that_are_held() -> None:
    section = MAP.partition("## Arrows")[2].partition("\n## ")[0]
    (layers,) = [contract["layers"] for contract in CONTRACTS if contract["type"] == "layers"]
    drawn = section.split("```")[1].split("\n")[1:-1]
    assert drawn == [layer.replace("campaign_ops.", "") for layer in layers]
    assert re.findall(r"^- (.*)$", section, re.MULTILINE) == [contract["name"] for contract in CONTRACTS]
