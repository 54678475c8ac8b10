"""``init``: a first configuration, drafted from the platform's database and queue, and judged by the doctor."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.wording import plural
from campaign_ops.doctor import examine
from campaign_ops.faces.cli.doctor import report_of
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.screen import Screen, line
from campaign_ops.proposal import Draft, Wish, configuration, propose
from campaign_ops.settings import connect, load_settings, read_platform_urls
from campaign_ops.settings.entry import fit_name
from campaign_ops.settings.environment import FILE_NAME
from campaign_ops.settings.shipped import DAGSTER_FILES, shipped
from campaign_ops.settings.urls import masked_database_url, name_of_database

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command("init")
def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Where to write the files; default: here.")
    ] = Path(),
    *,
    database_url_from: Annotated[
        str, typer.Option(metavar="VARIABLE", help="The environment variable with the database's URL.")
    ] = "DATABASE_URL",
    queue_url_from: Annotated[
        str, typer.Option(metavar="VARIABLE", help="The one with the URL of the queue's Redis; unset: no queue.")
    ] = "REDIS_URL",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The platform's name; default: the database's.")
    ] = None,
    schema: Annotated[str | None, typer.Option(metavar="NAME", help="Look in this schema only.")] = None,
    campaign_table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="The campaign table, where it is not recognised.")
    ] = None,
    recipient_table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="The recipient table, where it is not recognised.")
    ] = None,
    dagster: Annotated[
        bool | None,
        typer.Option("--dagster/--no-dagster", help="Write Dagster's two files too; default: if it is installed."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the configuration; write and judge nothing.")] = False,
) -> None:
    """Draft a platform's configuration from its database, and judge it.

    Reads the catalogue and, of the rows, status columns in a bounded sample; in Redis the newest jobs. Changes nothing
    in either. Proposes a built-in profile where one fits as it is, else tables, columns and words by their types,
    foreign keys, names and counts. What it is not sure of is marked in the file. Read the rest, too: a wrong word would
    repair the wrong campaigns. Then it runs the doctor on the draft.

    Writes campaign_ops.yaml and, for Dagster, dagster.yaml and workspace.yaml. The file names the variables and holds
    no password. Exits with 5 when something is marked as unsure.
    """
    url, queue_url = read_platform_urls(database_url_from, queue_url_from)
    with_dagster = find_spec("dagster") is not None if dagster is None else dagster
    files = [directory / each for each in (FILE_NAME, *(DAGSTER_FILES if with_dagster else ()))]
    if not stdout and not force and (there := [str(path) for path in files if path.exists()]):
        what, mend = f"{there[0]} exists", "give --force to overwrite it, or --stdout to print the draft"
        raise ConfigurationError(what, where="init", mend=mend)
    named = name_of(url) if name is None else name
    if not fit_name(named):
        mend = "write 1 to 31 lower-case letters, digits and underscores, beginning with a letter"
        raise ConfigurationError(f"{named!r} is no name of a platform", where="--name", mend=mend)
    draft = propose(Wish(named, url, queue_url, schema, campaign_table, recipient_table))
    where = masked_database_url(url)
    text = configuration(named, draft, where=where, database=database_url_from, queue=queue_url_from)
    screen = Screen()
    if stdout:
        screen.write(text)
    else:
        _write(files, text)
        screen.show([line(f"wrote {', '.join(map(str, files))}", style="bold"), *map(line, _unsure(draft))])
        _judge(screen, files[0])
    raise typer.Exit(ExitCode.PERSON if draft.unsure else ExitCode.DONE)


def _write(files: list[Path], text: str) -> None:
    try:
        files[0].parent.mkdir(parents=True, exist_ok=True)
        files[0].write_text(text, encoding="utf-8")
        for path in files[1:]:
            shutil.copyfile(shipped(path.name), path)
    except OSError as error:
        what, where = f"cannot be written: {error.strerror}", str(error.filename2 or error.filename)
        raise ConfigurationError(what, where=where, mend="name another directory, or --stdout") from None


def name_of(url: SecretStr) -> str:
    """A platform's name from its database's."""
    words = re.findall(r"[a-z0-9]+", name_of_database(url).lower())
    return re.sub(r"^[^a-z]+", "", "_".join(words))[:31].rstrip("_") or "platform"


def _unsure(draft: Draft) -> list[str]:
    if not draft.unsure:
        return []
    return [f"{plural(len(draft.unsure), 'key')} marked as unsure: {', '.join(draft.unsure)}"]


def _judge(screen: Screen, path: Path) -> None:
    """Show what the doctor says of the draft."""
    settings = load_settings(path).platform()
    with closing(connect(settings)) as platform:
        findings = examine(platform)
    screen.show([line(""), *report_of(settings.name, findings)])
    screen.show(
        [line(""), line("next: correct the file, `campaign-ops doctor`, `campaign-ops plan`, `campaign-ops migrate`")]
    )
