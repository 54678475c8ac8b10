"""Explains a file's mistakes from a pydantic model: line, key, mistake and the nearest right key.

Pydantic's errors are read only here. Values of ``*_url`` keys, and those from the environment, are never shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from campaign_ops.config.yaml_tree import KeyPath, Problem, Tree, Value
from campaign_ops.core.wording import nearest

M = TypeVar("M", bound=BaseModel)
Schema: TypeAlias = Mapping[str, Any]

_KINDS = {
    "string": "text",
    "path": "a path",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "object": "a mapping",
}


class KeyDoc(NamedTuple):
    """One key of a configuration file: dotted key, type in words, default as YAML (or ``required``) and meaning."""

    key: str
    type: str
    default: str
    meaning: str


def validate(model: type[M], tree: Tree) -> tuple[M | None, dict[KeyPath, Problem]]:
    """Validate ``tree`` as ``model``: the instance (None if anything is wrong) and all problems, the tree's included.

    Nothing within a part that already has a problem is reported again.
    """
    try:
        instance, errors = model.model_validate(tree.value), []
    except ValidationError as error:
        instance, errors = None, error.errors(include_url=False)
    problems = dict(tree.problems)
    for details in errors:
        path = details["loc"] if details["type"] == "missing" else tree.known(details["loc"])
        if not any(path[:end] in problems for end in range(len(path) + 1)):
            problems[path] = _problem(model, tree, path, details)
    return (None if problems else instance), problems


def describe(model: type[BaseModel], prefix: str = "") -> Iterator[KeyDoc]:
    """Every key of ``model`` and its parts, in order, with its meaning from the docstrings."""
    meanings = _meanings(model)
    schema = _Schema(model)
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield KeyDoc(prefix + key, schema.words(schema.at((key,))), _default(field), meanings[name])
        if (part := _part(field)) is not None:
            each = "[]" if get_origin(field.annotation) is tuple else ""
            yield from describe(part, f"{prefix}{key}{each}.")


def _problem(model: type[BaseModel], tree: Tree, path: KeyPath, details: ErrorDetails) -> Problem:
    kind, mark = details["type"], tree.mark(path)
    if kind == "value_error":
        return Problem(mark, _redacted(tree, path, str(details["ctx"]["error"])))
    schema = _Schema(model)
    if kind == "extra_forbidden":
        return Problem(mark, "no such key", nearest(str(path[-1]), schema.at(path[:-1]).get("properties", {})))
    wanted = schema.at(path)
    if kind == "missing":
        return Problem(mark, "is missing", f"it takes {schema.words(wanted)}")
    if mark.secret:
        return Problem(mark, f"takes {schema.words(wanted)}")
    value = tree.get(path)
    mend = ""
    if kind in {"literal_error", "enum"}:
        mend = nearest(str(value), schema.resolve(wanted).get("enum", ()), or_all=False)
    elif kind == "string_type" and isinstance(value, bool | int | float):
        mend = "put it in quotes"
    return Problem(mark, f"takes {schema.words(wanted)}, not {_shown(value)}", mend)


def _redacted(tree: Tree, path: KeyPath, text: str) -> str:
    """A model's own message, which quotes values, without those that must not be shown."""
    for below, mark in tree.marks.items():
        if mark.secret and below[: len(path)] == path:
            text = text.replace(repr(tree.get(below)), "'***'")
    return text


def _part(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is itself a model, optional or not."""
    for choice in (field.annotation, *get_args(field.annotation)):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None


def _shown(value: Value) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, str) and "://" in value:
        return "a URL"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return "see below"
    return json.dumps(default)


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The ``Attributes:`` section of a docstring, as name -> text."""
    section = (model.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^ {8}(\w+): (.+(?:\n {12}.+)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


class _Schema:
    """A model's JSON schema, read by key path: the values allowed there, in words."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.root = model.model_json_schema()
        self.parts = self.root.get("$defs", {})

    def resolve(self, schema: Schema) -> Schema:
        """Follow a reference; keys beside it win."""
        if "$ref" not in schema:
            return schema
        return {**self.parts[schema["$ref"].rpartition("/")[2]], **schema}

    def at(self, path: KeyPath) -> Schema:
        """The schema of the values allowed at ``path``; empty where none is."""
        schema: Schema = self.root
        for step in path:
            choices = [self.resolve(choice) for choice in schema.get("anyOf", [schema])]
            schema = next(filter(None, (_step(choice, step) for choice in choices)), {})
            schema = self.resolve(schema)
        return schema

    def words(self, schema: Schema) -> str:
        """The values that a schema takes, in words: ``a whole number from 1 to 100``."""
        schema = self.resolve(schema)
        if "words" in schema:
            return str(schema["words"])
        if "anyOf" in schema:
            *most, last = dict.fromkeys(self.words(choice) for choice in schema["anyOf"])
            return f"{', '.join(most)} or {last}" if most else last
        if "enum" in schema:
            return "one of " + ", ".join(schema["enum"])
        kind = schema.get("type", "object")
        if kind == "array":
            return f"a list of {self.words(schema['items'])}" + (", at least one" if "minItems" in schema else "")
        if "maxLength" in schema:
            return f"text of 1 to {schema['maxLength']} characters"
        return _KINDS[schema.get("format", kind)] + _range(schema)


def _step(schema: Schema, step: str | int) -> Schema | None:
    if isinstance(step, int):
        return cast("Schema | None", schema.get("items"))
    inner = schema.get("properties", {}).get(step, schema.get("additionalProperties"))
    return inner if isinstance(inner, dict) else None


def _range(schema: Schema) -> str:
    above, low, high = (_number(schema.get(key)) for key in ("exclusiveMinimum", "minimum", "maximum"))
    if above:
        return f" above {above}" + (f", at most {high}" if high else "")
    return (f" from {low}" if low else "") + (f" to {high}" if high else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{int(value) if value == int(value) else value:,}"
