"""Reads the configuration file and validates every platform by itself. Nothing is connected to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from campaign_ops.config.explain import validate
from campaign_ops.config.yaml_file import read_file
from campaign_ops.config.yaml_tree import Problem, Tree, as_error
from campaign_ops.core.wording import nearest
from campaign_ops.profile.load import resolve_profile
from campaign_ops.settings.entry import PlatformEntry, fit_name
from campaign_ops.settings.environment import fill_in, find_file
from campaign_ops.settings.model import BrokenPlatform, PlatformSettings, Settings
from campaign_ops.settings.notify import read_notify
from campaign_ops.settings.urls import prisma_schema
from campaign_ops.watch.channels import Notify

_SECTIONS = ("platforms", "notify")


def load_settings(path: Path | None = None) -> Settings:
    """Read and validate the configuration.

    Args:
        path: The file; else ``CAMPAIGN_OPS_CONFIG``, else ``campaign_ops.yaml`` here or in ``DAGSTER_HOME``.

    Raises:
        ConfigurationError: The file is missing, is not YAML or has no platforms. Mistakes within a platform do not
            raise: it is among ``broken``, and the others go on; those in ``notify`` are in its ``error``.
    """
    path = path or find_file()
    platforms: list[PlatformSettings] = []
    broken: list[BrokenPlatform] = []
    tree = read_file(path)
    for name, written in _named(_entries(tree)):
        entry, problems = validate(PlatformEntry, _completed(written, beside=path.absolute().parent))
        if entry is None:
            broken.append(BrokenPlatform(name, as_error(problems.values())))
        else:
            settings = entry.settings()
            if (first := next((one for one in platforms if _same_table(one, settings)), None)) is None:
                platforms.append(settings)
            else:
                broken.append(BrokenPlatform(name, as_error([_watched_twice(written, settings, first)])))
    names = [*(platform.name for platform in platforms), *(platform.name for platform in broken)]
    section = tree.sub(("notify",))
    notify = Notify() if section.value is None else read_notify(fill_in(section), names)
    notify = replace(notify, where=str(section.mark(("channels",))))
    together = tuple(_together(platform, platforms, notify) for platform in platforms)
    return Settings(path, together, tuple(broken), notify)


def _together(platform: PlatformSettings, platforms: Sequence[PlatformSettings], notify: Notify) -> PlatformSettings:
    """A platform with what the rest of the file says of it."""
    others = tuple(one for one in platforms if one is not platform)
    return replace(platform, others=others, notify=notify.about(platform.name))


def _same_table(one: PlatformSettings, other: PlatformSettings) -> bool:
    """Whether two entries name the same campaign table by the same address. The doctor asks the databases, too."""
    return one.profile.tables_key == other.profile.tables_key and _place(one) == _place(other)


def _place(platform: PlatformSettings) -> tuple[object, ...]:
    """The database that a URL leads to, whatever user it names and with whatever parameters."""
    url = sa.make_url(platform.database_url.get_secret_value())
    host = url.host.casefold() if url.host else url.query.get("host")
    return (host, url.port or url.query.get("port", 5432), url.database)


def _watched_twice(written: Tree, platform: PlatformSettings, first: PlatformSettings) -> Problem:
    what = f"and campaign table {platform.profile.tables_key} are those of platform {first.name}, too"
    return written.problem(("database_url",), what, "take one of the two out; one platform can look at several queues")


def _entries(tree: Tree) -> list[Tree]:
    """The platforms as written, each by itself, with the environment filled in."""
    problems = {path: problem for path, problem in tree.problems.items() if len(path) < 2}
    keys = tree.value if isinstance(tree.value, dict) else {}
    for key in keys:
        if key not in _SECTIONS:
            problems.setdefault((key,), tree.problem((key,), "no such key", nearest(key, _SECTIONS)))
    platforms = keys.get("platforms")
    if not problems and (not isinstance(platforms, list) or not platforms):
        what, mend = "takes a list of at least one platform", "see campaign_ops.example.yaml"
        problems[("platforms",)] = tree.problem(("platforms",), what, mend)
    if problems or not isinstance(platforms, list):
        raise as_error(problems.values())
    return [fill_in(tree.sub(("platforms", index))) for index in range(len(platforms))]


def _named(entries: list[Tree]) -> Iterator[tuple[str, Tree]]:
    """Each platform with a name that is fit and its own; the second of two with the same name is spoiled."""
    lines: dict[str, int] = {}
    for entry in entries:
        lines.setdefault(str(entry.get(("name",))), entry.mark(("name",)).line)
    given: set[str] = set()
    for index, entry in enumerate(entries):
        name = entry.get(("name",))
        fit = isinstance(name, str) and fit_name(name)
        if fit and name not in given:
            given.add(str(name))
            yield str(name), entry
            continue
        spare = f"platforms_{index}"
        while spare in lines:
            spare += "_"
        twice = f"is the name of the platform in line {lines[str(name)]} too"
        yield spare, entry.spoiled(("name",), twice, "every platform needs its own") if fit else entry


def _completed(entry: Tree, *, beside: Path) -> Tree:
    """An entry with its profile in place of the profile's name, checked for what concerns two keys at once."""
    if not isinstance(entry.value, dict) or "profile" not in entry.value or ("profile",) in entry.problems:
        return entry
    profile = resolve_profile(entry.sub(("profile",)), beside=beside)
    if () in profile.problems:
        return entry.put("profile", profile)
    return _queue_agreed(entry.put("profile", _with_schema_of_url(profile, entry)))


def _with_schema_of_url(profile: Tree, entry: Tree) -> Tree:
    """Prisma keeps the schema in the URL. It counts unless the user's own profile names one."""
    url, mark = entry.get(("database_url",)), profile.marks.get(("schema",))
    schema = prisma_schema(url) if isinstance(url, str) else None
    if schema is None or (mark is not None and not mark.built_in):
        return profile
    return profile.put("schema", Tree(schema, {(): entry.mark(("database_url",))}))


def _queue_agreed(entry: Tree) -> Tree:
    has_queue, url = entry.get(("profile", "queue")) is not None, entry.get(("queue_url",))
    if has_queue and url is None:
        mend = "set it, or write `queue: null` in the profile"
        return entry.spoiled(("queue_url",), "is missing, and the profile has a queue", mend)
    if url is not None and not has_queue:
        mend = "take it out, or describe the queue in the profile"
        return entry.spoiled(("queue_url",), "is set, but the profile has no queue", mend)
    return entry
