"""Reads YAML and keeps its line numbers. Duplicate keys are problems; no problem ever quotes the file.

Works on PyYAML's nodes: the plain loaders keep the last of two equal keys and drop line numbers.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from campaign_ops.config.yaml_tree import KeyPath, Mark, Problem, Tree, Value

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_FEW_BRACKETS, _LONG_LINE = 500, 1_000
MOST_VALUES = 50_000  # aliases of aliases multiply: 300 bytes took 1.1 GB
_SCALARS = {_TEXT, *(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null", "timestamp"))}


def shown(path: Path) -> str:
    """``path`` as a person would write it: relative to the current directory where it is below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def read_file(path: Path) -> Tree:
    """Read one YAML file. Missing, unreadable or not YAML: a problem of the whole tree, whose value is None."""
    name = shown(path)
    try:
        return read_text(path.read_text(encoding="utf-8-sig"), name)
    except FileNotFoundError:
        what = "no such file"
    except UnicodeDecodeError:
        what = "is not UTF-8 text"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    return Tree(None, {(): Mark(name, 0)}).spoiled((), what)


def read_text(text: str, file: str, *, built_in: bool = False) -> Tree:
    """Read YAML text; ``file`` is the name in its marks."""
    start = Mark(file, 1, built_in=built_in)
    try:
        loader, node = _compose(text)
        reader = _Reader(loader, file, built_in)
        value = reader.value(node, ()) if node is not None else None
    except yaml.YAMLError as error:
        return Tree(None, {(): start}, {(): _syntax_problem(error, text, file)})
    except RecursionError:
        return Tree(None, {(): start}, {(): Problem(start, "is nested too deeply", "no key lies that deep")})
    if reader.values > MOST_VALUES:
        what, mend = f"has more than {MOST_VALUES:,} values", "write less, and fewer aliases of aliases"
        return Tree(None, {(): start}, {(): Problem(start, what, mend)})
    return Tree(value, {(): start} | reader.marks, reader.problems)


def _compose(text: str) -> tuple[yaml.SafeLoader, yaml.Node | None]:
    """The nodes of YAML text, by libyaml where it is built in: ten times as fast, 0.2 seconds for 1,000 platforms.

    Not where brackets may be nested deeply, at which libyaml's recursion ends the process; and the words for a mistake
    are those of PyYAML's own parser.
    """
    fast = getattr(yaml, "CSafeLoader", None)
    brackets = text.count("[") + text.count("{") - text.count("${")
    if fast is not None and brackets < _FEW_BRACKETS and max(map(len, text.splitlines()), default=0) < _LONG_LINE:
        try:
            loader = fast(text)
            return loader, loader.get_single_node()
        except yaml.YAMLError:
            pass
    loader = yaml.SafeLoader(text)
    return loader, loader.get_single_node()


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    """PyYAML's own text quotes the line, including passwords: take only the reason and the line number."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Problem(Mark(file, line), "not YAML: a character that YAML does not allow")
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(Mark(file, 1), "not YAML")
    mark = error.problem_mark or error.context_mark
    reason, mend = str(error.problem), "text that begins with * & ! @ % { [ or holds ': ' or ' #' needs quotes"
    if isinstance(error, yaml.composer.ComposerError):
        reason, mend = f"{error.context or ''} {reason}".strip(), ""
    elif repr("\t") in reason:
        mend = "indent with spaces"
    return Problem(Mark(file, mark.line + 1 if mark else 1), f"not YAML: {reason}", mend)


class _Reader:
    """Turns PyYAML's nodes into plain values; records the line of each, and its problems."""

    def __init__(self, loader: yaml.SafeLoader, file: str, built_in: bool) -> None:
        self.loader, self.file, self.built_in = loader, file, built_in
        self.marks: dict[KeyPath, Mark] = {}
        self.problems: dict[KeyPath, Problem] = {}
        self.open: list[yaml.Node] = []
        self.values = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Value:
        self.values += 1
        if self.values > MOST_VALUES:
            return None
        if any(node is around for around in self.open):
            self.complain(path, self.line(path, node), "refers to a part that it is itself in", "take the alias out")
            return None
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self.sequence(node, path)
            return self.scalar(node, path)
        finally:
            self.open.pop()

    def scalar(self, node: yaml.Node, path: KeyPath) -> Value:
        if node.tag not in _SCALARS:
            what, mend = f"tag {node.tag} is not known here", "take it out, or put the value in quotes"
            self.complain(path, self.line(path, node), what, mend)
            return None
        try:
            value = self.loader.construct_object(node)
        except ValueError:  # looks like a number or a date, and is not
            value = node.value
        # YAML's dates are text to us: no setting is a date.
        return value if value is None or isinstance(value, str | int | float) else str(node.value)

    def sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Value]:
        items: list[Value] = []
        for index, item in enumerate(node.value):
            self.note((*path, index), item)
            items.append(self.value(item, (*path, index)))
        return items

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for key, part in reversed([(key, part) for key, part in node.value if key.tag == _MERGE]):
            # `<<: [*a, *b]`: the first wins, and keys written here win over both.
            for source in reversed(part.value if isinstance(part, yaml.SequenceNode) else [part]):
                merged = self.value(source, path)
                if isinstance(merged, dict):
                    values |= merged
                else:
                    line, mend = key.start_mark.line + 1, "name an anchor that is a mapping"
                    self.complain((*path, "<<"), line, "takes mappings only", mend)
        lines: dict[str, int] = {}
        for key, part in node.value:
            if key.tag == _MERGE:
                continue
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            at, line = (*path, name), key.start_mark.line + 1
            if key.tag != _TEXT:
                self.complain(at, line, "a key must be text", "put it in quotes")
            elif name in lines:
                self.complain(at, line, f"stands twice, in lines {lines[name]} and {line}", "keep one of them")
            lines.setdefault(name, line)
            self.note(at, key)
            values[name] = self.value(part, at)
        return values

    def note(self, path: KeyPath, node: yaml.Node) -> None:
        self.marks[path] = Mark(self.file, node.start_mark.line + 1, path, built_in=self.built_in)

    def line(self, path: KeyPath, node: yaml.Node) -> int:
        """The line of the key where there is one: a value behind an alias starts elsewhere."""
        return self.marks[path].line if path in self.marks else node.start_mark.line + 1

    def complain(self, path: KeyPath, line: int, what: str, mend: str) -> None:
        self.problems.setdefault(path, Problem(Mark(self.file, line, path), what, mend))
