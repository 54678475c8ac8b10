"""Finds a profile by name or path and lays it over the one it extends. Reads files only, never the environment."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from campaign_ops.config.explain import validate
from campaign_ops.config.yaml_file import read_file, read_text
from campaign_ops.config.yaml_tree import Mark, Tree, as_error
from campaign_ops.core.wording import nearest
from campaign_ops.profile.model import Profile

_BUILT_IN = files("campaign_ops.profile") / "builtin"


def built_in_profiles() -> list[str]:
    """Names of the profiles that ship."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _BUILT_IN.iterdir() if entry.name.endswith(".yaml"))


def load_profile(reference: str, *, beside: Path | None = None) -> Profile:
    """Load a built-in profile by name, or a profile file by path (relative to ``beside``, else to here).

    Raises:
        ConfigurationError: With one line for each problem.
    """
    tree = Tree(reference, {(): Mark("profile", 0)})
    profile, problems = validate(Profile, resolve_profile(tree, beside=beside or Path.cwd()))
    if profile is None:
        raise as_error(problems.values())
    return profile


def resolve_profile(tree: Tree, *, beside: Path, _above: tuple[Path, ...] = ()) -> Tree:
    """Follow names, paths and ``extends`` until the profile is complete; it is not validated yet.

    Args:
        tree: A built-in name, a path to a YAML file, or a mapping with or without ``extends``.
        beside: Directory that relative paths start from.

    Returns:
        The merged mapping. A missing name or file, a file that is not YAML and one that extends itself are problems of
        the tree.
    """
    reference = tree.value
    if isinstance(reference, str):
        if reference.endswith((".yaml", ".yml")):
            return _from_file(tree, (beside / reference).resolve(), _above)
        if reference in built_in_profiles():
            return _built_in(reference)
        mend = f"{nearest(reference, built_in_profiles())} (the name of a file ends in .yaml)"
        return tree.spoiled((), f"no built-in profile{_quoted(tree)}", mend)
    if not isinstance(reference, dict):
        return tree.spoiled((), "takes the name of a built-in profile, a path to a YAML file, or a mapping")
    if "extends" not in reference:
        return tree
    base = resolve_profile(tree.sub(("extends",)), beside=beside, _above=_above)
    return tree.without("extends").over(base)


@cache  # a file with many platforms names the same one again and again
def _built_in(name: str) -> Tree:
    text = (_BUILT_IN / f"{name}.yaml").read_text(encoding="utf-8")
    return read_text(text, f"{name}.yaml (built in)", built_in=True)


def _from_file(tree: Tree, path: Path, above: tuple[Path, ...]) -> Tree:
    if path in above:
        return tree.spoiled((), "goes round in a circle back to this file", "let one of them extend a built-in profile")
    if not path.is_file():
        return tree.spoiled((), f"no such file{_quoted(tree)}", "a path is relative to the file that names it")
    return resolve_profile(read_file(path), beside=path.parent, _above=(*above, path))


def _quoted(tree: Tree) -> str:
    return "" if tree.mark(()).secret else f" {tree.value!r}"
