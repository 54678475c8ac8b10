"""The site of the docs: built strictly, complete, and with nothing that a browser fetches from elsewhere."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOWHERE = "http://127.0.0.1:1"
FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//|<link\b[^>]*\bhref=[\"']?(?:https?:)?//"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by the command of `make site`; a proxy that does not answer stands before every other server."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed; the extra `docs` has it, and `make env` installs it")
    built = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(built)],
        cwd=ROOT,
        env=os.environ | {"http_proxy": NOWHERE, "https_proxy": NOWHERE, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return built


def test_every_page_is_in_the_site_and_in_its_search(site: Path) -> None:
    """A page that is not in `nav`, and a link or an anchor that leads nowhere, fail the strict build itself."""
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= {path.relative_to(site) for path in site.rglob("*.html")}
    index = json.loads((site / "search" / "search_index.json").read_text())
    found = {Path(entry["location"].partition("#")[0]) for entry in index["docs"]}
    assert pages <= found
    assert any("breaker" in entry["text"] for entry in index["docs"])


def test_a_page_fetches_nothing_from_another_server(site: Path) -> None:
    fetched = {path.name: FETCHED.findall(path.read_text()) for path in site.rglob("*.html")}
    assert {name: urls for name, urls in fetched.items() if urls} == {}
    styles = [path.read_text() for path in site.rglob("*.css")]
    assert styles
    assert not any(re.search(r"url\([\"']?(?:https?:)?//|@import", text) for text in styles)


def constants() -> set[str]:
    """Every text of the program; of one with names in it, the pieces between them."""
    modules = [
        ast.parse(path.read_text(encoding="utf-8"))
        for path in (ROOT / "campaign_ops").rglob("*.py")
        if "lab" not in path.parts
    ]
    return {
        node.value
        for module in modules
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


HEADINGS = re.findall(r"^### `(.*)`$", (ROOT / "docs" / "faq.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def texts() -> str:
    return "\0".join(constants())


@pytest.mark.parametrize("heading", HEADINGS)
def test_each_message_in_the_questions_is_one_of_the_program(heading: str, texts: str) -> None:
    pieces = [piece.strip(" ,:;") for piece in re.split("…|`, `", heading)]
    named = [piece for piece in pieces if len(piece) > 5]
    assert named, heading
    for piece in named:
        assert piece in texts, piece
