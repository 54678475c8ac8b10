"""The hook of mkdocs.yml: pages of the repository's root in the site, and links between them and docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
}
_LINK = re.compile(r"\]\(([^)#\s:]+)((?:#[^)]*)?)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root directory, and the list of decisions."""
    for name, uri in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=_LINK.sub(_from_root, text)))
    decisions = [
        (path.name, path.read_text(encoding="utf-8").partition("\n")[0])
        for path in sorted((ROOT / "docs/decisions").glob("0*.md"))
    ]
    listed = "".join(f"- [{title.removeprefix('# ')}]({name})\n" for name, title in decisions)
    files.append(File.generated(config, "decisions/index.md", content=f"# Decisions\n\n{listed}"))
    return files


def _from_root(link: re.Match[str]) -> str:
    """A link of a page of the root directory, as it is in the site; to files that the site has not, plain text."""
    target, anchor = link[1], link[2]
    if target == "docs/decisions/":
        target = "docs/decisions/index.md"
    if target.startswith("docs/"):
        return f"]({target.removeprefix('docs/')}{anchor})"
    return f"]({PAGES[target]}{anchor})" if target in PAGES else "](#)"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links of docs/ to the root directory."""
    return re.sub(r"\]\(\.\./([A-Z]+\.md)", lambda link: f"]({PAGES.get(link[1], link[1])}", markdown)
