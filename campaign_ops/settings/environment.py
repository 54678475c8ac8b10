"""The environment: which file to read, and the variables that the file names. Read nowhere else."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from campaign_ops.config.yaml_tree import KeyPath, Tree
from campaign_ops.core.console import Console
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.settings.entry import check_web_address, words
from campaign_ops.settings.urls import checked_queue_url, dagster_storage_url, normal_database_url

FILE_NAME = "campaign_ops.yaml"

# `$${` is a plain `${`; what is left of `${` without a name is a slip.
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\})?")


# Five models, of which a command reads one or two: the others are not built.
_CONFIG = SettingsConfigDict(env_ignore_empty=True, defer_build=True)


class Environment(BaseSettings):
    """Variables that are read from the environment, in addition to those that the file itself names.

    Attributes:
        config: The configuration file; default: `campaign_ops.yaml` in the current directory.
        dagster_home: Dagster's directory; the last place where `campaign_ops.yaml` is looked for.
    """

    model_config = _CONFIG

    config: Path | None = Field(default=None, alias="CAMPAIGN_OPS_CONFIG")
    dagster_home: Path | None = Field(default=None, alias="DAGSTER_HOME")


class WatchEnvironment(BaseSettings):
    """Variables that only `campaign-ops watch` reads: a mistake in one stops nothing else.

    Attributes:
        dagster_webserver: The address of Dagster's webserver, which `campaign-ops watch` asks for its daemons and runs.
        dead_man_url: The address that `campaign-ops watch` calls while the sweeps of all platforms are fresh.
    """

    model_config = _CONFIG

    dagster_webserver: Annotated[str, AfterValidator(check_web_address), words("an address")] | None = Field(
        default=None, alias="CAMPAIGN_OPS_DAGSTER_WEBSERVER"
    )
    dead_man_url: Annotated[SecretStr, words("an address")] | None = Field(
        default=None, alias="CAMPAIGN_OPS_DEAD_MAN_URL"
    )


def read_watch_environment() -> WatchEnvironment:
    """The watcher's variables, validated.

    Raises:
        ConfigurationError: A variable holds what it must not. Its value is not shown: it may be a secret.
    """
    try:
        environment = WatchEnvironment()
        if environment.dead_man_url is not None:
            check_web_address(environment.dead_man_url.get_secret_value())
    except ValidationError as error:
        variable = ", ".join(str(problem["loc"][0]) for problem in error.errors())
    except ValueError:
        variable = "CAMPAIGN_OPS_DEAD_MAN_URL"
    else:
        return environment
    raise ConfigurationError("holds no address that starts with http:// or https://", where=variable)


class ConsoleEnvironment(BaseSettings):
    """The variable that makes reports link to the operator's console.

    Attributes:
        console_url: The console's base address.
    """

    model_config = _CONFIG

    console_url: Annotated[str, AfterValidator(check_web_address)] | None = Field(
        default=None, alias="CAMPAIGN_OPS_CONSOLE_URL"
    )


def read_console() -> Console | None:
    """The operator's console; None where none is configured.

    Raises:
        ConfigurationError: The variable holds no address. A caller goes on without links.
    """
    try:
        url = ConsoleEnvironment().console_url
    except ValidationError:
        what = "holds no address that starts with http:// or https://"
        raise ConfigurationError(what, where="CAMPAIGN_OPS_CONSOLE_URL") from None
    return Console(url) if url else None


class DagsterEnvironment(BaseSettings):
    """The variables that say where Dagster keeps its own runs, events and schedules.

    Attributes:
        storage_url: The PostgreSQL database of Dagster's runs and events; default: SQLite in `DAGSTER_HOME`.
        dagster_home: Dagster's directory.
    """

    model_config = _CONFIG

    storage_url: Annotated[SecretStr, words("a PostgreSQL URL")] | None = Field(
        default=None, alias="CAMPAIGN_OPS_DAGSTER_URL"
    )
    dagster_home: Path | None = Field(default=None, alias="DAGSTER_HOME")


def read_dagster_storage() -> SecretStr | Path:
    """The URL of Dagster's PostgreSQL, with the driver that Dagster needs; without one the directory for SQLite.

    Raises:
        ConfigurationError: The URL is wrong, or neither variable is set.
    """
    environment = DagsterEnvironment()
    if environment.storage_url is not None:
        try:
            return dagster_storage_url(environment.storage_url)
        except ValueError as error:
            raise ConfigurationError(str(error), where="CAMPAIGN_OPS_DAGSTER_URL") from None
    if environment.dagster_home is None:
        what, mend = "is not set, nor is CAMPAIGN_OPS_DAGSTER_URL", "export the absolute path of Dagster's directory"
        raise ConfigurationError(what, where="DAGSTER_HOME", mend=mend)
    return environment.dagster_home


def read_platform_urls(database: str, queue: str) -> tuple[SecretStr, SecretStr | None]:
    """The URLs in two variables that a person names: of a platform's database, and of its Redis where that one is set.

    Raises:
        ConfigurationError: The first is not set, one is no URL, or a URL was written instead of a variable's name.
    """
    for name in (database, queue):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            # Every process can read a URL in a command line, with its password; so it is not repeated either.
            mend = "export the URL as a variable, and write the variable's name"
            raise ConfigurationError("an option that takes the name of a variable has another text", mend=mend)
    if not os.environ.get(database):
        what, mend = "is not set", "export the platform's database URL in it, or name another with --database-url-from"
        raise ConfigurationError(what, where=database, mend=mend)
    variable = database
    try:
        database_url = normal_database_url(SecretStr(os.environ[database]))
        variable, written = queue, os.environ.get(queue, "")
        return database_url, checked_queue_url(SecretStr(written)) if written else None
    except ValueError as error:
        raise ConfigurationError(str(error), where=variable) from None


class TracingEnvironment(BaseSettings):
    """OpenTelemetry's own variables, of which its library reads more: whether there is a collector, and our name there.

    Attributes:
        endpoint: The collector's address, for everything.
        traces_endpoint: The address for traces alone.
        disabled: Switches tracing off, whatever the others say.
        service_name: How the traces name this program.
    """

    model_config = _CONFIG

    endpoint: SecretStr | None = Field(default=None, alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    traces_endpoint: SecretStr | None = Field(default=None, alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    disabled: str = Field(default="false", alias="OTEL_SDK_DISABLED")
    service_name: str = Field(default="campaign_ops", alias="OTEL_SERVICE_NAME")

    @property
    def on(self) -> bool:
        """Return whether traces are to be sent."""
        return bool(self.endpoint or self.traces_endpoint) and self.disabled.lower() != "true"


def read_tracing() -> TracingEnvironment:
    """The variables about traces."""
    return TracingEnvironment()


def find_file() -> Path:
    """The configuration file that the environment names, or the first that there is.

    Raises:
        ConfigurationError: There is none.
    """
    environment = Environment()
    if environment.config is not None:
        if not environment.config.is_file():
            what, mend = f"no such file: {environment.config}", "export the path of your campaign_ops.yaml"
            raise ConfigurationError(what, where="CAMPAIGN_OPS_CONFIG", mend=mend)
        return environment.config
    homes = [Path(), *([environment.dagster_home] if environment.dagster_home else [])]
    for home in homes:
        if (home / FILE_NAME).is_file():
            return home / FILE_NAME
    raise ConfigurationError(
        f"no configuration file: looked for {' and '.join(str(home / FILE_NAME) for home in homes)}",
        mend="copy campaign_ops.example.yaml there, or export CAMPAIGN_OPS_CONFIG with the path of yours",
    )


def fill_in(tree: Tree) -> Tree:
    """``tree`` with every ``${VARIABLE}`` and ``${VARIABLE:-default}`` filled in and marked as hidden.

    A variable that is missing or empty takes its default; without one it is a problem of the tree.
    """
    marks, problems = dict(tree.marks), dict(tree.problems)

    def fill(path: KeyPath, text: str) -> str:
        def value_of(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if match[0] == "$${":
                return "${"
            if name is None:
                slip = tree.problem(path, "holds ${ without a variable's name", "write ${NAME}, or $${ for a plain ${")
                problems.setdefault(path, slip)
                return ""
            marks[path] = replace(tree.mark(path), hidden=True)
            value = os.environ.get(name)
            if value:
                return value
            if default is None:
                what = f"environment variable {name} is {'not set' if value is None else 'empty'}"
                problems.setdefault(path, tree.problem(path, what, f"export it or write ${{{name}:-default}}"))
                return ""
            return default.removeprefix(":-")

        return _VARIABLE.sub(value_of, text)

    filled = tree.map_texts(fill)
    return Tree(filled.value, marks, problems)
