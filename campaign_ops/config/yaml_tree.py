"""Plain values that remember the file and line they come from: marks, problems, and trees merged from several files.

Knows nothing of YAML, settings, profiles or the environment. Problems are collected, not raised: one bad platform
must not hide the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar, Union

from campaign_ops.core.errors import ConfigurationError

T = TypeVar("T")
KeyPath: TypeAlias = tuple[str | int, ...]
Value: TypeAlias = Union[str, int, float, bool, "list[Value]", "dict[str, Value]", None]


def dotted(path: KeyPath) -> str:
    """``("platforms", 0, "name")`` as ``platforms[0].name``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Mark:
    """The place of a value: file, line from 1 (0: no line), and key path within that file.

    ``hidden`` values come from the environment and are never shown; ``built_in`` ones ship with the program.
    """

    file: str
    line: int
    path: KeyPath = ()
    hidden: bool = False
    built_in: bool = False

    @property
    def secret(self) -> bool:
        """Whether the value must not be shown: URLs hold passwords, and values from the environment may."""
        return self.hidden or any(isinstance(step, str) and step.rpartition("_")[2] == "url" for step in self.path)

    def __str__(self) -> str:
        """``file:line: key.path``."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {dotted(self.path)}" if self.path else place


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: the place, the mistake and its fix. Holds no secret."""

    mark: Mark
    what: str
    mend: str = ""

    def __str__(self) -> str:
        """One line: ``file:line: key.path: what; mend``."""
        return str(as_error([self]))


def as_error(problems: Iterable[Problem]) -> ConfigurationError:
    """All problems as one error to raise: one line each, ordered by file and line."""
    first, *more = sorted(problems, key=lambda problem: (problem.mark.file, problem.mark.line))
    if not more:
        return ConfigurationError(first.what, where=str(first.mark), mend=first.mend)
    return ConfigurationError("\n".join(map(str, [first, *more])))


@dataclass(frozen=True)
class Tree:
    """A value with the marks of everything in it. Marks and problems are keyed by the path within ``value``.

    A ``Tree`` may be merged from several files; each mark keeps its own file and path.
    """

    value: Value
    marks: dict[KeyPath, Mark]
    problems: dict[KeyPath, Problem] = field(default_factory=dict)

    def mark(self, path: KeyPath) -> Mark:
        """The mark of ``path`` or, if it is not written, of the nearest part around it."""
        for end in range(len(path), 0, -1):
            if (mark := self.marks.get(path[:end])) is not None:
                return replace(mark, path=(*mark.path, *path[end:]))
        mark = self.marks[()]
        return replace(mark, path=(*mark.path, *path))

    def get(self, path: KeyPath) -> Value:
        """The value at ``path``; None where there is none."""
        value = self.value
        for step in path:
            if isinstance(value, dict) and isinstance(step, str):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def known(self, path: KeyPath) -> KeyPath:
        """The longest prefix of ``path`` that leads to a written value."""
        for end in range(len(path), 0, -1):
            holder, last = self.get(path[: end - 1]), path[end - 1]
            if (isinstance(holder, dict) and last in holder) or (
                isinstance(holder, list) and isinstance(last, int) and last < len(holder)
            ):
                return path[:end]
        return ()

    def problem(self, path: KeyPath, what: str, mend: str = "") -> Problem:
        """A problem at ``path``, with its mark."""
        return Problem(self.mark(path), what, mend)

    def spoiled(self, path: KeyPath, what: str, mend: str = "") -> Tree:
        """The same tree with one more problem."""
        return replace(self, problems={path: self.problem(path, what, mend)} | self.problems)

    def sub(self, path: KeyPath) -> Tree:
        """The part at ``path`` as a tree of its own."""
        size = len(path)
        marks = {key[size:]: mark for key, mark in self.marks.items() if key[:size] == path}
        problems = {key[size:]: problem for key, problem in self.problems.items() if key[:size] == path}
        return Tree(self.get(path), {(): self.mark(path), **marks}, problems)

    def items(self, path: KeyPath) -> list[Tree]:
        """The items of the list at ``path``, each as a tree of its own: `sub` for all of them, in one pass."""
        whole = self.get(path)
        values = whole if isinstance(whole, list) else []
        marks, problems = _split(self.marks, path, len(values)), _split(self.problems, path, len(values))
        return [
            Tree(value, {(): self.mark((*path, index)), **marks[index]}, problems[index])
            for index, value in enumerate(values)
        ]

    def without(self, key: str) -> Tree:
        """The same mapping without one key. Its marks stay: they show where it was removed."""
        whole = self.value if isinstance(self.value, dict) else {}
        return replace(self, value={name: value for name, value in whole.items() if name != key})

    def put(self, key: str, part: Tree) -> Tree:
        """The same mapping with ``part`` at ``key``; its former marks and problems are replaced."""
        whole = self.value if isinstance(self.value, dict) else {}
        marks = {path: mark for path, mark in self.marks.items() if path[:1] != (key,)}
        problems = {path: problem for path, problem in self.problems.items() if path[:1] != (key,)}
        return Tree(
            {**whole, key: part.value},
            marks | {(key, *path): mark for path, mark in part.marks.items()},
            problems | {(key, *path): problem for path, problem in part.problems.items()},
        )

    def over(self, base: Tree) -> Tree:
        """This tree laid over ``base``: mappings merge, lists and scalars replace, null removes a key."""
        merged = _merge(base.value, self.value)
        return Tree(merged, base.marks | self.marks, base.problems | self.problems)

    def map_texts(self, change: Callable[[KeyPath, str], Value]) -> Tree:
        """The same tree with every text replaced by ``change(path, text)``."""

        def walk(path: KeyPath, value: Value) -> Value:
            if isinstance(value, dict):
                return {key: walk((*path, key), item) for key, item in value.items()}
            if isinstance(value, list):
                return [walk((*path, index), item) for index, item in enumerate(value)]
            return change(path, value) if isinstance(value, str) else value

        return replace(self, value=walk((), self.value))


def _split(notes: dict[KeyPath, T], path: KeyPath, size: int) -> list[dict[KeyPath, T]]:
    """Notes below each of the ``size`` items of the list at ``path``, by their path within the item."""
    parts: list[dict[KeyPath, T]] = [{} for _ in range(size)]
    depth = len(path)
    for key, note in notes.items():
        index = key[depth] if len(key) > depth and key[:depth] == path else None
        if isinstance(index, int) and index < size:
            parts[index][key[depth + 1 :]] = note
    return parts


def _merge(base: Value, top: Value) -> Value:
    if not isinstance(base, dict) or not isinstance(top, dict):
        return top
    merged = {key: value for key, value in base.items() if key not in top or top[key] is not None}
    return merged | {key: _merge(base.get(key), value) for key, value in top.items() if value is not None}
