"""The processes that the files of deploy/ start: command line and variables of each."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
CONTAINERFILE = DEPLOY / "Containerfile"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").iterdir())
VALUES = DEPLOY / "helm" / "values.yaml"


@dataclass(frozen=True)
class Started:
    """One process, or one health check.

    Attributes:
        where: The file and the name in it.
        words: The command line.
        variables: What it sets in the environment, by name.
    """

    where: str
    words: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


def everything() -> Iterator[Started]:
    """All that the files start."""
    yield from in_image()
    yield from in_compose()
    yield from in_kubernetes()
    yield from in_units()
    (deployment,) = yaml.safe_load(VALUES.read_text())["dagster-user-deployments"]["deployments"]
    words = ["dagster", "api", "grpc", "--port", "3030", *deployment["dagsterApiGrpcArgs"]]
    yield Started("values.yaml", words, {one["name"]: one["value"] for one in deployment["env"]})


def in_image() -> Iterator[Started]:
    text = CONTAINERFILE.read_text()
    variables = dict(re.findall(r"^(?:ENV|   ) ([A-Z_]+)=(\S+)", text, re.MULTILINE))
    for number, words in enumerate(re.findall(r"CMD (\[.*\])", text)):
        yield Started(f"Containerfile, CMD {number + 1}", json.loads(words), variables)


def in_compose() -> Iterator[Started]:
    for name, service in yaml.safe_load(COMPOSE.read_text())["services"].items():
        for words in (service.get("command"), service.get("healthcheck", {}).get("test", ["CMD"])[1:]):
            if words and "postgres" not in service["image"]:
                yield Started(f"compose.yaml, {name}", words, service.get("environment", {}))


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    """The Kubernetes objects, with the names of their files."""
    for path in KUBERNETES:
        yield from ((path.name, document) for document in yaml.safe_load_all(path.read_text()) if "kind" in document)


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod of each object that has one."""
    for name, document in objects():
        spec = document.get("spec", {})
        spec = spec.get("jobTemplate", document).get("spec", spec)
        if "template" in spec:
            yield f"{name}, {document['metadata']['name']}", spec["template"]["spec"]


def in_kubernetes() -> Iterator[Started]:
    for where, pod in pods():
        for container in pod["containers"]:
            yield Started(where, container["args"], {one["name"]: one["value"] for one in container.get("env", [])})
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if "exec" in container.get(probe, {}):
                    yield Started(f"{where}, {probe}", container[probe]["exec"]["command"])


def unit(path: Path) -> configparser.RawConfigParser:
    """A unit of systemd; of a key that is there several times, the values in one, apart by line ends."""

    class Several(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            super().__setitem__(key, [*self[key], *value] if isinstance(value, list) and key in self else value)

    parser = configparser.RawConfigParser(dict_type=Several, strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser


def in_units() -> Iterator[Started]:
    for path in UNITS:
        if path.suffix == ".service":
            service = unit(path)["Service"]
            variables = dict(line.split("=", 1) for line in service["Environment"].split("\n"))
            yield Started(path.name, shlex.split(service["ExecStart"]), variables)
