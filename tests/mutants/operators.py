"""The changes: what can be altered in a function, one place at a time."""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

Change = Callable[[Any], object]

_OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "and_": "or_", "or_": "and_", "ceil": "floor"}
_CONDITIONS = {"where", "and_", "or_", "having", "filter"}
_NO_EFFECT = {"log", "doing", "super"}
_LUA = {
    " < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", "==": "~=", "~=": "==",
    " and ": " or ", " or ": " and ", "not ": "", "true": "false", "false": "true",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change.

    ``path`` is relative to the checkout. ``function`` is the qualified name of the outermost function around it, empty
    in a Lua script. ``lines`` are those of the statement around it, without the statements inside. ``number`` tells
    equal changes of one function apart. ``tree`` makes the module with the change; ``text`` is the script with it.
    """

    path: str
    lines: range
    function: str
    what: str
    number: int = 1
    tree: Callable[[], ast.Module] | None = None
    text: str = ""

    @property
    def name(self) -> str:
        """Its name, which stays when other lines of the file change."""
        more = f" ({self.number})" if self.number > 1 else ""
        return f"{self.path.removeprefix('campaign_ops/')} {self.function}: {self.what}{more}"

    def __str__(self) -> str:
        return f"{self.name}, line {self.lines.start}"


def mutants(root: Path, path: str) -> Iterator[Mutant]:
    """All mutants of the functions of one module, or of one Lua script, in the order of its lines."""
    source = (root / path).read_text(encoding="utf-8")
    made = _of_lua(path, source) if path.endswith(".lua") else _of_python(path, ast.parse(source))
    before: Counter[str] = Counter()
    for mutant in made:
        before[mutant.name] += 1
        yield replace(mutant, number=before[mutant.name])


def _of_python(path: str, tree: ast.Module) -> Iterator[Mutant]:
    for function, name in _functions(tree.body, ""):
        for node, lines in _altered_in(function):
            for what, change in _changes(node):
                yield Mutant(path, lines, name, what, tree=partial(_changed, tree, node, change))


def _changed(tree: ast.Module, node: ast.AST, change: Change) -> ast.Module:
    memo: dict[int, Any] = {}
    changed = copy.deepcopy(tree, memo)
    there = memo[id(node)]
    if change(there) is False:
        _replace(changed, there, ast.Pass())
    return ast.fix_missing_locations(changed)


def _functions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[ast.AST, str]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}.")


def _altered_in(function: ast.AST) -> Iterator[tuple[ast.AST, range]]:
    """The nodes of a function's body, without texts, log lines, annotations and defaults; with their lines."""
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    waiting: list[tuple[ast.AST, range]] = [(node, range(0)) for node in reversed(function.body)]
    while waiting:
        node, lines = waiting.pop()
        if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            lines = _own_lines(node)
        silent = isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[0] in _NO_EFFECT
        if silent or isinstance(node, ast.JoinedStr | ast.Assert | ast.arguments):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.keyword) and node.arg == "strict":  # of zip: it asserts, as `assert` does
            continue
        yield node, lines
        annotation = getattr(node, "annotation", None)
        waiting += [(child, lines) for child in [*ast.iter_child_nodes(node)][::-1] if child is not annotation]


def _own_lines(node: ast.stmt | ast.excepthandler | ast.match_case) -> range:
    """The lines of a statement, without those of the statements inside it."""
    first = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
    last = node.body[-1].end_lineno if isinstance(node, ast.match_case) else node.end_lineno
    inside = [child.lineno for child in ast.walk(node) if isinstance(child, ast.stmt) and child is not node]
    return range(first, max(first + 1, min(inside, default=(last or first) + 1)))


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:  # noqa: PLR0912 - a case for each operator
    """Descriptions with what makes the change to a copy of the node; False asks to remove the statement."""
    old = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
    short = " ".join(old.split())[:90]
    match node:
        case ast.Compare(ops=ops):
            for number, op in enumerate(ops):
                yield f"{short}: {type(op).__name__} is {_OTHER[type(op)].__name__}", _set_op(number, _OTHER[type(op)])
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _OTHER:
            yield f"{short}: {type(op).__name__} is {_OTHER[type(op)].__name__}", _set(op=_OTHER[type(op)]())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            plain = ast.Call(ast.Name("bool", ast.Load()), [operand], [])
            yield f"{short}: without not", _set(op=ast.UAdd(), operand=plain)
        case ast.Constant(value=bool(value)):
            yield f"{value} is {not value}", _set(value=not value)
        case ast.Constant(value=int(value) | float(value)):
            yield f"{value} is {value + 1}", _set(value=value + 1)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare):
            name = " ".join(ast.unparse(test).split())[:90]
            yield f"if {name}: negated", _set(test=ast.UnaryOp(ast.Not(), test))
        case ast.comprehension(ifs=[_, *_]):
            yield f"in {ast.unparse(node.iter)[:60]}: no condition", _set(ifs=[])
        case ast.Expr(value=ast.Call() | ast.Yield(value=ast.Call())) | ast.Raise() | ast.Continue() | ast.Break():
            if not (isinstance(node, ast.Expr) and ast.unparse(node.value).split(".")[0].split("(")[0] in _NO_EFFECT):
                yield f"{short}: removed", lambda _: False
        case ast.AugAssign():
            yield f"{short}: removed", lambda _: False
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _CONDITIONS and len(node.args) > 1:
            for number, argument in enumerate(node.args):
                yield f"{name}(…): without {' '.join(ast.unparse(argument).split())[:80]}", _without(number)
        elif name in _CONDITIONS and node.args and isinstance(node.func, ast.Attribute) and name not in ("and_", "or_"):
            yield f"without {name}({' '.join(ast.unparse(node.args[0]).split())[:80]})", _no_condition
        if name in _NAMES:
            yield f"{short}: {name} is {_NAMES[name]}", _renamed(_NAMES[name])


def _set(**fields: object) -> Change:
    def change(node: Any) -> None:
        for name, value in fields.items():
            setattr(node, name, copy.deepcopy(value))

    return change


def _set_op(number: int, op: type[ast.AST]) -> Change:
    def change(node: Any) -> None:
        node.ops[number] = op()

    return change


def _without(number: int) -> Change:
    def change(node: Any) -> None:
        del node.args[number]

    return change


def _no_condition(node: Any) -> None:
    """`query.where(x)` becomes `query.where()`, which SQLAlchemy takes for no condition."""
    node.args = []


def _renamed(name: str) -> Change:
    def change(node: Any) -> None:
        if isinstance(node.func, ast.Attribute):
            node.func.attr = name
        else:
            node.func = ast.Name(name, ast.Load())

    return change


def _replace(tree: ast.AST, old: ast.AST, new: ast.stmt) -> None:
    for parent in ast.walk(tree):
        for _, value in ast.iter_fields(parent):
            if isinstance(value, list) and any(item is old for item in value):
                value[:] = [new if item is old else item for item in value]


def _of_lua(path: str, source: str) -> Iterator[Mutant]:
    lines = source.splitlines(keepends=True)
    for number, line in enumerate(lines):
        code = line.partition("--")[0]
        for old, new in _LUA.items():
            for at in [place.start() for place in re.finditer(re.escape(old), code)]:
                changed = line[:at] + new + line[at + len(old) :]
                text = "".join([*lines[:number], changed, *lines[number + 1 :]])
                what = f"{' '.join(code.split())[:80]}: {old.strip()} is {new.strip()}"
                yield Mutant(path, range(number + 1, number + 2), "", what, text=text)
